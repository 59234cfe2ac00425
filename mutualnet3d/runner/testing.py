"""test(cfg): calibrate, evaluate and measure sub-networks, and write the query table."""

from __future__ import annotations

import os

import torch
from fvcore.common.config import CfgNode

from mutualnet3d import distributed
from mutualnet3d.data.build import Split, build_test_loader
from mutualnet3d.engine.checkpoint import CheckpointFolder, file_hash, save_checkpoint, statistics_to_state
from mutualnet3d.engine.evaluate import Accuracy
from mutualnet3d.engine.interruption import Signals
from mutualnet3d.engine.latency import measure_milliseconds
from mutualnet3d.engine.query_table import QueryTable, Row
from mutualnet3d.engine.tradeoff_plot import save_tradeoff_plot
from mutualnet3d.launch import Launch
from mutualnet3d.log import logger
from mutualnet3d.models import costs, load_weights
from mutualnet3d.models.weights import LoadedWeights
from mutualnet3d.mutual import SubnetConfig
from mutualnet3d.runner.session import Session, configs_to_test


def test(cfg: CfgNode, launch: Launch | None = None) -> QueryTable | None:  # noqa: PT028 - not a test case
    """Calibrate, evaluate and measure the sub-networks of `TEST.SUBNETS`; write the query table and its picture.

    Into `OUTPUT_DIR`: calibrated.pyth (weights and statistics), query_table.json, query_table.csv, tradeoff.png. The
    processes of a job share clips and videos; the first of them measures, writes and has the table.

    Raises:
        Interrupted: a signal asked the process to leave.
    """
    with Signals():
        return _test(Session(cfg, launch or Launch()))


test.__test__ = False  # type: ignore[attr-defined] # not a test case, whatever its name starts with


def _test(session: Session) -> QueryTable | None:
    cfg = session.cfg
    configs = configs_to_test(cfg, session.space)
    loaded = _load(session)
    split = session.read_split("test")
    logger.info("testing %d sub-networks of %s on %d videos", len(configs), loaded.path, len(split.videos))

    # Foreign weights bring the full network's final statistics; testing them alone needs no training clips.
    missing = session.to_calibrate(session.model, configs, precise=cfg.BN.USE_PRECISE_STATS and loaded.ours)
    if missing:
        with session.sharing_the_cores():
            session.calibrate(session.model, missing, session.read_split("train"))
    num_views = cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS
    loader = build_test_loader(cfg, split, session.shapes(configs), session.share)
    with session.sharing_the_cores():
        results = session.evaluate(session.model, configs, loader, split, num_views)
    table = _write(session, results, split, loaded.step) if distributed.is_main() else None
    distributed.barrier()  # the others wait while the first one measures
    return table


def _load(session: Session) -> LoadedWeights:
    """The weights to test, the same on all processes."""
    cfg = session.cfg
    path = cfg.TEST.CHECKPOINT_FILE_PATH or distributed.broadcast(CheckpointFolder(cfg.OUTPUT_DIR).newest())
    if path is None:
        raise FileNotFoundError(f"no checkpoint in {cfg.OUTPUT_DIR}; train first, or set TEST.CHECKPOINT_FILE_PATH")
    return load_weights(session.model, path, new_classifier=False, averaged=cfg.TEST.USE_EMA)


def _write(session: Session, results: dict[SubnetConfig, Accuracy], split: Split, step: int) -> QueryTable:
    cfg = session.cfg
    calibrated = os.path.join(cfg.OUTPUT_DIR, "calibrated.pyth")
    save_checkpoint(
        calibrated,
        {
            "step": step,
            "model_state": session.model.state_dict(),
            "statistics": statistics_to_state(session.model.statistics),
            "cfg": cfg.dump(),
        },
    )
    table = _tabulate(session, results, split, file_hash(calibrated))
    table.save(os.path.join(cfg.OUTPUT_DIR, "query_table.json"))
    table.save_csv(os.path.join(cfg.OUTPUT_DIR, "query_table.csv"))
    _plot(table, os.path.join(cfg.OUTPUT_DIR, "tradeoff.png"), f"{cfg.MODEL.ARCH}, one checkpoint")
    logger.info("wrote the query table to %s", cfg.OUTPUT_DIR)
    print(table.to_text())
    print(f"over {table.context['num_videos']} of {split.bad.num_listed} listed videos, {table.context['views']}.")
    print("* on the Pareto front. GFLOPs: 1e9 multiply-adds per clip of frames x size x size (config: w, s, t);")
    print(f"ms: median forward pass of one clip, {session.device}, {torch.get_num_threads()} threads.")
    return table


def _plot(table: QueryTable, path: str, title: str) -> None:
    try:
        save_tradeoff_plot(table, path, title)
    except ModuleNotFoundError as error:  # an extra: the table is worth having without its picture
        logger.warning("no tradeoff.png: %s", error)


def _tabulate(session: Session, results: dict[SubnetConfig, Accuracy], split: Split, checkpoint: str) -> QueryTable:
    cfg, model = session.cfg, session.model
    cost = {config: costs(model, config) for config in results}
    milliseconds = measure_milliseconds(
        model, list(results), session.blank_clips, session.device, cfg.TEST.LATENCY_RUNS
    )
    rows = [
        Row(
            config=config,
            gflops=cost[config][0] / 1e9,
            params=cost[config][1],
            milliseconds=milliseconds[config],
            top1=result.top1,
            top5=result.top5,
        )
        for config, result in results.items()
    ]
    context = {
        "model": cfg.MODEL.ARCH,
        "num_videos": next(iter(results.values())).num_videos,
        "num_found": len(split.videos),
        "num_listed": split.bad.num_listed,
        "views": f"{cfg.TEST.NUM_ENSEMBLE_VIEWS} x {cfg.TEST.NUM_SPATIAL_CROPS} views",
        "device": torch.cuda.get_device_name() if session.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "batch_size": 1,
        "checkpoint": checkpoint,
    }
    return QueryTable(tuple(rows), context)
