"""Translation of a config to the parts of a training: networks, optimizer, schedule, step, validation and log."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from fvcore.common.config import CfgNode

from mutualnet3d import distributed
from mutualnet3d.data.build_loaders import build_class_weights, build_mixup, build_val_loader, label_sets_of
from mutualnet3d.data.build_split import Split, is_multi_label, steps_per_epoch
from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.hooks import Validation
from mutualnet3d.engine.optim import build_adam, build_sgd, cosine, linear_scaling, relative_steps, with_warmup
from mutualnet3d.engine.optimizer_step import OptimizerStep
from mutualnet3d.engine.parameter_groups import factors_of_stages
from mutualnet3d.engine.profile import Profile
from mutualnet3d.engine.train_log import TrainLog
from mutualnet3d.engine.train_loop import Hook
from mutualnet3d.engine.train_network import TrainNetwork
from mutualnet3d.engine.train_step import TrainStep
from mutualnet3d.log import logger
from mutualnet3d.models.freezing import freeze_norms, freeze_stages, stages_of
from mutualnet3d.models.network import VideoNet
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.mutual import SubnetConfig, SubnetSpace
from mutualnet3d.mutual.losses import ONE_LABEL, SEVERAL_LABELS, Losses, label_loss
from mutualnet3d.runner.build_records import build_records
from mutualnet3d.runner.session import Session

_AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}


def autocast_of(cfg: CfgNode) -> torch.dtype | None:
    """Return the type of the training's convolutions and products; None for float32."""
    return _AUTOCAST[cfg.TRAIN.MIXED_PRECISION_TYPE] if cfg.TRAIN.MIXED_PRECISION else None


def single_subnet_of(cfg: CfgNode, space: SubnetSpace) -> SubnetConfig | None:
    """Return `TRAIN.SUBNET`, the sub-network that is trained alone; None if it is the full network.

    Args:
        cfg: config of the run.
        space: sub-networks of the training.

    Raises:
        ValueError: the space does not have the sub-network.
    """
    if not cfg.TRAIN.SUBNET:
        return None
    try:
        return space.check(SubnetConfig.parse(cfg.TRAIN.SUBNET))
    except ValueError as error:
        raise ValueError(f"TRAIN.SUBNET: {error}") from error


def first_mutual_step(cfg: CfgNode, num_steps: int) -> int:
    """Return the number of the first step that trains sub-networks too; `num_steps` if none does."""
    return round(cfg.MUTUAL.START * num_steps) if cfg.MUTUAL.ENABLE else num_steps


def build_configs_at(cfg: CfgNode, space: SubnetSpace, num_steps: int) -> Callable[[int], tuple[SubnetConfig, ...]]:
    """Return the function from a step's number to the networks it trains, in a training of `num_steps`."""
    alone, first = (single_subnet_of(cfg, space) or space.full,), first_mutual_step(cfg, num_steps)
    return lambda step: alone if step < first else space.at_step(cfg.RNG_SEED, step)


def freeze_parts(cfg: CfgNode, model: VideoNet) -> None:
    """Freeze batch norms (`MODEL.FROZEN_BN`) and stages (`MODEL.FROZEN_STAGES`) of a network from its first step on.

    The call comes before the optimizer and the average are made.

    Args:
        cfg: config of the run.
        model: network.

    Raises:
        ValueError: no stage is left to be trained.
    """
    try:
        freeze_stages(model, cfg.MODEL.FROZEN_STAGES)
    except ValueError as error:
        raise ValueError(f"MODEL.FROZEN_STAGES: {error}") from error
    if cfg.MODEL.FROZEN_BN:
        freeze_norms(model)


def build_optimizer_step(cfg: CfgNode, model: VideoNet) -> OptimizerStep:
    """Return the optimizer of the model's parameters, with the scaling and clipping of the config."""
    factors = factors_of_stages(stages_of(model), cfg.SOLVER.LAYER_DECAY, cfg.SOLVER.HEAD_LR_FACTOR)
    optimizer: torch.optim.Optimizer
    if cfg.SOLVER.OPTIMIZING_METHOD == "sgd":
        optimizer = build_sgd(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            momentum=cfg.SOLVER.MOMENTUM,
            dampening=cfg.SOLVER.DAMPENING,
            nesterov=cfg.SOLVER.NESTEROV,
            weight_decay=cfg.SOLVER.WEIGHT_DECAY,
            stage_factors=factors,
        )
    else:
        optimizer = build_adam(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            betas=cfg.SOLVER.BETAS,
            weight_decay=cfg.SOLVER.WEIGHT_DECAY,
            is_decoupled=cfg.SOLVER.OPTIMIZING_METHOD == "adamw",
            stage_factors=factors,
        )
    return OptimizerStep(
        optimizer,
        scale_losses=cfg.TRAIN.MIXED_PRECISION and cfg.TRAIN.MIXED_PRECISION_TYPE == "fp16",
        clip_norm=cfg.SOLVER.CLIP_GRAD_L2NORM or None,
        clip_value=cfg.SOLVER.CLIP_GRAD_VAL or None,
    )


def build_lr_schedule(cfg: CfgNode) -> Callable[[float], float]:
    """Return the learning rate by the fractional epoch."""
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


def sync_norms(cfg: CfgNode, networks: Sequence[SlimmableNet]) -> None:
    """Let batch norms take the clips of several processes, if `BN.NORM_TYPE` is sync_batchnorm.

    Args:
        cfg: config of the run.
        networks: networks of the training.

    Raises:
        ValueError: the processes do not divide into groups of `BN.NUM_SYNC_DEVICES`.
    """
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


def build_losses(cfg: CfgNode, split: Split, device: torch.device) -> Losses:
    """Return the losses with labels and with the teacher.

    Args:
        cfg: config of the run.
        split: training list, whose classes are weighted where `TRAIN.CLASS_BALANCE` is loss.
        device: device of the network.
    """
    if is_multi_label(cfg):
        return SEVERAL_LABELS
    class_weight_K = build_class_weights(cfg, split)
    if class_weight_K is None:
        return ONE_LABEL
    return Losses(partial(label_loss, class_weight_K=class_weight_K.to(device)))


def build_train_step(
    session: Session,
    optimizer_step: OptimizerStep,
    averaged: AveragedWeights | None,
    configs_at: Callable[[int], tuple[SubnetConfig, ...]],
    split: Split,
) -> TrainStep:
    """Return the training step of the session's model, which is put into training mode.

    Args:
        session: session of the training.
        optimizer_step: step from gradients to weights.
        averaged: average of the weights; None: none is kept.
        configs_at: function from a step's number to its networks.
        split: training list, whose classes are balanced and whose sets of labels are learned.
    """
    cfg = session.cfg
    session.model.train()
    network = TrainNetwork(session.model, autocast_of(cfg))
    network.fix_order(session.space.smallest, session.blank_clips(session.space.smallest, num_clips=2))
    mixup, label_sets_SK = build_mixup(cfg), label_sets_of(split)
    return TrainStep(
        network,
        optimizer_step,
        configs_at,
        session.prepare,
        session.device,
        mixture_at=(lambda step: mixup.at_step(cfg.RNG_SEED, step)) if mixup else None,
        num_parts=cfg.TRAIN.ACCUMULATION_STEPS,
        averaged=averaged,
        is_teacher=cfg.MUTUAL.TEACHER == "ema",
        label_weight=cfg.MUTUAL.LABEL_WEIGHT,
        subnet_dropout=cfg.MUTUAL.SUBNET_DROPOUT,
        single_subnet=single_subnet_of(cfg, session.space),
        losses=build_losses(cfg, split, session.device),
        label_sets_SK=None if label_sets_SK is None else label_sets_SK.float(),
    )


def cost_of_mutual_steps(space: SubnetSpace, seed: int) -> float:
    """Return about how many times longer a step with sub-networks takes than the full network's alone.

    It is the mean of 100 steps, with a network's time taken as its width times the pixels of its clip.
    """
    full = space.full
    steps = [space.at_step(seed, step) for step in range(100)]
    costs = [config.width * config.size**2 * config.frames for configs in steps for config in configs]
    return sum(costs) / len(steps) / (full.size**2 * full.frames)


def build_log_hooks(
    session: Session, optimizer: torch.optim.Optimizer, epoch_steps: int, start_step: int, num_steps: int
) -> list[Hook]:
    """Return the hooks that write log and profile, and open the files of TensorBoard and others.

    Only rank 0 has any.

    Args:
        session: session of the training.
        optimizer: optimizer whose learning rate is written.
        epoch_steps: number of steps of an epoch.
        start_step: first step of this run.
        num_steps: number of steps of the whole training.

    Raises:
        ModuleNotFoundError: a program that the config asks for is not installed.
    """
    cfg = session.cfg
    if not distributed.is_main():
        return []
    session.records.sinks += build_records(cfg, start_step)
    hooks: list[Hook] = [
        TrainLog(
            optimizer,
            epoch_steps,
            cfg.LOG_PERIOD,
            session.records,
            session.shard.world_size,
            session.device,
            learns_labels=cfg.MUTUAL.LABEL_WEIGHT > 0,
            has_several_labels=is_multi_label(cfg),
            joining=(first_mutual_step(cfg, num_steps), cost_of_mutual_steps(session.space, cfg.RNG_SEED)),
        )
    ]
    if cfg.PROFILE_STEPS:
        hooks.append(Profile(cfg.PROFILE_STEPS, os.path.join(cfg.OUTPUT_DIR, "profile")))
    return hooks


def build_validation(session: Session, model: SlimmableNet, train_split: Split) -> Validation:
    """Return the hook that tests the full network and, in mutual training, the smallest one on val.csv.

    Its score is the mean of their top-1, or of their mean average precision.
    """
    cfg, space = session.cfg, session.space
    epoch_steps = steps_per_epoch(cfg, train_split)
    if not cfg.TRAIN.EVAL_PERIOD:
        return Validation(lambda epoch: 0.0, epoch_steps, period_epochs=0)
    configs = [space.full, space.smallest] if cfg.MUTUAL.ENABLE else [single_subnet_of(cfg, space) or space.full]
    val_split = session.read_split("val")

    def validate(epoch: int) -> float:
        distributed.broadcast_tensors(model.buffers())  # all processes by the statistics that rank 0 has tracked
        model.statistics.clear()  # the weights have changed since they were taken
        missing = session.to_calibrate(model, configs, cfg.BN.USE_PRECISE_STATS)
        if missing:
            session.calibrate(model, missing, train_split)
        loader = build_val_loader(cfg, val_split, session.shapes(configs), session.shard)
        accuracies = session.evaluate(model, configs, loader, val_split, num_views=1).accuracies
        for config, accuracy in accuracies.items():
            logger.info(
                "epoch %d: %s %stop-1 %.2f %%, top-5 %.2f %%",
                epoch,
                config,
                "" if accuracy.mean_ap is None else f"mAP {accuracy.mean_ap:.2f} %, ",
                accuracy.top1,
                accuracy.top5,
            )
        record: dict[str, Any] = {
            "kind": "validation",
            "epoch": epoch,
            "step": epoch * epoch_steps,
            "top1": {str(config): accuracy.top1 for config, accuracy in accuracies.items()},
            "top5": {str(config): accuracy.top5 for config, accuracy in accuracies.items()},
            "listed": val_split.bad.num_listed,
            "found": len(val_split.videos),
            "bad": val_split.bad.num_bad,
            "damaged": val_split.bad.num_damaged,
        }
        if val_split.label_sets is not None:
            record["mean_ap"] = {str(config): accuracy.mean_ap for config, accuracy in accuracies.items()}
        session.records.write(record)
        return sum(accuracy.score for accuracy in accuracies.values()) / len(configs)

    return Validation(validate, epoch_steps, cfg.TRAIN.EVAL_PERIOD)
