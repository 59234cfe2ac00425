"""Loading of a trained model's file for deployment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.deploy.upgrade_model_file import MODEL_FILE_HINT, upgrade_model_file
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.files.torch_file import CHECKPOINT, format_of, read_torch_file
from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.model_file import ModelFile, model_file_of
from mutualnet3d.results.query_table import QueryTable


def load_model_file(path: str) -> ModelFile:
    """Return the content of calibrated.pyth, of this release or an earlier one.

    Args:
        path: path of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of a newer release or no trained model, or is of an earlier release and has no
            config that this release can read.
    """
    content = read_torch_file(path, "a model file")
    if format_of(content, path) == CHECKPOINT:
        _refuse_training(content, path)
        return upgrade_model_file(content, path)
    return model_file_of(content, path)


def _refuse_training(content: Mapping[str, Any], path: str) -> None:
    """Refuse the checkpoint of a training, which no test has calibrated.

    Raises:
        ValueError: the file is such a checkpoint; the message has the command that makes a model file of it.
    """
    if "optimizer_state" not in content or "statistics" in content:
        return
    output_dir = os.path.dirname(os.path.dirname(path)) or "."
    raise ValueError(
        f"{path}: a checkpoint of a training, whose sub-networks have no batch-norm statistics and no accuracies yet; "
        f"this makes a calibrated.pyth of it: mutualnet3d test --cfg {output_dir}/config.yaml "
        f"TEST.CHECKPOINT_FILE_PATH {path} OUTPUT_DIR {output_dir}/{os.path.splitext(os.path.basename(path))[0]}"
    )


def build_network_of(model_file: ModelFile, path: str) -> SlimmableNet:
    """Return the network of a model file that was read from `path`.

    Args:
        model_file: content of the file.
        path: path of the file, for errors.

    Raises:
        ValueError: this release cannot build the network, or the weights are another network's.
    """
    try:
        return model_file.build()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_checkpoint_networks(path: str, table: str | None = None) -> CheckpointNetworks:
    """Return the sub-networks of a trained model.

    Args:
        path: path of calibrated.pyth.
        table: path of its query table; None: query_table.json beside it, if there is one.

    Raises:
        FileNotFoundError: one of the two files does not exist.
        ValueError: the model file is refused as by `load_model_file`, or the table is invalid or of another model file.
    """
    model_file = load_model_file(path)
    beside = os.path.join(os.path.dirname(path), "query_table.json")
    if table is None and g_pathmgr.exists(beside):  # a FIFO or folder there is refused, not passed over
        table = beside
    rows = None
    if table is not None:
        rows = QueryTable.load(table)
        check_same(rows, path)
    preprocessing = Preprocessing.from_json(model_file.preprocessing, path)
    model = build_network_of(model_file, path)
    check_class_names(model_file.class_names, model, path)
    return CheckpointNetworks(path, model, preprocessing, model_file.class_names, rows)


def check_class_names(class_names: Sequence[str], model: SlimmableNet, path: str) -> None:
    """Refuse names of other classes than the classifier's.

    Args:
        class_names: names of the classes.
        model: network with the classifier.
        path: file of the names, for the error.

    Raises:
        ValueError: there are more names, or fewer, than outputs.
    """
    num_classes = model.arguments["num_classes"]
    if len(class_names) != num_classes:
        raise ValueError(f"{path}: class_names has {len(class_names)} names, the classifier {num_classes} outputs")


def check_same(table: QueryTable, path: str) -> None:
    """Refuse a table of other weights.

    Args:
        table: query table.
        path: path of the model file.

    Raises:
        ValueError: the table has another hash than the file, or none.
    """
    in_table, of_file = table.context.get("checkpoint"), file_hash(path)
    if in_table is None:
        raise ValueError(f"{path}: the table does not say which checkpoint it is of: its context has no 'checkpoint'")
    if in_table != of_file:
        raise ValueError(f"{path} is checkpoint {of_file}, the table is of checkpoint {in_table}; {MODEL_FILE_HINT}")
