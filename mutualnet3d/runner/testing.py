"""Test run, test(cfg): calibrate, evaluate and measure sub-networks, and write the query table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import torch
from fvcore.common.config import CfgNode

from mutualnet3d import distributed
from mutualnet3d.data.build_loaders import build_preprocessing, build_test_loader
from mutualnet3d.data.build_split import Split, is_ssv2, read_class_names
from mutualnet3d.deploy.backends import PyTorch
from mutualnet3d.distributed.launch import Launch
from mutualnet3d.engine.checkpoint_folder import CheckpointFolder
from mutualnet3d.engine.evaluate import Evaluation, evaluation_forward
from mutualnet3d.engine.preemption import Signals
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.log import logger, printable
from mutualnet3d.models import ModelFile, costs, load_weights, write_model_file
from mutualnet3d.models.build import space_of
from mutualnet3d.models.interpolate import interpolated, neighbours
from mutualnet3d.models.statistics import NormStatistics
from mutualnet3d.models.weights import LoadedWeights
from mutualnet3d.mutual import SubnetConfig
from mutualnet3d.results.latency import device_name, measure_latencies
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.results.view_scores import Accuracy
from mutualnet3d.runner.build_space import build_test_space, configs_to_test
from mutualnet3d.runner.reports import write_reports
from mutualnet3d.runner.session import Session, holding_outputs
from mutualnet3d.shapes import ClipShape


def test(cfg: CfgNode, launch: Launch | None = None) -> QueryTable | None:  # noqa: PT028 - not a test case
    """Calibrate, evaluate and measure the sub-networks of `TEST.SUBNETS`; write and return the query table.

    Files in `OUTPUT_DIR`: calibrated.pyth (weights and statistics), query_table.json, .csv and .md, tradeoff.png,
    class_accuracy.csv, confusion_*.csv and .png, and `TEST.SAVE_RESULTS_PATH`. The processes of a job share clips and
    videos; the first of them measures, writes and returns the table.

    Raises:
        Interrupted: a signal asked the process to leave.
    """
    with Signals(), holding_outputs(cfg) as lock:
        return _test(Session(cfg, launch or Launch(), lock))


test.__test__ = False  # type: ignore[attr-defined] # not a test case, whatever its name starts with


def _test(session: Session) -> QueryTable | None:
    cfg = session.cfg
    configs = configs_to_test(cfg)
    loaded = _load(session)
    split = session.read_split("test")
    class_names = read_class_names(cfg)  # now: a mistake in the file is found before the test, not after it
    logger.info("testing %d sub-networks of %s on %d videos", len(configs), loaded.path, len(split.videos))
    _find_statistics(session, configs, loaded)
    if cfg.TEST.MEASURE_INTERPOLATION:
        _check_neighbours(session, configs)
    result = _evaluate(session, configs, split, keep_scores=distributed.is_main())
    if cfg.TEST.MEASURE_INTERPOLATION:
        _measure_interpolation(session, result, split)
    table = _write(session, result, split, loaded.step, class_names) if distributed.is_main() else None
    distributed.barrier()  # the others wait while the first one measures
    return table


def _load(session: Session) -> LoadedWeights:
    """Load the weights to test, the same on all processes."""
    cfg = session.cfg
    path = cfg.TEST.CHECKPOINT_FILE_PATH or distributed.broadcast(CheckpointFolder(cfg.OUTPUT_DIR).newest())
    if path is None:
        raise FileNotFoundError(f"no checkpoint in {cfg.OUTPUT_DIR}; train first, or set TEST.CHECKPOINT_FILE_PATH")
    return load_weights(session.model, path, new_classifier=False, averaged=cfg.TEST.USE_EMA)


def _find_statistics(session: Session, configs: Sequence[SubnetConfig], loaded: LoadedWeights) -> None:
    """Give all of `configs` batch-norm statistics: calibrated, interpolated, or the full network's tracked ones."""
    cfg, model = session.cfg, session.model
    full = build_test_space(cfg).full
    # Foreign weights bring the full network's final statistics; testing them alone needs no training clips. They are of
    # training's size, and PySlowFast's tests of larger crops use them too.
    precise = cfg.BN.USE_PRECISE_STATS and loaded.of_project
    tracked = model.tracked_statistics()
    if precise and _same(model.statistics.get(full), tracked):
        model.statistics.remove(full)  # an earlier test was content with them
    if full in configs and full not in model.statistics and not precise and not cfg.TRAIN.SUBNET:
        model.statistics.set(full, tracked)
    missing = session.to_calibrate(model, configs, precise)
    if not missing:
        return
    if cfg.TEST.STATISTICS == "interpolate":
        model.interpolate_statistics(*missing, max_loss=cfg.TEST.MAX_INTERPOLATION_LOSS)
        logger.info("interpolated the statistics of %d sub-networks", len(missing))
        return
    train_split = session.read_split("train")
    # Clips like those of testing: where that shows more of the picture, at larger sizes, so does calibration.
    larger = cfg.DATA.TEST_CROP_SIZE / cfg.DATA.TRAIN_CROP_SIZE
    with session.sharing_the_cores():
        session.calibrate(model, missing, train_split, crop_scale=larger)


def _same(first: NormStatistics | None, second: NormStatistics) -> bool:
    return first is not None and all(
        torch.equal(mine.cpu(), other.cpu())
        for name, pair in first.items()
        for mine, other in zip(pair, second[name], strict=True)
    )


def _evaluate(session: Session, configs: Sequence[SubnetConfig], split: Split, keep_scores: bool = False) -> Evaluation:
    num_views = session.cfg.TEST.NUM_ENSEMBLE_VIEWS * session.cfg.TEST.NUM_SPATIAL_CROPS
    loader = build_test_loader(session.cfg, split, session.shapes(configs), session.shard)
    with session.sharing_the_cores():
        middle = middle_view(session.cfg)
        return session.evaluate(session.model, configs, loader, split, num_views, keep_scores, middle)


def middle_view(cfg: CfgNode) -> int | None:
    """Return the number of the view of a test that a test of one view would have; None: it has another one.

    The middle one of an even number of spans lies where a single one does; three crops are of another scale than one.
    """
    num_spans, num_crops = cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS
    is_same = num_spans % 2 == 0 and num_crops == 1 and not is_ssv2(cfg, "test")
    return num_spans // 2 if is_same else None


def _check_neighbours(session: Session, configs: Sequence[SubnetConfig]) -> None:
    if not any(neighbours(config, session.model.statistics.calibrated) for config in configs):
        raise ValueError(
            "TEST.MEASURE_INTERPOLATION needs three widths or more, of one size and frame count, among TEST.SUBNETS "
            "(MUTUAL.TEST_WIDTHS)"
        )


def _measure_interpolation(session: Session, result: Evaluation, split: Split) -> None:
    """Test sub-networks between two widths once more, with interpolated statistics, and store the loss of top-1."""
    model, statistics = session.model, session.model.statistics
    inner = [config for config in result.accuracies if neighbours(config, statistics.calibrated)]
    with statistics.replaced({**statistics, **{config: interpolated(model, config) for config in inner}}):
        again = _evaluate(session, inner, split)
    losses: dict[ClipShape, float] = {}
    for config in inner:
        loss = result.accuracies[config].top1 - again.accuracies[config].top1
        losses[config.clip_shape] = max(loss, losses.get(config.clip_shape, loss))
        logger.info("interpolated statistics cost %s %.2f points of top-1", config, loss)
    statistics.interpolation_losses.update(losses)


def _write(session: Session, result: Evaluation, split: Split, step: int, class_names: Sequence[str]) -> QueryTable:
    cfg = session.cfg
    calibrated = os.path.join(cfg.OUTPUT_DIR, "calibrated.pyth")
    model_file = ModelFile.of(
        session.model,
        class_names=tuple(class_names),
        preprocessing=build_preprocessing(cfg).to_json(),
        space=space_of(cfg),
        channels_last=cfg.MODEL.CHANNELS_LAST,
        step=step,
        config=cfg.dump(),
    )
    write_model_file(calibrated, model_file)
    table = _tabulate(session, result, split, file_hash(calibrated))
    write_reports(cfg, table, result, split, class_names)
    logger.info("wrote the query table to %s", cfg.OUTPUT_DIR)
    print(printable(f"{table.to_text()}\n{table.legend()}", keep="\n"))
    return table


def _tabulate(session: Session, result: Evaluation, split: Split, checkpoint: str) -> QueryTable:
    cfg, model = session.cfg, session.model
    configs = list(result.accuracies)
    with evaluation_forward(model) as forward:
        latencies = measure_latencies(
            forward, configs, session.blank_clips, session.device, num_rounds=cfg.TEST.LATENCY_RUNS
        )
    views = Views(cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS)
    rows: list[Row] = []
    for config, accuracy in result.accuracies.items():
        operations, params = costs(model, config)
        full_row = Row(
            config,
            operations / 1e9,
            params,
            latencies.milliseconds[config],
            accuracy.top1,
            accuracy.top5,
            PyTorch.name,
            views,
            settled=config not in latencies.unsettled,
        )
        rows += [full_row, *row_of_single_views(full_row, accuracy)]
    context = {
        "model": cfg.MODEL.ARCH,
        "num_videos": len(result.video_V),
        "num_found": len(split.videos),
        "num_listed": split.bad.num_listed,
        "num_in_list": split.num_in_list,
        "ensemble": cfg.DATA.ENSEMBLE_METHOD,
        "statistics": "calibrated" if set(configs).isdisjoint(model.statistics.interpolated) else "interpolated",
        "checkpoint": checkpoint,
        "backend": PyTorch.name,
        "views": str(views),
        **({} if views.count == 1 else {"single_views": "mean" if middle_view(cfg) is None else "middle"}),
        "backends": {
            PyTorch.name: {
                "device": device_name(session.device),
                "threads": torch.get_num_threads(),
                "batch_size": 1,
                "milliseconds_of": "one forward pass of the whole batch",
                "latency_runs": cfg.TEST.LATENCY_RUNS,
            }
        },
    }
    return QueryTable(tuple(rows), context)


def row_of_single_views(row: Row, accuracy: Accuracy) -> list[Row]:
    """Return the row of single views beside one of several views of a video; nothing where `row` is of one view."""
    if row.views.count == 1:
        return []
    return [replace(row, views=Views(), top1=accuracy.clip_top1, top5=accuracy.clip_top5)]
