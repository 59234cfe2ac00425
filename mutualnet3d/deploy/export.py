"""Export of a trained model's sub-networks into a bundle: ONNX, OpenVINO and torch.export files.

The files are checked against the eager sub-networks before the bundle gets its name.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mutualnet3d.deploy.backends import BACKENDS
from mutualnet3d.deploy.bundle import CHECKPOINT, Bundle, write_bundle
from mutualnet3d.deploy.bundle_files import SUFFIXES
from mutualnet3d.deploy.bundled_network import BundledNetwork
from mutualnet3d.deploy.clip_network import normalize_of, random_clips
from mutualnet3d.deploy.networks import CheckpointNetworks, openvino_core, to_onnx
from mutualnet3d.extras import require, versions_of
from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.models import SlimmableNet, costs
from mutualnet3d.models.features import pooled_vectors
from mutualnet3d.results.query_table import QueryTable, Row
from mutualnet3d.results.table_cascades import kept_cascades
from mutualnet3d.shapes import SubnetConfig

# Formats that can be written, and the back end that reads each.
FORMATS = {"onnx": "onnxruntime", "openvino": "openvino", "pt2": "pt2", "pytorch": "pytorch"}

# Largest difference of logits, or pooled vectors, from the eager sub-network's, relative to the largest.
MAX_DIFFERENCE = 1e-4

_PACKAGES = ("mutualnet3d", "torch", "onnx", "onnxruntime", "openvino", "nncf")


class ParityError(ValueError):
    """Error about an exported network that does not compute the logits, or pooled vectors, of its sub-network."""


def export(
    networks: CheckpointNetworks,
    path: str,
    configs: Sequence[SubnetConfig] | None = None,
    formats: Iterable[str] = tuple(FORMATS),
    int8: Mapping[SubnetConfig, Any] | None = None,
    table: QueryTable | None = None,
    progress: Callable[[Sequence[SubnetConfig]], Iterable[SubnetConfig]] = iter,
    features: bool = False,
) -> Bundle:
    """Write a bundle.

    The exported networks have folded batch norms and normalisation inside, and take uint8 (B, T, S, S, 3) of any batch
    size B. Every file is read again and run on two clips at once and on one. int8 networks only have to run, since
    their accuracy is tested.

    Args:
        networks: sub-networks of a trained model, with its query table.
        path: path of the bundle's folder, which does not exist yet.
        configs: sub-networks; None: those on the table's Pareto fronts.
        formats: names of formats, of `FORMATS`; "pytorch" is the model file itself.
        int8: quantised OpenVINO models of some or all sub-networks.
        table: table of the bundle, where it has more rows than the model file's (those of `int8`).
        progress: function that the sub-networks are iterated through, such as a progress bar.
        features: True for networks that give pooled vectors with their logits; int8's give logits alone.

    Raises:
        FileExistsError: something is at `path`.
        ModuleNotFoundError: a format's library is not installed.
        ParityError: a network's logits or pooled vectors are not the sub-network's, or int8's are no numbers; the
            message names both networks, and nothing is left.
        ValueError: a format is unknown, a sub-network cannot be evaluated, there is neither a table nor `configs`, or
            `features` are asked of a network without pooled vectors.
    """
    formats = list(dict.fromkeys(formats))
    if not formats or set(formats) - set(FORMATS):
        raise ValueError(f"formats are {formats}; allowed: one or more of {', '.join(FORMATS)}")
    table = table or networks.table
    chosen = front_of(networks) if configs is None else list(dict.fromkeys(configs))
    for config in chosen:
        if not networks.formats(config):
            allowed = ", ".join(map(str, networks.configs))
            raise ValueError(f"{networks.path}: {config} has no batch-norm statistics; it has those of {allowed}")
    for name in formats:
        if module := BACKENDS[FORMATS[name]].module:
            require(module)
    rows = [row for row in table.rows if row.config in chosen] if table else []
    content = {
        "about": {"checkpoint": file_hash(networks.path), "versions": versions_of(*_PACKAGES)},
        "class_names": list(networks.class_names),
        "preprocessing": networks.preprocessing.to_json(),
    }

    def fill(folder: str) -> dict[SubnetConfig, BundledNetwork]:
        if "pytorch" in formats:
            shutil.copyfile(networks.path, os.path.join(folder, CHECKPOINT))
        return {
            config: _write_network(networks, config, folder, formats, (int8 or {}).get(config), features)
            for config in progress(chosen)
        }

    write_bundle(path, content, _part_of(table, rows) if table and rows else None, fill)
    return Bundle.load(path)


def _part_of(table: QueryTable, rows: Sequence[Row]) -> QueryTable:
    """Return the table of some of its rows, and of the cascades of these."""
    cascades = kept_cascades(table.cascades, table.rows, table.backend, rows, table.backend)
    return QueryTable(tuple(rows), table.context, cascades)


def front_of(networks: CheckpointNetworks) -> list[SubnetConfig]:
    """Return the sub-networks on the Pareto fronts of the query table, the default of `export`.

    Args:
        networks: sub-networks of a trained model.

    Raises:
        ValueError: there is no table.
    """
    if networks.table is None:
        raise ValueError(
            f"{networks.path}: no query table beside it, so there is no Pareto front to export; give it (table=...) or "
            "name sub-networks"
        )
    return list(networks.table.front_configs())


def _write_network(
    networks: CheckpointNetworks,
    config: SubnetConfig,
    folder: str,
    formats: Sequence[str],
    int8: Any,
    features: bool,
) -> BundledNetwork:
    """Write a sub-network's files; return its description, with the files' differences from the eager one."""
    files = {name: f"networks/{config}{SUFFIXES[name]}" for name in formats if name in SUFFIXES}
    paths = {name: os.path.join(folder, file) for name, file in files.items()}
    program: Any = networks.program(config, features) if files else None
    if "pt2" in files:
        torch.export.save(program, paths["pt2"])
    if "onnx" in files or "openvino" in files:
        onnx = to_onnx(program, networks.num_pathways, features)
        if "onnx" in files:
            require("onnx").checker.check_model(onnx, full_check=True)
            write_atomically(paths["onnx"], lambda file: file.write(onnx))
        if "openvino" in files:
            _save_openvino(openvino_core().read_model(onnx, b""), paths["openvino"])
    if int8 is not None:
        files["openvino-int8"] = f"networks/{config}{SUFFIXES['openvino-int8']}"
        _save_openvino(int8, os.path.join(folder, files["openvino-int8"]))
    operations, params = costs(networks.network(), config)
    length = networks.vector_length(config, "pytorch") if features and files else None
    written = BundledNetwork(operations / 1e9, params, networks.shapes(config), files, features=length)
    return replace(written, differences=_differences(networks, config, folder, written, formats))


def _save_openvino(model: Any, path: str) -> None:
    require("openvino").save_model(model, path, compress_to_fp16=False)


def _differences(
    networks: CheckpointNetworks, config: SubnetConfig, folder: str, written: BundledNetwork, formats: Sequence[str]
) -> dict[str, float]:
    """Return the largest difference of logits from the eager sub-network's, by format.

    The model file's own format is left out.

    Raises:
        ParityError: a difference is more than `MAX_DIFFERENCE`, or, for int8, no number.
    """
    as_bundle = Bundle(
        folder, {config: written}, networks.preprocessing, networks.class_names, None, has_checkpoint=False, about={}
    )
    largest: dict[str, float] = {}
    names = [*formats, "openvino-int8"]
    for name in (name for name in names if name in written.files):
        allowed = math.inf if name == "openvino-int8" else MAX_DIFFERENCE
        backend = BACKENDS[FORMATS.get(name, name)](as_bundle, torch.device("cpu"), None)
        run, has_vectors = backend.forward(config), as_bundle.vector_length(config, name) is not None
        largest[name] = 0.0
        for seed, batch in enumerate((2, 1)):
            clips = random_clips(written.inputs, batch, seed)
            text = f"sub-network {config} as {name}, {batch} clips at once"
            difference = _difference(run(clips), eager_logits(networks, config, clips), allowed, text, "logit")
            largest[name] = max(largest[name], difference)
            if has_vectors:
                vectors = backend.forward(config, features=True)(clips)
                _difference(vectors, eager_vectors(networks, config, clips), allowed, text, "feature")
    return largest


def _difference(values: torch.Tensor, expected: torch.Tensor, allowed: float, text: str, unit: str) -> float:
    """Return the largest difference from the eager network's values, relative to its largest value.

    Args:
        values: values of the exported network.
        expected: values of the eager network.
        allowed: largest allowed difference.
        text: sub-network, format and batch, for the error.
        unit: name of a value.

    Raises:
        ParityError: the difference is larger, or the values have another shape.
    """
    difference = None
    if values.shape == expected.shape:
        difference = float((values - expected).abs().max() / expected.abs().max())
    if difference is None or not math.isfinite(difference) or difference > allowed:
        problem = f"shape {tuple(values.shape)}" if difference is None else f"a difference of {difference:.2g}"
        raise ParityError(f"{text}: {problem} from the eager one; allowed is {allowed:g} of the largest {unit}")
    return difference


def eager_logits(networks: CheckpointNetworks, config: SubnetConfig, clips: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return logits (B, K) of the slimmable network for uint8 clips (B, T, S, S, 3): the reference of all exports."""
    return _eager(networks, config, clips, lambda model, inputs: model(inputs))


def eager_vectors(networks: CheckpointNetworks, config: SubnetConfig, clips: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the pooled vectors (B, C) of the slimmable network, as `eager_logits` does the logits."""
    return _eager(networks, config, clips, pooled_vectors)


@torch.no_grad()
def _eager(
    networks: CheckpointNetworks,
    config: SubnetConfig,
    clips: Sequence[torch.Tensor],
    run: Callable[[SlimmableNet, list[torch.Tensor]], torch.Tensor],
) -> torch.Tensor:
    model = networks.network()
    device = next(model.parameters()).device
    normalize = normalize_of(networks.preprocessing, torch.contiguous_format).to(device)
    with model.active(config):
        inputs = [normalize(clip.permute(0, 1, 4, 2, 3).to(device)) for clip in clips]
        return run(model, inputs).float().cpu()
