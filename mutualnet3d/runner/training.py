"""Training by a config: the parts put together."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from fvcore.common.config import CfgNode

from mutualnet3d import distributed
from mutualnet3d.config.check import check_cfg
from mutualnet3d.data.build_loaders import build_train_loader
from mutualnet3d.data.build_split import Split, check_classes, steps_per_epoch, warn_of_empty_classes
from mutualnet3d.data.outage import DataAway
from mutualnet3d.data.watch import seconds_waiting
from mutualnet3d.distributed.launch import Launch
from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.checkpoint_folder import CheckpointFolder
from mutualnet3d.engine.checkpoint_writer import BackgroundWriter
from mutualnet3d.engine.hooks import Checkpointing, LearningRate
from mutualnet3d.engine.optim import linear_scaling
from mutualnet3d.engine.optimizer_step import OptimizerStep
from mutualnet3d.engine.preemption import Interrupted, PreemptionHook, Signals
from mutualnet3d.engine.shared_flags import SharedFlags
from mutualnet3d.engine.step_metrics import StepMetrics
from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.files.folder_lock import FolderLock
from mutualnet3d.log import logger
from mutualnet3d.models import load_weights
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.runner.build_training import (
    autocast_of,
    build_configs_at,
    build_log_hooks,
    build_lr_schedule,
    build_optimizer_step,
    build_train_step,
    build_validation,
    first_mutual_step,
    freeze_parts,
    sync_norms,
)
from mutualnet3d.runner.channel_sorting import SortedAt, sort_training
from mutualnet3d.runner.convolution_check import warn_of_wrong_convolutions
from mutualnet3d.runner.memory_format import choose_memory_format
from mutualnet3d.runner.other_network import changes_named
from mutualnet3d.runner.resume import TrainState
from mutualnet3d.runner.session import Session, holding_outputs
from mutualnet3d.runner.start_log import log_network, log_start
from mutualnet3d.runner.summary import log_summary
from mutualnet3d.shapes import ClipBatch


def train(cfg: CfgNode, launch: Launch | None = None) -> str:
    """Train by a config, from the newest checkpoint of `OUTPUT_DIR` on if there is one.

    Return the path of the last checkpoint.

    Args:
        cfg: config of the run.
        launch: place of this process in its job, which it has joined; None for a process alone.

    Raises:
        DataAway: the disk of the videos is missing or does not answer; the state is saved.
        Interrupted: SIGTERM or SIGUSR1 asked a process of the job to leave; the state is saved.
    """
    check_cfg(cfg)  # again: Python may have changed it since it was loaded
    with Signals(seconds_waiting) as signals, holding_outputs(cfg) as lock:
        session = Session(cfg, launch or Launch(), lock)
        with session.sharing_the_cores():
            return _train(session, signals, lock)


def _train(session: Session, signals: Signals, lock: FolderLock | None) -> str:
    cfg = session.cfg
    log_start(session)
    split = session.read_split("train")
    check_classes(cfg, split)
    if distributed.is_main():
        warn_of_empty_classes(cfg, split)
    epoch_steps = steps_per_epoch(cfg, split)
    num_steps = cfg.SOLVER.MAX_EPOCH * epoch_steps
    configs_at = build_configs_at(cfg, session.space, num_steps)
    num_clips = max(1, cfg.TRAIN.BATCH_SIZE // session.shard.world_size // cfg.TRAIN.ACCUMULATION_STEPS)
    choose_memory_format(session, configs_at(0)[0], autocast_of(cfg), num_clips)
    if distributed.is_main() and (cfg.TRAIN.MIXED_PRECISION or session.device.type == "cuda"):
        warn_of_wrong_convolutions(session.device, autocast_of(cfg))
    freeze_parts(cfg, session.model)
    averaged = AveragedWeights(session.model, cfg.SOLVER.EMA_DECAY) if cfg.SOLVER.EMA_DECAY else None
    networks: list[SlimmableNet] = [session.model]
    if averaged is not None:
        networks.append(averaged.model)  # type: ignore[arg-type]
    sync_norms(cfg, networks)
    optimizer_step = build_optimizer_step(cfg, session.model)
    validation = build_validation(session, networks[-1] if cfg.TEST.USE_EMA else session.model, split)

    folder = CheckpointFolder(cfg.OUTPUT_DIR, cfg.TRAIN.CHECKPOINTS_KEPT, before_save=lock.check if lock else None)
    state = TrainState(session, split, optimizer_step, averaged, validation)
    resume_point = state.resume(folder)
    if resume_point.step >= num_steps:
        return _complete(session, folder, resume_point.step, num_steps)
    if resume_point.step == 0:
        _start_from_weights(session, optimizer_step, averaged)
    loader = build_train_loader(
        cfg,
        split,
        lambda step: session.shapes(configs_at(step)),
        num_steps,
        session.shard,
        resume_point.step,
        resume_point.position,
        resume_point.bad_since,
    )
    state.loader = loader
    run_step = _build_run_step(session, split, optimizer_step, averaged, num_steps)

    writer, flags = BackgroundWriter(folder.save), SharedFlags()
    checkpointing = Checkpointing(
        state.capture,
        writer if distributed.is_main() else None,
        flags,
        epoch_steps,
        cfg.TRAIN.CHECKPOINT_PERIOD,
        cfg.TRAIN.CHECKPOINT_STEPS,
        cfg.TRAIN.CHECKPOINT_SECONDS,
        is_best=lambda step: step == validation.best_step,
    )
    hooks: list[Hook] = [
        LearningRate(optimizer_step.optimizer, build_lr_schedule(cfg), epoch_steps),
        flags,
        *build_log_hooks(session, optimizer_step.optimizer, epoch_steps, resume_point.step, num_steps),
        validation,
        checkpointing,
        PreemptionHook(signals, flags, checkpointing.finish),
    ]
    log_network(session)
    _log_start(session, split, resume_point.step, num_steps)
    started = time.monotonic()
    with writer:
        loop = TrainLoop(run_step, loader, hooks, resume_point.step, num_steps)
        try:
            loop.train()
        except (Interrupted, DataAway):
            checkpointing.save_between_steps(loop)
            raise
    session.exchange_bad_videos(split)
    _log_end(session, split, num_steps, time.monotonic() - started)
    newest = distributed.broadcast(folder.newest())
    assert newest is not None, "the last step wrote one, in this run or in the one that it resumed"
    if distributed.is_main() and not cfg.TEST.ENABLE:
        log_summary(cfg)
    return newest


def _build_run_step(
    session: Session,
    split: Split,
    optimizer_step: OptimizerStep,
    averaged: AveragedWeights | None,
    num_steps: int,
) -> Callable[[int, ClipBatch], StepMetrics]:
    """Return the training step, which sorts channels before a late first mutual step if the config asks."""
    cfg = session.cfg
    configs_at = build_configs_at(cfg, session.space, num_steps)
    train_step = build_train_step(session, optimizer_step, averaged, configs_at, split)
    if not (cfg.MUTUAL.ENABLE and cfg.MUTUAL.START and cfg.MUTUAL.SORT_CHANNELS):
        return train_step
    sort = partial(sort_training, session.model, optimizer_step.optimizer, averaged)
    return SortedAt(train_step, first_mutual_step(cfg, num_steps), sort)


def _complete(session: Session, folder: CheckpointFolder, step: int, num_steps: int) -> str:
    """Log that there is nothing left to train, and return the path of the newest checkpoint."""
    epochs = f"SOLVER.MAX_EPOCH {session.cfg.SOLVER.MAX_EPOCH}"
    logger.info("the training is complete: %d steps are done, and the config asks for %d (%s)", step, num_steps, epochs)
    if step > num_steps:
        logger.warning(
            "the newest checkpoint has seen more steps than the config asks for: %d, not %d", step, num_steps
        )
    newest = distributed.broadcast(folder.newest())
    assert newest is not None, "the run was resumed from one"
    return newest


def _start_from_weights(session: Session, optimizer_step: OptimizerStep, averaged: AveragedWeights | None) -> None:
    """Load `TRAIN.CHECKPOINT_FILE_PATH` into a new run.

    If `MUTUAL.SORT_CHANNELS` is set, sort its channels too, unless they are sorted later.
    """
    cfg = session.cfg
    if not cfg.TRAIN.CHECKPOINT_FILE_PATH:
        return
    with changes_named(cfg):
        loaded = load_weights(session.model, cfg.TRAIN.CHECKPOINT_FILE_PATH, inflate=cfg.TRAIN.CHECKPOINT_INFLATE)
    logger.info("started from %s", loaded)
    if cfg.MUTUAL.SORT_CHANNELS and not (cfg.MUTUAL.ENABLE and cfg.MUTUAL.START):
        sort_training(session.model, optimizer_step.optimizer)
    if averaged is not None:
        averaged.model.load_state_dict(session.model.state_dict())


def _log_start(session: Session, split: Split, start_step: int, num_steps: int) -> None:
    cfg, num_processes = session.cfg, session.shard.world_size
    first = first_mutual_step(cfg, num_steps)
    alone = cfg.TRAIN.SUBNET or "the full network"
    logger.info(
        "training %s on %s with %d threads%s: %d videos, steps %d to %d, %d clips each",
        "mutually"
        if not first
        else f"{alone} alone" + (f", mutually from step {first} on" if first < num_steps else ""),
        session.device,
        torch.get_num_threads(),
        f", {num_processes} processes started by {session.launch.started_by}" if num_processes > 1 else "",
        len(split.videos),
        start_step,
        num_steps,
        cfg.TRAIN.BATCH_SIZE,
    )
    counts = split.num_videos_K[split.num_videos_K > 0]
    if cfg.TRAIN.CLASS_BALANCE != "none":
        logger.info(
            "%d classes have from %d to %d videos in the list; they count the same, by %s (TRAIN.CLASS_BALANCE %s)",
            len(counts),
            counts.min(),
            counts.max(),
            "weights of their losses" if cfg.TRAIN.CLASS_BALANCE == "loss" else "the order of the clips",
            cfg.TRAIN.CLASS_BALANCE,
        )
    factor = linear_scaling(cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.LR_BATCH_SIZE)
    if factor != 1.0:
        logger.info(
            "learning rates are multiplied by %g: TRAIN.BATCH_SIZE %d over SOLVER.LR_BATCH_SIZE %d; the peak is %g",
            factor,
            cfg.TRAIN.BATCH_SIZE,
            cfg.SOLVER.LR_BATCH_SIZE,
            factor * cfg.SOLVER.BASE_LR,
        )


def _log_end(session: Session, split: Split, num_steps: int, seconds: float) -> None:
    bad = split.bad
    counts = {"listed": bad.num_listed, "found": len(split.videos), "bad": bad.num_bad, "damaged": bad.num_damaged}
    session.records.write({"kind": "trained", "step": num_steps, "seconds": seconds, **counts})
    if bad.num_bad:
        logger.warning("%d of %d videos could not be decoded", bad.num_bad, len(split.videos))
    if bad.num_damaged:
        logger.warning("%d of %d videos were used with errors that are concealed", bad.num_damaged, len(split.videos))
