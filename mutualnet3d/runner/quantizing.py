"""quantize_tested(source, configs): sub-networks of a test run in int8, calibrated on training clips, and tested as the
run tested them, so that their accuracy can stand beside its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from fvcore.common.config import CfgNode

from mutualnet3d.data.bad_videos import BadVideoFile
from mutualnet3d.data.build_loaders import build_calibration_loader, build_preprocessing, build_test_loader
from mutualnet3d.data.build_split import Split, read_split
from mutualnet3d.deploy.backends import OpenVINO, OpenVINOInt8, Runner
from mutualnet3d.deploy.build import config_of
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.deploy.quantize import QuantizedNetworks, load_nncf, quantize
from mutualnet3d.engine.checkpoint import load_checkpoint
from mutualnet3d.engine.evaluate import Evaluation, evaluate
from mutualnet3d.log import logger, progress
from mutualnet3d.results.latency import device_name, measure_milliseconds
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import ClipBatch, ClipShape, Shard, SubnetConfig, union_of_shapes

# Training clips that ranges are found with: NNCF's own number. The first ones of batch norm's calibration.
_MOST_CLIPS = 300

# What may be changed in the checkpoint's config: where its data are, and how they are loaded and tested.
_SECTIONS = ("DATA", "DATA_LOADER", "TEST", "BN")

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Quantized:
    """Sub-networks in int8.

    Args:
        models: OpenVINO's.
        table: the source's, with what int8 does in the rows of `models`.
        float32_milliseconds: of the same sub-networks by OpenVINO in float32, measured in turns with int8's.
    """

    models: Mapping[SubnetConfig, Any]
    table: QueryTable
    float32_milliseconds: Mapping[SubnetConfig, float]


def quantize_tested(
    source: CheckpointNetworks, configs: Sequence[SubnetConfig], overrides: Sequence[Any] = ()
) -> Quantized:
    """Quantise `configs` and test them: every view of every video of the table's test is decoded once and run by all.

    Bad videos are written down in bad_videos.csv beside the checkpoint, as a test run does, and count as there.

    Args:
        source: a checkpoint with its query table.
        configs: with rows in the table.
        overrides: `KEY VALUE KEY VALUE ...` for the checkpoint's config, such as DATA.PATH_TO_DATA_DIR.

    Raises:
        ModuleNotFoundError: nncf is not installed.
        FileNotFoundError: a list of videos is not there.
        TooManyBadVideos: of the training list, or all of the test's.
        ValueError: there is no table, or no row of one of `configs`; overrides that change the network or what it is
            given; videos, views or how these are put together are not those of the table's test.
    """
    load_nncf()
    table = _table_of(source, configs)
    cfg = _config(source, overrides)
    folder = os.path.dirname(source.path) or "."
    bad_videos = BadVideoFile(os.path.join(folder, "bad_videos.csv"), is_writer=os.access(folder, os.W_OK))
    split = read_split(cfg, "test", bad_videos)
    _check_test(cfg, split, table)
    models, in_float32, num_clips = _quantize(cfg, source, configs, read_split(cfg, "train", bad_videos))
    backend = OpenVINOInt8(QuantizedNetworks(source, models), _CPU, None)
    in_int8 = {config: backend.runner(config) for config in configs}
    result = _evaluate(cfg, source, in_int8, split)
    _check_same("videos that could be decoded", len(result.video_V), table, "num_videos")
    milliseconds = _milliseconds(source, {"float32": in_float32, "int8": in_int8}, cfg.TEST.LATENCY_RUNS)
    rows = tuple(
        replace(
            row,
            int8_top1=result.accuracies[row.config].top1,
            int8_top5=result.accuracies[row.config].top5,
            int8_milliseconds=milliseconds["int8"][row.config],
        )
        if row.config in models
        else row
        for row in table.rows
    )
    context = {**table.context, "int8_clips": num_clips, "int8_device": device_name(_CPU)}
    return Quantized(models, QueryTable(rows, context), milliseconds["float32"])


def _table_of(source: CheckpointNetworks, configs: Sequence[SubnetConfig]) -> QueryTable:
    if source.table is None:
        raise ValueError(f"{source.path}: no query table beside it, so there is nothing to compare int8 with")
    tested = {row.config for row in source.table.rows}
    missing = [str(config) for config in configs if config not in tested]
    if missing:
        raise ValueError(
            f"{source.path}: its query table has no row of {', '.join(missing)}, so there is nothing to compare int8 "
            f"with; it has {', '.join(str(row.config) for row in source.table.rows)}"
        )
    return source.table


def _config(source: CheckpointNetworks, overrides: Sequence[Any]) -> CfgNode:
    """The checkpoint's config with `overrides` in it."""
    for key in map(str, overrides[::2]):
        if key.partition(".")[0] not in _SECTIONS:
            raise ValueError(f"override: {key} is not of int8's data or test; allowed: keys of {', '.join(_SECTIONS)}")
    cfg = config_of(load_checkpoint(source.path), source.path, overrides)
    here, there = build_preprocessing(cfg).to_json(), source.preprocessing.to_json()
    changed = [
        f"{name} {here[name]!r}, not {there[name]!r}"
        for name in here
        if name != "timeout" and here[name] != there[name]
    ]
    if changed:
        raise ValueError(f"overrides change what {source.path} is given: {'; '.join(changed)}")
    return cfg


def _check_test(cfg: CfgNode, split: Split, table: QueryTable) -> None:
    """Refuse another test than the table's: a column beside its own would be of something else."""
    for name in ("views", "num_videos"):
        if name not in table.context:
            raise ValueError(f"the query table does not say of which test it is: its context has no {name!r}")
    _check_same("views", f"{cfg.TEST.NUM_ENSEMBLE_VIEWS} x {cfg.TEST.NUM_SPATIAL_CROPS} views", table, "views")
    _check_same("videos in the list", split.num_in_list, table, "num_in_list")
    _check_same("videos of the list taken", split.bad.num_listed, table, "num_listed")
    _check_same("videos that are there", len(split.videos), table, "num_found")


def _check_same(what: str, here: object, table: QueryTable, name: str) -> None:
    there = table.context.get(name, here)
    if here != there:
        raise ValueError(
            f"int8 has to be tested as the query table's sub-networks were, to stand beside them: {what}: {here} here, "
            f"{there} in the table's test; say where its data are (DATA.PATH_TO_DATA_DIR), and test as it did"
        )


def _quantize(
    cfg: CfgNode, source: CheckpointNetworks, configs: Sequence[SubnetConfig], split: Split
) -> tuple[dict[SubnetConfig, Any], dict[SubnetConfig, Runner], int]:
    """`configs` in int8, what runs them in float32, and the number of training clips."""
    backend = OpenVINO(source, _CPU, None)
    models: dict[SubnetConfig, Any] = {}
    in_float32: dict[SubnetConfig, Runner] = {}
    # Those of the same clips one after the other: they are decoded once for each shape, and never held in all.
    in_order = sorted(configs, key=lambda config: (source.shapes(config), config), reverse=True)
    shapes: tuple[ClipShape, ...] = ()
    batches: list[list[torch.Tensor]] = []
    for config in progress(in_order, len(in_order), "quantising"):
        if source.shapes(config) != shapes:
            shapes = source.shapes(config)
            batches = _calibration_clips(cfg, split, shapes)
        models[config] = quantize(source.openvino(config), batches)
        in_float32[config] = backend.runner(config)
    num_clips = sum(len(batch[0]) for batch in batches)
    logger.info("quantised %d sub-networks with %d training clips", len(models), num_clips)
    return models, in_float32, num_clips


def _calibration_clips(cfg: CfgNode, split: Split, shapes: tuple[ClipShape, ...]) -> list[list[torch.Tensor]]:
    """Training clips in `shapes`: those that batch norms are calibrated with, `_MOST_CLIPS` at most."""
    # Clips like those of testing: see `runner.testing`.
    larger = cfg.DATA.TEST_CROP_SIZE / cfg.DATA.TRAIN_CROP_SIZE
    clips: list[list[torch.Tensor]] = []
    missing = _MOST_CLIPS
    for batch in build_calibration_loader(cfg, split, shapes, Shard(), larger):
        clips.append([clip_BTHWC[:missing] for clip_BTHWC in _inputs(batch, shapes)])
        missing -= len(clips[-1][0])
        if not missing:
            break
    return clips


def _inputs(batch: ClipBatch, shapes: Sequence[ClipShape]) -> list[torch.Tensor]:
    """What exported networks take: uint8 (B, T, S, S, 3)."""
    return [batch.clips[shape].permute(0, 1, 3, 4, 2).contiguous() for shape in shapes]


def _evaluate(
    cfg: CfgNode, source: CheckpointNetworks, runners: Mapping[SubnetConfig, Runner], split: Split
) -> Evaluation:
    loader = build_test_loader(cfg, split, union_of_shapes(map(source.shapes, runners)), Shard())
    result = evaluate(
        _Networks(runners),  # type: ignore[arg-type]
        list(runners),
        progress(loader, len(loader), "testing int8"),
        lambda batch, config: _inputs(batch, source.shapes(config)),
        _CPU,
        videos=range(len(split.videos)),
        num_videos=len(split.videos),
        num_views=cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS,
        num_classes=cfg.MODEL.NUM_CLASSES,
        failed_videos=loader.failed,
        ensemble=cfg.DATA.ENSEMBLE_METHOD,
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


def _milliseconds(
    source: CheckpointNetworks, runners: Mapping[str, Mapping[SubnetConfig, Runner]], num_runs: int
) -> dict[str, dict[SubnetConfig, float]]:
    """Of one clip, by each kind of runner, all taking turns."""
    every: dict[Any, Runner] = {
        (kind, config): runner for kind, of_kind in runners.items() for config, runner in of_kind.items()
    }
    found: dict[Any, float] = measure_milliseconds(
        _Networks(every),  # type: ignore[arg-type]
        list(every),
        lambda key: random_clips(source.shapes(key[1]), 1),  # type: ignore[index]
        _CPU,
        num_runs,
    )
    return {kind: {config: found[kind, config] for config in of_kind} for kind, of_kind in runners.items()}


class _Networks:
    """Runners in the place of a network that switches between sub-networks."""

    training = False

    def __init__(self, runners: Mapping[Any, Runner]):
        self._runners = runners
        self._active: Runner | None = None

    def train(self, mode: bool = True) -> None: ...

    @contextmanager
    def shared_fast_features(self) -> Iterator[None]:
        yield

    @contextmanager
    def active(self, key: Any) -> Iterator[None]:
        self._active = self._runners[key]
        yield

    def __call__(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        assert self._active is not None
        return self._active(clips)
