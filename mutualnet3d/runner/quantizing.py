"""Sub-networks of a test run in int8, for comparison with the run's own.

They are calibrated on training clips, and tested as the run tested its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from fvcore.common.config import CfgNode

from mutualnet3d.config import parse_stored_cfg
from mutualnet3d.data.bad_videos import BadVideoFile
from mutualnet3d.data.build_loaders import (
    build_calibration_loader,
    build_preprocessing,
    build_test_loader,
    ensemble_of,
    label_sets_of,
)
from mutualnet3d.data.build_split import Split, read_split
from mutualnet3d.deploy.backends import Backend, OpenVINO, OpenVINOInt8
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.load import load_model_file
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.deploy.quantize import QuantizedNetworks, load_nncf, quantize
from mutualnet3d.deploy.upgrade_model_file import MODEL_FILE_HINT
from mutualnet3d.engine.evaluate import Evaluation, evaluate
from mutualnet3d.log import logger, progress
from mutualnet3d.results.latency import Latencies, device_name, measure_latencies, measure_passes
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.results.row_times import passes_of
from mutualnet3d.runner.tested_views import subsets_of, views_of
from mutualnet3d.shapes import ClipBatch, ClipShape, Shard, SubnetConfig, union_of_shapes

# Training clips that ranges are found with, the first ones of batch norm's calibration: NNCF's own number.
_MAX_CLIPS = 300

# Sections of the checkpoint's config that overrides may change: places of the data, loading and testing.
_SECTIONS = ("DATA", "DATA_LOADER", "TEST", "BN")

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Quantized:
    """Sub-networks in int8.

    Args:
        models: OpenVINO models, by sub-network.
        table: table of the checkpoint with a row of back end "openvino-int8" for each of `models`.
        float32_milliseconds: times of the same sub-networks by OpenVINO in float32, measured in turns with int8's.
    """

    models: Mapping[SubnetConfig, Any]
    table: QueryTable
    float32_milliseconds: Mapping[SubnetConfig, float]


def quantize_tested(
    networks: CheckpointNetworks, configs: Sequence[SubnetConfig], overrides: Sequence[Any] = ()
) -> Quantized:
    """Quantise `configs` and test them on the videos of the table's test.

    Every view of a video is decoded once, and all of them run it.

    Bad videos are listed in bad_videos.csv beside the checkpoint, and count as in a test run.

    Args:
        networks: sub-networks of a checkpoint with its query table.
        configs: sub-networks with rows in the table.
        overrides: `KEY VALUE KEY VALUE ...` for the checkpoint's config, such as DATA.PATH_TO_DATA_DIR.

    Raises:
        ModuleNotFoundError: nncf is not installed.
        FileNotFoundError: a list of videos is not there.
        TooManyBadVideos: too many videos of the training list are bad, or all of the test's.
        ValueError: there is no table, or no row of one of `configs`; overrides that change the network or its clips;
            videos, views or the ensemble of these are not those of the table's test.
    """
    load_nncf()
    configs = list(dict.fromkeys(configs))
    table = _table_of(networks, configs)
    cfg = _config(networks, overrides)
    folder = os.path.dirname(networks.path) or "."
    bad_videos = BadVideoFile(os.path.join(folder, "bad_videos.csv"), is_writer=os.access(folder, os.W_OK))
    split = read_split(cfg, "test", bad_videos)
    _check_test(cfg, split, table)
    float32 = OpenVINO(networks, _CPU, None)
    models, num_clips = _quantize(cfg, float32, networks, configs, read_split(cfg, "train", bad_videos))
    int8 = OpenVINOInt8(QuantizedNetworks(networks, models), _CPU, None)
    result = _evaluate(cfg, int8, configs, split)
    _check_same("videos that could be decoded", len(result.video_V), table, "num_videos")
    latencies = _latencies([float32, int8], configs, cfg.TEST.LATENCY_RUNS)
    milliseconds = latencies.milliseconds
    passes = measure_passes(
        int8,
        passes_of(result.row_accuracies),
        lambda config, num_clips: random_clips(networks.shapes(config), num_clips),
        _CPU,
        num_rounds=cfg.TEST.LATENCY_RUNS,
    )
    rows = [
        replace(
            row,
            backend=int8.name,
            milliseconds=milliseconds[int8.name, row.config],
            top1=accuracy.top1,
            top5=accuracy.top5,
            mean_ap=accuracy.mean_ap,
            views=views,
            settled=(int8.name, row.config) not in latencies.unsettled
            and (row.config, views.count) not in passes.unsettled,
            pass_milliseconds=passes.milliseconds.get((row.config, views.count)),
        )
        for row in table.default_rows
        if row.config in models
        for views, accuracy in result.accuracies_of(row.config).items()
    ]
    table = table.with_rows(rows, device=device_name(_CPU), batch_size=1, calibration_clips=num_clips)
    return Quantized(models, table, {config: milliseconds[float32.name, config] for config in configs})


def _table_of(networks: CheckpointNetworks, configs: Sequence[SubnetConfig]) -> QueryTable:
    if networks.table is None:
        raise ValueError(f"{networks.path}: no query table beside it, so there is nothing to compare int8 with")
    tested = [row.config for row in networks.table.default_rows]
    missing = [str(config) for config in configs if config not in tested]
    if missing:
        raise ValueError(
            f"{networks.path}: its query table has no row of {', '.join(missing)}, so there is nothing to compare int8 "
            f"with; it has {', '.join(map(str, tested))}"
        )
    return networks.table


def _config(networks: CheckpointNetworks, overrides: Sequence[Any]) -> CfgNode:
    """Return the checkpoint's config with `overrides` in it."""
    for key in map(str, overrides[::2]):
        if key.partition(".")[0] not in _SECTIONS:
            raise ValueError(f"override: {key} is not of int8's data or test; allowed: keys of {', '.join(_SECTIONS)}")
    text = load_model_file(networks.path).config
    if not text:
        raise ValueError(f"{networks.path}: no config in it, so it is not known where its data are; {MODEL_FILE_HINT}")
    cfg = parse_stored_cfg(text, f"{networks.path}: its config", overrides)
    new, stored = build_preprocessing(cfg).to_json(), networks.preprocessing.to_json()
    changed = [
        f"{name} {new[name]!r}, not {stored[name]!r}" for name in new if name != "timeout" and new[name] != stored[name]
    ]
    if changed:
        raise ValueError(f"overrides change what {networks.path} is given: {'; '.join(changed)}")
    return cfg


def _check_test(cfg: CfgNode, split: Split, table: QueryTable) -> None:
    """Refuse another test than the table's, whose rows would not be comparable."""
    for name in ("views", "num_videos"):
        if name not in table.context:
            raise ValueError(f"the query table does not say of which test it is: its context has no {name!r}")
    _check_same("views", str(views_of(cfg)), table, "views")
    _check_same("videos in the list", split.num_in_list, table, "num_in_list")
    _check_same("videos of the list taken", split.bad.num_listed, table, "num_listed")
    _check_same("videos that are there", len(split.videos), table, "num_found")


def _check_same(quantity: str, value: object, table: QueryTable, name: str) -> None:
    tested = table.context.get(name, value)
    if value != tested:
        raise ValueError(
            "int8 has to be tested as the query table's sub-networks were, to stand beside them: "
            f"{quantity}: {value} here, {tested} in the table's test; say where its data are "
            "(DATA.PATH_TO_DATA_DIR), and test as it did"
        )


def _quantize(
    cfg: CfgNode, float32: OpenVINO, networks: CheckpointNetworks, configs: Sequence[SubnetConfig], split: Split
) -> tuple[dict[SubnetConfig, Any], int]:
    """Return `configs` in int8, and the number of training clips; make them ready in float32 too."""
    models: dict[SubnetConfig, Any] = {}
    # Those of the same clips one after the other: they are decoded once for each shape, and never held in all.
    in_order = sorted(configs, key=lambda config: (networks.shapes(config), config), reverse=True)
    shapes: tuple[ClipShape, ...] = ()
    batches: list[list[torch.Tensor]] = []
    for config in progress(in_order, len(in_order), "quantising"):
        if networks.shapes(config) != shapes:
            shapes = networks.shapes(config)
            batches = _calibration_clips(cfg, split, shapes)
        models[config] = quantize(networks.openvino(config), batches)
        float32.forward(config)  # now: the networks keep their last ONNX model
    num_clips = sum(len(batch[0]) for batch in batches)
    logger.info("quantised %d sub-networks with %d training clips", len(models), num_clips)
    return models, num_clips


def _calibration_clips(cfg: CfgNode, split: Split, shapes: tuple[ClipShape, ...]) -> list[list[torch.Tensor]]:
    """Return the training clips that batch norms are calibrated with, in `shapes`, `_MAX_CLIPS` at most."""
    # Clips like those of testing: see `runner.testing`.
    larger = cfg.DATA.TEST_CROP_SIZE / cfg.DATA.TRAIN_CROP_SIZE
    clips: list[list[torch.Tensor]] = []
    missing = _MAX_CLIPS
    for batch in build_calibration_loader(cfg, split, shapes, Shard(), larger):
        clips.append([clip_BTHWC[:missing] for clip_BTHWC in _inputs(batch, shapes)])
        missing -= len(clips[-1][0])
        if not missing:
            break
    return clips


def _inputs(batch: ClipBatch, shapes: Sequence[ClipShape]) -> list[torch.Tensor]:
    """Return the clips of exported networks: uint8 (B, T, S, S, 3)."""
    return [batch.clips[shape].permute(0, 1, 3, 4, 2).contiguous() for shape in shapes]


def _evaluate(cfg: CfgNode, int8: OpenVINOInt8, configs: Sequence[SubnetConfig], split: Split) -> Evaluation:
    shapes = int8.networks.shapes
    loader = build_test_loader(cfg, split, union_of_shapes(map(shapes, configs)), Shard())
    result = evaluate(
        int8,
        configs,
        progress(loader, len(loader), "testing int8"),
        lambda batch, config: _inputs(batch, shapes(config)),
        _CPU,
        videos=range(len(split.videos)),
        num_videos=len(split.videos),
        num_views=views_of(cfg).count,
        num_classes=cfg.MODEL.NUM_CLASSES,
        failed_videos=loader.failed,
        ensemble=ensemble_of(cfg),
        subsets=subsets_of(cfg),
        label_sets_SK=label_sets_of(split),
    )
    tested = len(result.video_V)
    if tested < split.bad.num_listed:
        logger.warning(
            "int8: the accuracy is over %d of %d listed videos: %d are missing, %d could not be decoded",
            tested,
            split.bad.num_listed,
            split.bad.num_missing,
            len(split.videos) - tested,
        )
    return result


def _latencies(
    backends: Sequence[Backend], configs: Sequence[SubnetConfig], num_rounds: int
) -> Latencies[tuple[str, SubnetConfig]]:
    """Return the time of a clip on each back end by each sub-network, measured in turns."""
    by_name = {backend.name: backend for backend in backends}
    networks = backends[0].networks
    return measure_latencies(
        lambda key, clips: by_name[key[0]](key[1], clips),
        [(name, config) for name in by_name for config in configs],
        lambda key: random_clips(networks.shapes(key[1]), 1),
        _CPU,
        num_rounds=num_rounds,
    )
