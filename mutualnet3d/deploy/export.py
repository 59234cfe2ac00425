"""Sub-networks of a checkpoint to a bundle: ONNX, OpenVINO and torch.export files that are checked against the eager
sub-networks before the bundle gets its name."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

import torch

from mutualnet3d.data.transforms import Normalize
from mutualnet3d.deploy.backends import BACKENDS
from mutualnet3d.deploy.bundle import CHECKPOINT, Bundle, BundledNetwork, write_bundle
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.networks import CheckpointNetworks, openvino_core, to_onnx
from mutualnet3d.engine.checkpoint import file_hash
from mutualnet3d.extras import require
from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.models import costs
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import SubnetConfig

# What can be written, and the back end that reads it.
FORMATS = {"onnx": "onnxruntime", "openvino": "openvino", "pt2": "pt2", "pytorch": "pytorch"}

# Largest difference of logits from the eager sub-network's, relative to the largest.
MAX_DIFFERENCE = 1e-4

_SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2", "openvino-int8": "-int8.xml"}
_VERSIONS = ("mutualnet3d", "torch", "onnx", "onnxruntime", "openvino", "nncf")


class ParityError(ValueError):
    """An exported network does not compute what its sub-network does."""


def export(
    source: CheckpointNetworks,
    path: str,
    configs: Sequence[SubnetConfig] | None = None,
    formats: Iterable[str] = tuple(FORMATS),
    int8: Mapping[SubnetConfig, Any] | None = None,
    table: QueryTable | None = None,
    progress: Callable[[Sequence[SubnetConfig]], Iterable[SubnetConfig]] = iter,
) -> Bundle:
    """Write a bundle.

    Batch norms are folded, normalisation is inside, the input is uint8 (B, T, S, S, 3) of any batch size B. Each file
    is read again and run on two clips at once and on one. What int8 is worth its accuracy says: it has to run.

    Args:
        source: a checkpoint with its query table.
        path: the bundle's folder, not there yet.
        configs: which sub-networks; None: those on the table's Pareto fronts.
        formats: of `FORMATS`; "pytorch" is the checkpoint itself.
        int8: quantised OpenVINO models, of some or all.
        table: the bundle's, where it says more than the source's (accuracies of `int8`).
        progress: what the sub-networks are gone through with.

    Raises:
        FileExistsError: something is at `path`.
        ModuleNotFoundError: a format's library is not installed.
        ParityError: a network's logits are not the sub-network's, or int8's are no numbers; both are named, and nothing
            is left.
        ValueError: an unknown format; a sub-network that cannot be evaluated; no table, and no `configs` either.
    """
    formats = list(dict.fromkeys(formats))
    if not formats or set(formats) - set(FORMATS):
        raise ValueError(f"formats are {formats}; allowed: one or more of {', '.join(FORMATS)}")
    table = table or source.table
    chosen = front_of(source) if configs is None else list(dict.fromkeys(configs))
    for config in chosen:
        if not source.formats(config):
            known = ", ".join(map(str, source.configs))
            raise ValueError(f"{source.path}: {config} has no batch-norm statistics; it has those of {known}")
    for name in formats:
        if module := BACKENDS[FORMATS[name]].module:
            require(module)
    in_table = [row for row in table.rows if row.config in chosen] if table else []
    content = {
        "about": {
            "checkpoint": file_hash(source.path),
            "versions": {name: version for name in _VERSIONS if (version := _version(name))},
        },
        "class_names": list(source.class_names),
        "preprocessing": source.preprocessing.to_json(),
    }

    def fill(folder: str) -> dict[SubnetConfig, BundledNetwork]:
        if "pytorch" in formats:
            shutil.copyfile(source.path, os.path.join(folder, CHECKPOINT))
        return {
            config: _write_network(source, config, folder, formats, (int8 or {}).get(config))
            for config in progress(chosen)
        }

    write_bundle(path, content, QueryTable(tuple(in_table), table.context) if table and in_table else None, fill)
    return Bundle.load(path)


def front_of(source: CheckpointNetworks) -> list[SubnetConfig]:
    """The sub-networks on the Pareto fronts of the query table: what is exported if nothing is named.

    Raises:
        ValueError: there is no table.
    """
    if source.table is None:
        raise ValueError(
            f"{source.path}: no query table beside it, so there is no Pareto front to export; give it (table=...) or "
            "name sub-networks"
        )
    return list(source.table.front_configs())


def _write_network(
    source: CheckpointNetworks, config: SubnetConfig, folder: str, formats: Sequence[str], int8: Any
) -> BundledNetwork:
    """One sub-network's files, and how far each is from it."""
    files = {name: f"networks/{config}{_SUFFIX[name]}" for name in formats if name in _SUFFIX}
    places = {name: os.path.join(folder, file) for name, file in files.items()}
    program: Any = source.program(config) if files else None
    if "pt2" in files:
        torch.export.save(program, places["pt2"])
    if "onnx" in files or "openvino" in files:
        onnx = to_onnx(program, source.num_pathways)
        if "onnx" in files:
            require("onnx").checker.check_model(onnx, full_check=True)
            write_atomically(places["onnx"], lambda file: file.write(onnx))
        if "openvino" in files:
            _save_openvino(openvino_core().read_model(onnx, b""), places["openvino"])
    if int8 is not None:
        files["openvino-int8"] = f"networks/{config}{_SUFFIX['openvino-int8']}"
        _save_openvino(int8, os.path.join(folder, files["openvino-int8"]))
    operations, params = costs(source.network(), config)
    written = BundledNetwork(operations / 1e9, params, source.shapes(config), files)
    differences = _differences(source, config, folder, written, formats)
    return BundledNetwork(written.gflops, params, written.inputs, files, differences)


def _save_openvino(model: Any, path: str) -> None:
    require("openvino").save_model(model, path, compress_to_fp16=False)


def _differences(
    source: CheckpointNetworks, config: SubnetConfig, folder: str, written: BundledNetwork, formats: Sequence[str]
) -> dict[str, float]:
    """Of every format but the checkpoint's own, the largest difference of logits from the eager sub-network's.

    Raises:
        ParityError: it is more than `MAX_DIFFERENCE`; of int8, no number.
    """
    as_bundle = Bundle(
        folder, {config: written}, source.preprocessing, source.class_names, None, has_checkpoint=False, about={}
    )
    found: dict[str, float] = {}
    names = [*formats, "openvino-int8"]
    for name in (name for name in names if name in written.files):
        allowed = math.inf if name == "openvino-int8" else MAX_DIFFERENCE
        run = BACKENDS[FORMATS.get(name, name)](as_bundle, torch.device("cpu"), None).forward(config)
        found[name] = 0.0
        for seed, batch in enumerate((2, 1)):
            clips = random_clips(written.inputs, batch, seed)
            wanted, got = eager_logits(source, config, clips), run(clips)
            difference = float((got - wanted).abs().max() / wanted.abs().max()) if got.shape == wanted.shape else None
            if difference is None or not math.isfinite(difference) or difference > allowed:
                said = f"shape {tuple(got.shape)}" if difference is None else f"a difference of {difference:.2g}"
                raise ParityError(
                    f"sub-network {config} as {name}, {batch} clips at once: {said} from the eager one; allowed is "
                    f"{allowed:g} of the largest logit"
                )
            found[name] = max(found[name], difference)
    return found


@torch.no_grad()
def eager_logits(source: CheckpointNetworks, config: SubnetConfig, clips: Sequence[torch.Tensor]) -> torch.Tensor:
    """Logits (B, K) of the slimmable network for uint8 clips (B, T, S, S, 3): what everything exported is held
    against."""
    how, model = source.preprocessing, source.network()
    normalize = Normalize(how.mean, how.std, torch.contiguous_format, how.reverse_channels)
    device = next(model.parameters()).device
    with model.active(config):
        inputs = [normalize(clip.permute(0, 1, 4, 2, 3).to(device)) for clip in clips]
        return model(inputs).float().cpu()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
