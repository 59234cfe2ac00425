from __future__ import annotations

import math

import pytest
import torch

from mutualnet3d.distributed import Launch
from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.checkpoint import load_checkpoint
from mutualnet3d.engine.profile import Profile
from mutualnet3d.engine.tensorboard import TensorBoardRecords
from mutualnet3d.engine.train_log import TrainLog
from mutualnet3d.models.network import VideoNet
from mutualnet3d.mutual import SubnetConfig, SubnetSpace
from mutualnet3d.mutual.losses import ONE_LABEL, SEVERAL_LABELS
from mutualnet3d.runner import train as run_train
from mutualnet3d.runner.build_training import (
    build_configs_at,
    build_log_hooks,
    build_lr_schedule,
    build_optimizer_step,
    build_train_step,
    build_validation,
    cost_of_mutual_steps,
    first_mutual_step,
    freeze_parts,
    single_subnet_of,
    sync_norms,
)
from mutualnet3d.runner.session import Session
from tests.runner.runs import CALM, make_cfg, records_of

SPACE = SubnetSpace((0.5, 1.0), (32,), (4, 2))
NARROW = SubnetConfig(0.5, 32, 2)


@pytest.fixture
def make_session(tiny_overrides):
    return lambda **changes: Session(make_cfg(tiny_overrides(**changes)), Launch())


def make_step(session, averaged=None):
    optimizer_step = build_optimizer_step(session.cfg, session.model)
    configs_at = build_configs_at(session.cfg, session.space, 8)
    return build_train_step(session, optimizer_step, averaged, configs_at, session.read_split("train"))


def test_the_networks_of_a_step(tiny_overrides):
    mutual = make_cfg(tiny_overrides())
    assert single_subnet_of(mutual, SPACE) is None
    assert build_configs_at(mutual, SPACE, 8)(7) == SPACE.at_step(mutual.RNG_SEED, 7)
    assert build_configs_at(make_cfg(tiny_overrides(MUTUAL__ENABLE=False)), SPACE, 8)(7) == (SPACE.full,)
    single = make_cfg(tiny_overrides(MUTUAL__ENABLE=False, TRAIN__SUBNET=str(NARROW)))
    assert single_subnet_of(single, SPACE) == NARROW
    assert build_configs_at(single, SPACE, 8)(7) == (NARROW,)
    outside = make_cfg(tiny_overrides(MUTUAL__ENABLE=False, TRAIN__SUBNET="w0.4-s32-t2"))
    with pytest.raises(ValueError, match=r"width 0\.4 is outside the space's 0\.5 to 1\.0"):
        build_configs_at(outside, SPACE, 8)


@pytest.mark.parametrize(("start", "first"), [(0.0, 0), (0.4, 3), (0.5, 4), (0.99, 8)])
def test_sub_networks_join_after_a_fraction_of_the_schedule(tiny_overrides, start, first):
    cfg = make_cfg(tiny_overrides(MUTUAL__START=start))
    assert first_mutual_step(cfg, 8) == first
    configs_at = build_configs_at(cfg, SPACE, 8)
    assert [len(configs_at(step)) for step in range(8)] == [1] * first + [4] * (8 - first)
    assert first_mutual_step(make_cfg(tiny_overrides(MUTUAL__ENABLE=False, MUTUAL__START=start)), 8) == 8


def test_a_mutual_steps_cost():
    """Frames are 3 of 4 on average, widths 0.5 and twice 0.75: 1 + 0.75 x (0.5 + 2 x 0.75)."""
    assert cost_of_mutual_steps(SPACE, seed=0) == pytest.approx(2.5, abs=0.15)
    assert cost_of_mutual_steps(SubnetSpace((1.0, 1.0), (32,), (4,)), seed=0) == pytest.approx(4.0)


def test_the_optimizers_settings(tiny_overrides):
    model = VideoNet(torch.nn.ModuleList([torch.nn.Linear(2, 2)]))
    cfg = make_cfg(tiny_overrides(SOLVER__CLIP_GRAD_L2NORM=2.0, SOLVER__WEIGHT_DECAY=0.5, SOLVER__MOMENTUM=0.8))
    optimizer_step = build_optimizer_step(cfg, model)
    assert (optimizer_step.clip_norm, optimizer_step.clip_value, optimizer_step.scaler) == (2.0, None, None)
    groups = optimizer_step.optimizer.param_groups
    assert [(group["weight_decay"], group["momentum"], group["nesterov"]) for group in groups] == [
        (0.5, 0.8, True),
        (0.0, 0.8, True),
    ]
    half = make_cfg(tiny_overrides(TRAIN__MIXED_PRECISION=True, SOLVER__CLIP_GRAD_VAL=0.1))
    assert build_optimizer_step(half, model).scaler is not None
    assert build_optimizer_step(half, model).clip_value == 0.1
    bf16 = make_cfg(tiny_overrides(TRAIN__MIXED_PRECISION=True, TRAIN__MIXED_PRECISION_TYPE="bf16"))
    assert build_optimizer_step(bf16, model).scaler is None


def test_adamw_with_a_rate_for_each_stage(make_session):
    adamw = {"SOLVER__OPTIMIZING_METHOD": "adamw", "SOLVER__BETAS": [0.8, 0.9], "SOLVER__WEIGHT_DECAY": 0.5}
    session = make_session(**adamw, SOLVER__LAYER_DECAY=0.5, SOLVER__HEAD_LR_FACTOR=4.0)
    optimizer = build_optimizer_step(session.cfg, session.model).optimizer
    assert type(optimizer) is torch.optim.AdamW
    groups = [(group["lr_factor"], group["weight_decay"], group["betas"]) for group in optimizer.param_groups]
    expected = [(factor, decay) for factor in (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 4.0) for decay in (0.5, 0.0)]
    assert groups == [(*pair, (0.8, 0.9)) for pair in expected]
    adam = build_optimizer_step(make_cfg(["SOLVER.OPTIMIZING_METHOD", "adam"]), session.model).optimizer
    assert type(adam) is torch.optim.Adam


def test_frozen_parts_are_left_out_of_the_optimizer(make_session):
    weights = {"TRAIN__CHECKPOINT_FILE_PATH": "a.pyth"}
    session = make_session(MODEL__FROZEN_STAGES=5, **weights)
    freeze_parts(session.cfg, session.model)
    optimizer = build_optimizer_step(session.cfg, session.model).optimizer
    trained = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    assert trained == set(session.model.blocks[-1].parameters())
    assert [norm.frozen for _, norm in session.model.norms()][-1] is False  # the classifier's
    session = make_session(MODEL__FROZEN_BN=True, **weights)
    freeze_parts(session.cfg, session.model)
    assert all(norm.frozen for _, norm in session.model.norms())
    session = make_session(MODEL__FROZEN_STAGES=6, **weights)
    with pytest.raises(ValueError, match=r"MODEL\.FROZEN_STAGES: 6 frozen stages; the network has 6"):
        freeze_parts(session.cfg, session.model)


def test_the_learning_rates_schedule(tiny_overrides):
    steps = {"SOLVER__LR_POLICY": "steps_with_relative_lrs", "SOLVER__STEPS": [0, 2], "SOLVER__LRS": [1, 0.1, 0.01]}
    lr_at = build_lr_schedule(make_cfg(tiny_overrides(SOLVER__BASE_LR=0.4, SOLVER__MAX_EPOCH=3, **steps)))
    assert [lr_at(epoch) for epoch in (0, 1.75, 2, 2.75)] == pytest.approx([0.4, 0.4, 0.04, 0.04])
    rates = {"SOLVER__BASE_LR": 0.4, "SOLVER__COSINE_END_LR": 0.2, "SOLVER__WARMUP_START_LR": 0.04}
    epochs = {"SOLVER__WARMUP_EPOCHS": 2, "SOLVER__MAX_EPOCH": 10, "SOLVER__COSINE_AFTER_WARMUP": True}
    halved = {"TRAIN__BATCH_SIZE": 4, "SOLVER__LR_BATCH_SIZE": 8}
    lr_at = build_lr_schedule(make_cfg(tiny_overrides(**rates, **epochs, **halved)))
    at_4 = 0.1 + 0.1 * (1 + math.cos(math.pi / 4)) / 2
    assert [lr_at(epoch) for epoch in (0, 1, 2, 4, 10)] == pytest.approx([0.02, 0.11, 0.2, at_4, 0.1])


def test_the_training_steps_settings(make_session):
    step = make_step(make_session())
    assert step.network.model.training
    assert (step.network.autocast, step.num_parts, step.teacher, step.mixture_at) == (None, 1, None, None)
    assert (step.single_subnet, step.losses, step.label_sets_SK) == (None, ONE_LABEL, None)
    assert (step.label_weight, step.subnet_dropout) == (0.0, True)
    session = make_session(
        MUTUAL__LABEL_WEIGHT=0.25,
        MUTUAL__SUBNET_DROPOUT=False,
        TRAIN__MIXED_PRECISION=True,
        TRAIN__MIXED_PRECISION_TYPE="bf16",
        TRAIN__ACCUMULATION_STEPS=2,
        SOLVER__EMA_DECAY=0.9,
        MUTUAL__TEACHER="ema",
        MIXUP__ENABLE=True,
    )
    averaged = AveragedWeights(session.model, 0.9)
    step = make_step(session, averaged)
    assert (step.network.autocast, step.num_parts) == (torch.bfloat16, 2)
    assert step.teacher == averaged.logits
    assert (step.label_weight, step.subnet_dropout) == (0.25, False)
    assert step.mixture_at(3) == step.mixture_at(3) != step.mixture_at(4)
    assert make_step(make_session(SOLVER__EMA_DECAY=0.9), averaged).teacher is None
    single = make_session(MUTUAL__ENABLE=False, TRAIN__SUBNET=str(NARROW))
    assert make_step(single).single_subnet == NARROW


def test_losses_by_the_config(make_session):
    session = make_session(TRAIN__CLASS_BALANCE="loss")
    loss = make_step(session).losses.label
    assert loss.keywords["class_weight_K"].tolist() == [1.0, 1.0]  # as many videos of both
    step = make_step(make_session(MODEL__LOSS_FUNC="bce"))
    assert step.losses == SEVERAL_LABELS
    assert step.label_sets_SK.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_norms_of_one_process_are_its_own(make_session):
    session = make_session(BN__NORM_TYPE="sync_batchnorm")
    sync_norms(session.cfg, [session.model])
    assert all(norm.sync_group is None for _, norm in session.model.norms())


def test_norms_of_a_job_that_does_not_divide(make_session, monkeypatch):
    session = make_session(BN__NORM_TYPE="sync_batchnorm", BN__NUM_SYNC_DEVICES=3)
    monkeypatch.setattr("mutualnet3d.distributed.world_size", lambda: 4)
    with pytest.raises(ValueError, match=r"BN\.NUM_SYNC_DEVICES is 3; the job's 4 processes are no multiple of it"):
        sync_norms(session.cfg, [session.model])


def test_hooks_of_the_log_are_rank_0s(make_session, monkeypatch):
    session = make_session(TENSORBOARD__ENABLE=True, PROFILE_STEPS=1)
    optimizer = torch.optim.SGD(session.model.parameters(), lr=0.1)
    assert [type(hook) for hook in build_log_hooks(session, optimizer, 4, 0, 8)] == [TrainLog, Profile]
    assert [type(sink) for sink in session.records.sinks] == [TensorBoardRecords]
    monkeypatch.setattr("mutualnet3d.distributed.is_main", lambda: False)
    assert build_log_hooks(session, optimizer, 4, 0, 8) == []


def test_without_validation_its_list_is_not_read(make_session, tiny_data, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for path in tiny_data.iterdir():
        if path.name != "val.csv":
            (data / path.name).symlink_to(path)
    session = make_session(DATA__PATH_TO_DATA_DIR=str(data))
    split = session.read_split("train")
    assert build_validation(session, session.model, split).period_epochs == 0
    session = make_session(DATA__PATH_TO_DATA_DIR=str(data), TRAIN__EVAL_PERIOD=2)
    with pytest.raises(FileNotFoundError, match=r"val\.csv"):
        build_validation(session, session.model, split)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_mixed_precision_trains_near_full_precision(tiny_overrides, tmp_path, kind):
    common = {**CALM, "SOLVER__MAX_EPOCH": 2}
    full_precision = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path / "full_precision"), **common))
    run_train(full_precision)
    mixed = make_cfg(tiny_overrides(TRAIN__MIXED_PRECISION=True, TRAIN__MIXED_PRECISION_TYPE=kind, **common))
    # By torch's own kernels: with oneDNN's a first step gave, once in some dozen runs, gradients that are no numbers.
    with torch.backends.mkldnn.flags(enabled=False):
        content = load_checkpoint(run_train(mixed))
    assert (content["scaler_state"] is not None) is (kind == "fp16")
    assert all(value.dtype in (torch.float32, torch.int64) for value in content["model_state"].values())
    full = "w1.0-s48-t4"
    for expected, record in zip(records_of(full_precision.OUTPUT_DIR), records_of(mixed.OUTPUT_DIR), strict=True):
        assert record["losses"][full] == pytest.approx(expected["losses"][full], rel=0.05)
    assert records_of(mixed.OUTPUT_DIR)[0]["losses"] != records_of(full_precision.OUTPUT_DIR)[0]["losses"]
