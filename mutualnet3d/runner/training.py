"""train(cfg): the parts of a training put together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import torch
from fvcore.common.config import CfgNode

from mutualnet3d import distributed
from mutualnet3d.data.build_loaders import Split, build_mix, build_train_loader, build_val_loader, steps_per_epoch
from mutualnet3d.distributed.launch import Launch
from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.checkpoint_folder import CheckpointFolder
from mutualnet3d.engine.checkpoint_writer import BackgroundWriter
from mutualnet3d.engine.hooks import Checkpointing, LearningRate, Validation
from mutualnet3d.engine.optim import build_sgd, cosine, linear_scaling, relative_steps, with_warmup
from mutualnet3d.engine.optimizer_step import OptimizerStep
from mutualnet3d.engine.preemption import PreemptionHook, Signals
from mutualnet3d.engine.profile import Profile
from mutualnet3d.engine.shared_flags import SharedFlags
from mutualnet3d.engine.tensorboard import TensorBoardRecords
from mutualnet3d.engine.train_log import TrainLog
from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.engine.train_network import TrainNetwork
from mutualnet3d.engine.train_step import TrainStep
from mutualnet3d.log import logger
from mutualnet3d.models import load_weights, sort_channels
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.mutual import SubnetConfig
from mutualnet3d.runner.resume import TrainState
from mutualnet3d.runner.session import Session

_AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}


def train(cfg: CfgNode, launch: Launch | None = None) -> str:
    """Train as `cfg` says, going on from `OUTPUT_DIR` where a run was left. Returns the path of the last checkpoint.

    Args:
        launch: where this process stands in its job, which it has joined; None: it is alone.

    Raises:
        Interrupted: SIGTERM or SIGUSR1 asked a process of the job to leave; what was done is saved.
    """
    with Signals() as signals:
        session = Session(cfg, launch or Launch())
        with session.sharing_the_cores():
            return _train(session, signals)


def _train(session: Session, signals: Signals) -> str:
    cfg = session.cfg
    split = session.read_split("train")
    alone = session.space.check(SubnetConfig.parse(cfg.TRAIN.SUBNET)) if cfg.TRAIN.SUBNET else None

    def configs_at(step: int) -> tuple[SubnetConfig, ...]:
        return session.space.at_step(cfg.RNG_SEED, step) if cfg.MUTUAL.ENABLE else (alone or session.space.full,)

    averaged = AveragedWeights(session.model, cfg.SOLVER.EMA_DECAY) if cfg.SOLVER.EMA_DECAY else None
    networks: list[SlimmableNet] = [session.model]
    if averaged is not None:
        networks.append(averaged.model)  # type: ignore[arg-type]
    _share_norms(cfg, networks)
    epoch_steps = steps_per_epoch(cfg, split)
    num_steps = cfg.SOLVER.MAX_EPOCH * epoch_steps
    optimizer_step = _optimizer_step(session)
    validation = Validation(
        _validation(session, networks[-1] if cfg.TEST.USE_EMA else session.model, split),
        epoch_steps,
        cfg.TRAIN.EVAL_PERIOD,
    )
    folder = CheckpointFolder(cfg.OUTPUT_DIR, cfg.TRAIN.CHECKPOINTS_KEPT)
    state = TrainState(session, split, optimizer_step, averaged, validation)
    start = state.resume(folder)
    if start.step == 0:
        _start_from_weights(session, averaged)
    loader = build_train_loader(
        cfg,
        split,
        lambda step: session.shapes(configs_at(step)),
        num_steps,
        session.shard,
        start.step,
        start.position,
        start.bad_since,
    )
    state.loader = loader
    run_step = _train_step(session, optimizer_step, averaged, configs_at, alone)
    _say_what_is_trained(session, split, start.step, num_steps)
    started = time.monotonic()
    writer = BackgroundWriter(folder.save)
    flags = SharedFlags()
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
        LearningRate(optimizer_step.optimizer, _lr_schedule(cfg), epoch_steps),
        flags,
        *_log_hooks(session, optimizer_step.optimizer, epoch_steps, start.step),
        validation,
        checkpointing,
        PreemptionHook(signals, flags, checkpointing.finish),
    ]
    with writer:
        TrainLoop(run_step, loader, hooks, start.step, num_steps).train()
    session.exchange_bad_videos(split)
    _account_for(session, split, num_steps, time.monotonic() - started)
    newest = distributed.broadcast(folder.newest())
    assert newest is not None  # the last step wrote one, in this run or in the one that it goes on from
    return newest


def _train_step(
    session: Session,
    optimizer_step: OptimizerStep,
    averaged: AveragedWeights | None,
    configs_at: Callable[[int], tuple[SubnetConfig, ...]],
    alone: SubnetConfig | None,
) -> TrainStep:
    cfg = session.cfg
    session.model.train()
    network = TrainNetwork(
        session.model, _AUTOCAST[cfg.TRAIN.MIXED_PRECISION_TYPE] if cfg.TRAIN.MIXED_PRECISION else None
    )
    network.fix_order(session.space.smallest, session.blank_clips(session.space.smallest, num_clips=2))
    mix = build_mix(cfg)
    return TrainStep(
        network,
        optimizer_step,
        configs_at,
        session.prepare,
        session.device,
        mixture_at=(lambda step: mix.at_step(cfg.RNG_SEED, step)) if mix else None,
        num_parts=cfg.TRAIN.ACCUMULATION_STEPS,
        averaged=averaged,
        is_teacher=cfg.MUTUAL.TEACHER == "ema",
        single_subnet=alone,
    )


def _account_for(session: Session, split: Split, num_steps: int, seconds: float) -> None:
    """What became of the listed videos, at the end of a training."""
    account = {"listed": split.bad.num_listed, "found": len(split.videos), "bad": split.bad.num_bad}
    session.records.write({"kind": "trained", "step": num_steps, "seconds": seconds, **account})
    if split.bad.num_bad:
        logger.warning("%d of %d videos could not be decoded", split.bad.num_bad, len(split.videos))


def _share_norms(cfg: CfgNode, networks: Sequence[SlimmableNet]) -> None:
    """Let batch norms see the clips of several processes, if that is asked for."""
    if cfg.BN.NORM_TYPE != "sync_batchnorm" or distributed.world_size() == 1:
        return
    size = cfg.BN.NUM_SYNC_DEVICES or distributed.world_size()
    if distributed.world_size() % size:
        raise ValueError(
            f"BN.NUM_SYNC_DEVICES is {size}; the job's {distributed.world_size()} processes are no multiple of it"
        )
    group = distributed.group_of(size)
    for network in networks:
        for _, norm in network.norms():
            norm.sync_group = group


def _optimizer_step(session: Session) -> OptimizerStep:
    cfg = session.cfg
    optimizer = build_sgd(
        session.model,
        base_lr=cfg.SOLVER.BASE_LR,
        momentum=cfg.SOLVER.MOMENTUM,
        dampening=cfg.SOLVER.DAMPENING,
        nesterov=cfg.SOLVER.NESTEROV,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
    )
    return OptimizerStep(
        optimizer,
        scale_losses=cfg.TRAIN.MIXED_PRECISION and cfg.TRAIN.MIXED_PRECISION_TYPE == "fp16",
        clip_norm=cfg.SOLVER.CLIP_GRAD_L2NORM or None,
        clip_value=cfg.SOLVER.CLIP_GRAD_VAL or None,
    )


def _start_from_weights(session: Session, averaged: AveragedWeights | None) -> None:
    """Load `TRAIN.CHECKPOINT_FILE_PATH` into a run that begins, its channels sorted if that is asked for."""
    cfg = session.cfg
    if not cfg.TRAIN.CHECKPOINT_FILE_PATH:
        return
    loaded = load_weights(session.model, cfg.TRAIN.CHECKPOINT_FILE_PATH, inflate=cfg.TRAIN.CHECKPOINT_INFLATE)
    session.model.statistics.clear()  # training moves on from them
    logger.info("started from %s", loaded)
    if cfg.MUTUAL.SORT_CHANNELS:
        logger.info("sorted the channels of %d groups of layers by importance", sort_channels(session.model))
    if averaged is not None:
        averaged.model.load_state_dict(session.model.state_dict())


def _say_what_is_trained(session: Session, split: Split, start: int, num_steps: int) -> None:
    cfg = session.cfg
    what = "mutually" if cfg.MUTUAL.ENABLE else f"{cfg.TRAIN.SUBNET or 'the full network'} alone"
    processes = session.shard.world_size
    logger.info(
        "training %s on %s with %d threads%s: %d videos, steps %d to %d, %d clips each",
        what,
        session.device,
        torch.get_num_threads(),
        f", {processes} processes started by {session.launch.started_by}" if processes > 1 else "",
        len(split.videos),
        start,
        num_steps,
        cfg.TRAIN.BATCH_SIZE,
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


def _log_hooks(session: Session, optimizer: torch.optim.Optimizer, epoch_steps: int, start_step: int) -> list[Hook]:
    """What rank 0 says."""
    cfg = session.cfg
    if not distributed.is_main():
        return []
    if cfg.TENSORBOARD.ENABLE:
        session.records.also.append(
            TensorBoardRecords(cfg.TENSORBOARD.LOG_DIR or os.path.join(cfg.OUTPUT_DIR, "tensorboard"), start_step)
        )
    hooks: list[Hook] = [
        TrainLog(optimizer, epoch_steps, cfg.LOG_PERIOD, session.records, session.shard.world_size, session.device)
    ]
    if cfg.PROFILE_STEPS:
        hooks.append(Profile(cfg.PROFILE_STEPS, os.path.join(cfg.OUTPUT_DIR, "profile")))
    return hooks


def _lr_schedule(cfg: CfgNode) -> Callable[[float], float]:
    """The learning rate by the (fractional) epoch."""
    factor = linear_scaling(cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.LR_BATCH_SIZE)
    base_lr = factor * cfg.SOLVER.BASE_LR
    if cfg.SOLVER.LR_POLICY == "cosine":
        schedule = cosine(
            base_lr=base_lr,
            end_lr=factor * cfg.SOLVER.COSINE_END_LR,
            max_epoch=cfg.SOLVER.MAX_EPOCH,
            start_epoch=cfg.SOLVER.WARMUP_EPOCHS if cfg.SOLVER.COSINE_AFTER_WARMUP else 0.0,
        )
    else:
        schedule = relative_steps(base_lr=base_lr, steps=cfg.SOLVER.STEPS, lrs=cfg.SOLVER.LRS)
    warmup_start_lr = factor * cfg.SOLVER.WARMUP_START_LR
    return with_warmup(schedule, warmup_epochs=cfg.SOLVER.WARMUP_EPOCHS, warmup_start_lr=warmup_start_lr)


def _validation(session: Session, model: SlimmableNet, train_split: Split) -> Callable[[int], float]:
    """Top-1 and top-5 of the full network and, in mutual training, of the smallest one, on val.csv; the score is the
    mean of their top-1."""
    cfg, space = session.cfg, session.space
    if cfg.MUTUAL.ENABLE:
        configs = [space.full, space.smallest]
    else:
        configs = [SubnetConfig.parse(cfg.TRAIN.SUBNET) if cfg.TRAIN.SUBNET else space.full]
    if not cfg.TRAIN.EVAL_PERIOD:
        return lambda epoch: 0.0
    val_split = session.read_split("val")
    epoch_steps = steps_per_epoch(cfg, train_split)

    def validate(epoch: int) -> float:
        distributed.broadcast_tensors(model.buffers())  # all processes by the statistics that rank 0 has tracked
        model.statistics.clear()  # the weights have moved on since they were taken
        missing = session.to_calibrate(model, configs, cfg.BN.USE_PRECISE_STATS)
        if missing:
            session.calibrate(model, missing, train_split)
        loader = build_val_loader(cfg, val_split, session.shapes(configs), session.shard)
        results = session.evaluate(model, configs, loader, val_split, num_views=1)
        for config, result in results.accuracies.items():
            logger.info("epoch %d: %s top-1 %.2f %%, top-5 %.2f %%", epoch, config, result.top1, result.top5)
        record = {
            "kind": "validation",
            "epoch": epoch,
            "step": epoch * epoch_steps,
            "top1": {str(config): result.top1 for config, result in results.accuracies.items()},
            "top5": {str(config): result.top5 for config, result in results.accuracies.items()},
            "listed": val_split.bad.num_listed,
            "found": len(val_split.videos),
            "bad": val_split.bad.num_bad,
        }
        session.records.write(record)
        return sum(result.top1 for result in results.accuracies.values()) / len(configs)

    return validate
