"""Test run by a config: calibration, evaluation and measurement of sub-networks, and the query table."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from fvcore.common.config import CfgNode

from mutualnet3d import distributed
from mutualnet3d.config.changes import hash_of, hash_without
from mutualnet3d.config.check import check_cfg
from mutualnet3d.data.build_loaders import build_preprocessing, build_test_loader, ensemble_of
from mutualnet3d.data.build_split import Split, read_class_names, warn_of_empty_classes
from mutualnet3d.data.watch import seconds_waiting
from mutualnet3d.distributed.launch import Launch
from mutualnet3d.engine.checkpoint_folder import CheckpointFolder
from mutualnet3d.engine.evaluate import Evaluation
from mutualnet3d.engine.evaluation_state import EvaluationState
from mutualnet3d.engine.preemption import Signals
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.log import logger, printable
from mutualnet3d.models import ModelFile, load_weights, write_model_file
from mutualnet3d.models.build import space_of
from mutualnet3d.models.interpolate import interpolated, neighbours
from mutualnet3d.models.statistics import NormStatistics
from mutualnet3d.models.weights import LoadedWeights
from mutualnet3d.mutual import SubnetConfig
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.results.table_text import legend, rows_to_show, table_to_text
from mutualnet3d.runner.build_space import build_test_space, configs_to_test
from mutualnet3d.runner.other_network import changes_named
from mutualnet3d.runner.reports import write_reports
from mutualnet3d.runner.session import Session, holding_outputs
from mutualnet3d.runner.start_log import log_start
from mutualnet3d.runner.summary import log_summary
from mutualnet3d.runner.tested_folder import folder_of_test
from mutualnet3d.runner.tested_table import table_of_test
from mutualnet3d.runner.tested_views import subsets_of, views_of
from mutualnet3d.runner.unfinished_test import UnfinishedTest
from mutualnet3d.shapes import ClipShape

# Settings that do not change the scores of a test.
_KEYS_WITHOUT_EFFECT = (
    "OUTPUT_DIR",
    "LOG_PERIOD",
    "PROFILE_STEPS",
    "TENSORBOARD",
    "WANDB",
    "MLFLOW",
    "DATA.FIND_VIDEOS",  # the digest of the videos tells of those that are missing
    "DATA_LOADER",
    "SOLVER",
    "TRAIN.ENABLE",
    "TEST.CHECKPOINT",
    "TEST.LATENCY_RUNS",
    "TEST.CASCADES",
    "TEST.SAVE_RESULTS_PATH",
)


def test(cfg: CfgNode, launch: Launch | None = None) -> QueryTable | None:  # noqa: PT028 - not a test case
    """Calibrate, evaluate and measure the sub-networks of `TEST.SUBNETS`; write and return the query table.

    The files are in `OUTPUT_DIR`, or in a folder below it if it holds those of a fuller test (`tested_folder`):
    calibrated.pyth (weights and statistics), query_table.json, .csv and .md, tradeoff.png, class_accuracy.csv,
    confusion_*.csv and .png, and `TEST.SAVE_RESULTS_PATH`. The processes of a job share clips and videos; the first of
    them measures, writes and returns the table.

    A test that was stopped goes on from where it was by the same call, see `unfinished_test`.

    Args:
        cfg: config of the run.
        launch: place of this process in its job, which it has joined; None for a process alone.

    Raises:
        DataAway: the disk of the videos is missing or does not answer; the results so far are saved.
        Interrupted: a signal asked the process to leave; the results so far are saved.
    """
    check_cfg(cfg)  # again: Python may have changed it since it was loaded
    with Signals(seconds_waiting) as signals, holding_outputs(cfg) as lock:
        return _test(Session(cfg, launch or Launch(), lock), signals)


test.__test__ = False  # type: ignore[attr-defined] # not a test case, whatever its name starts with


def _test(session: Session, signals: Signals) -> QueryTable | None:
    cfg = session.cfg
    log_start(session)
    configs = configs_to_test(cfg)
    loaded, choice = _load(session)
    split = session.read_split("test")
    if distributed.is_main():
        warn_of_empty_classes(cfg, split)
    # Now: a mistake in the file is found before the test, not after it.
    class_names = read_class_names(cfg, loaded.class_names)
    logger.info("testing %d sub-networks of %s on %d videos", len(configs), loaded.path, len(split.videos))
    logger.info("these weights have seen %d steps; they are chosen by %s", loaded.step, choice)
    unfinished = UnfinishedTest(cfg.OUTPUT_DIR, _identity(session, configs, split, loaded), session.shard, signals)
    folder = cfg.OUTPUT_DIR
    if distributed.is_main():  # the one that writes
        folder = folder_of_test(folder, configs, split.bad.num_listed, views_of(cfg))
    if unfinished.load_statistics(session.model):
        logger.info("an unfinished test had found the statistics of the sub-networks")
    elif _find_statistics(session, configs, loaded):
        unfinished.save_statistics(session.model)
    if cfg.TEST.MEASURE_INTERPOLATION:
        _check_neighbours(session, configs)
    result = _evaluate(session, configs, split, unfinished, "scores", keep_scores=distributed.is_main())
    if cfg.TEST.MEASURE_INTERPOLATION:
        _measure_interpolation(session, result, split, unfinished)
    table = _write(session, folder, result, split, loaded, class_names) if distributed.is_main() else None
    distributed.barrier()  # the others wait while the first one measures
    unfinished.remove()
    if table is not None:
        log_summary(cfg, folder, table)
    return table


def _load(session: Session) -> tuple[LoadedWeights, str]:
    """Load the weights to test, the same on all processes; return them and the key that chose them."""
    cfg, folder = session.cfg, CheckpointFolder(session.cfg.OUTPUT_DIR)
    choice = "TEST.CHECKPOINT_FILE_PATH" if cfg.TEST.CHECKPOINT_FILE_PATH else f"TEST.CHECKPOINT {cfg.TEST.CHECKPOINT}"
    newest, best = distributed.broadcast((folder.newest(), folder.best()))
    path = cfg.TEST.CHECKPOINT_FILE_PATH or (best if cfg.TEST.CHECKPOINT == "best" else newest)
    if path is None and cfg.TEST.CHECKPOINT == "best":
        raise FileNotFoundError(
            f"no {CheckpointFolder.BEST} in {folder.folder}, which TEST.CHECKPOINT best tests; a training writes it "
            "when it validates (TRAIN.EVAL_PERIOD)"
        )
    if path is None:
        raise FileNotFoundError(f"no checkpoint in {cfg.OUTPUT_DIR}; train first, or set TEST.CHECKPOINT_FILE_PATH")
    if path == newest and best is not None:
        choice += f"; the best of the validations is {best}, which TEST.CHECKPOINT best tests"
    with changes_named(cfg):
        loaded = load_weights(session.model, path, new_classifier=False, averaged=cfg.TEST.USE_EMA)
    return loaded, choice


def _identity(session: Session, configs: Sequence[SubnetConfig], split: Split, loaded: LoadedWeights) -> str:
    """Return digits that stand for all that the scores of a test depend on."""
    parts = [
        hash_without(session.cfg.dump(), _KEYS_WITHOUT_EFFECT),
        file_hash(loaded.path),
        split.digest,
        " ".join(map(str, configs)),
        str(session.device.type),
        torch.__version__,
    ]
    return hash_of("\n".join(parts))


def _find_statistics(session: Session, configs: Sequence[SubnetConfig], loaded: LoadedWeights) -> bool:
    """Give all of `configs` batch-norm statistics: calibrated, interpolated, or the full network's tracked ones.

    Return True after a calibration.
    """
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
        return False
    if cfg.TEST.STATISTICS == "interpolate":
        model.interpolate_statistics(*missing, max_loss=cfg.TEST.MAX_INTERPOLATION_LOSS)
        logger.info("interpolated the statistics of %d sub-networks", len(missing))
        return False
    train_split = session.read_split("train")
    # Clips like those of testing: where that shows more of the picture, at larger sizes, so does calibration.
    larger = cfg.DATA.TEST_CROP_SIZE / cfg.DATA.TRAIN_CROP_SIZE
    with session.sharing_the_cores():
        session.calibrate(model, missing, train_split, crop_scale=larger)
    return True


def _same(first: NormStatistics | None, second: NormStatistics) -> bool:
    return first is not None and all(
        torch.equal(mine.cpu(), other.cpu())
        for name, pair in first.items()
        for mine, other in zip(pair, second[name], strict=True)
    )


def _evaluate(
    session: Session,
    configs: Sequence[SubnetConfig],
    split: Split,
    unfinished: UnfinishedTest,
    name: str,
    keep_scores: bool = False,
) -> Evaluation:
    """Return the accuracy of `configs` with all views and with fewer.

    Results of the same evaluation before it was stopped count.

    Args:
        session: session of the test.
        configs: sub-networks that can be evaluated.
        split: tested list.
        unfinished: files of the test.
        name: name of the evaluation, for its file.
        keep_scores: True for scores in the result.
    """
    cfg, num_videos = session.cfg, len(split.videos)
    subsets = subsets_of(cfg)
    state = EvaluationState(
        configs,
        session.videos_of(split),
        num_videos,
        cfg.MODEL.NUM_CLASSES,
        ensemble_of(cfg),
        list(subsets.values()),
        unfinished.scores_path(name),
    )
    unfinished.load(name, state)
    split.bad.mark_bad(state.failed_videos)
    loader = build_test_loader(cfg, split, session.shapes(configs), session.shard, state.num_batches)
    if state.num_batches:
        logger.info("an unfinished test had done %d batches; %d are left", state.num_batches, len(loader))
    with session.sharing_the_cores(), unfinished.kept(name, state, loader) as after_batch:
        return session.evaluate(
            session.model,
            configs,
            loader,
            split,
            views_of(cfg).count,
            keep_scores,
            subsets,
            state,
            after_batch,
            cfg.OUTPUT_DIR,
        )


def _check_neighbours(session: Session, configs: Sequence[SubnetConfig]) -> None:
    if not any(neighbours(config, session.model.statistics.calibrated) for config in configs):
        raise ValueError(
            "TEST.MEASURE_INTERPOLATION needs three widths or more, of one size and frame count, among TEST.SUBNETS "
            "(MUTUAL.TEST_WIDTHS)"
        )


def _measure_interpolation(session: Session, result: Evaluation, split: Split, unfinished: UnfinishedTest) -> None:
    """Test sub-networks between two widths once more, with interpolated statistics, and store the loss of top-1."""
    model, statistics = session.model, session.model.statistics
    inner = [config for config in result.accuracies if neighbours(config, statistics.calibrated)]
    with statistics.replaced({**statistics, **{config: interpolated(model, config) for config in inner}}):
        again = _evaluate(session, inner, split, unfinished, "interpolated")
    losses: dict[ClipShape, float] = {}
    for config in inner:
        loss = result.accuracies[config].score - again.accuracies[config].score
        losses[config.clip_shape] = max(loss, losses.get(config.clip_shape, loss))
        logger.info(
            "interpolated statistics cost %s %.2f points of %s", config, loss, result.accuracies[config].measure
        )
    statistics.interpolation_losses.update(losses)


def _write(
    session: Session,
    folder: str,
    result: Evaluation,
    split: Split,
    loaded: LoadedWeights,
    class_names: Sequence[str],
) -> QueryTable:
    cfg = session.cfg
    calibrated = os.path.join(folder, "calibrated.pyth")
    model_file = ModelFile.of(
        session.model,
        class_names=tuple(class_names),
        preprocessing=build_preprocessing(cfg).to_json(),
        space=space_of(cfg),
        channels_last=session.memory_format == torch.channels_last_3d,
        step=loaded.step,
        config=cfg.dump(),
    )
    write_model_file(calibrated, model_file)
    table = table_of_test(session, result, split, loaded, file_hash(calibrated))
    write_reports(cfg, folder, table, result, split, class_names)
    shown = rows_to_show(table.rows, table.context)
    lines = [table_to_text(shown), legend(shown, table.context)]
    if len(shown) < len(table.rows):
        lines.append(f"{len(shown)} of {len(table.rows)} rows; query_table.md has all.")
    lines += filter(None, [table.cascades_to_text()])
    print(printable("\n".join(lines), keep="\n"))
    return table
