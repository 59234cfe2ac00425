"""The YAML files of mutualnet3d/configs: they load, build, and are the recipes of their papers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.config import CONFIG_ROOT
from mutualnet3d.config.changes import changed_keys
from mutualnet3d.models import build_model
from mutualnet3d.models.build import recipe_of
from mutualnet3d.runner import build_space, configs_to_test

CONFIGS = sorted(Path(CONFIG_ROOT).rglob("*.yaml"))


_full_by_recipe: dict[str, m3.SubnetConfig] = {}


def full_of(cfg):
    """Return the full sub-network of a config's network, which is built once for all configs that have it."""
    recipe = repr(recipe_of(cfg))
    if recipe not in _full_by_recipe:
        with torch.device("meta"):  # shapes alone: filling a ResNet-101 with random numbers takes seconds
            _full_by_recipe[recipe] = build_model(cfg).full
    return _full_by_recipe[recipe]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_loads_and_builds(path, caplog):
    cfg = m3.load_cfg(str(path), ["DATA.TRAIN_CROP_SIZE", 224] if path.name == "X3D_base.yaml" else [])
    assert not caplog.records  # no key without effect
    space = build_space(cfg)
    assert configs_to_test(cfg)
    assert full_of(cfg) == space.full


def test_the_demo_has_a_dozen_subnets_and_x3d_m_the_papers_ranges():
    for name in ("X3D_tiny_mutual.yaml", "X3D_tiny_mutual_staged.yaml"):
        assert len(configs_to_test(m3.load_cfg(name))) >= 12
    space = build_space(m3.load_cfg("X3D_M_mutual.yaml"))
    assert space == m3.SubnetSpace((0.63, 1.0), (224, 192, 160, 128), (16, 13, 10, 6))


def test_the_demo_is_compared_with_the_same_network_trained_alone_for_as_long():
    demo, alone = (m3.load_cfg(name) for name in ("X3D_tiny_mutual_staged.yaml", "X3D_tiny.yaml"))
    assert configs_to_test(alone) == (build_space(demo).full,)
    for part in ("MODEL", "X3D", "DATA", "DATA_LOADER", "BN"):
        assert alone[part] == demo[part]
    differing = {key for key in demo.SOLVER if demo.SOLVER[key] != alone.SOLVER[key]}
    assert differing == {"MAX_EPOCH"}
    # A mutual step has 1.63 times the multiply-adds of the full network's (mean of steps), and takes longer than that.
    mutual_epochs = (1 - demo.MUTUAL.START) * demo.SOLVER.MAX_EPOCH
    arithmetic = demo.MUTUAL.START * demo.SOLVER.MAX_EPOCH + 1.63 * mutual_epochs
    assert arithmetic <= alone.SOLVER.MAX_EPOCH <= 1.25 * arithmetic


@pytest.mark.parametrize(
    ("name", "frames", "rate", "size", "scales", "lr", "epochs", "batch"),
    [
        ("X3D_XS.yaml", 4, 12, 160, [182, 228], 0.1, 300, 128),
        ("X3D_S.yaml", 13, 6, 160, [182, 228], 0.1, 300, 128),
        ("X3D_M.yaml", 16, 5, 224, [256, 320], 0.1, 300, 128),
        ("X3D_L.yaml", 16, 5, 312, [356, 446], 0.05, 256, 64),
    ],
)
def test_recipes_are_pyslowfasts(name, frames, rate, size, scales, lr, epochs, batch):
    cfg = m3.load_cfg(name)
    assert (frames, rate, size) == (cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TRAIN_CROP_SIZE)
    assert scales == cfg.DATA.TRAIN_JITTER_SCALES
    assert (lr, epochs, batch) == (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH, cfg.TRAIN.BATCH_SIZE)
    assert (cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.WARMUP_EPOCHS, cfg.SOLVER.WARMUP_START_LR) == (5e-5, 35.0, 0.01)
    assert not cfg.MUTUAL.ENABLE


@pytest.mark.parametrize(
    ("name", "arch", "frames", "rate", "alpha", "kernel", "depth", "blocks"),
    [
        ("SLOW_4x16_R50.yaml", "slow", 4, 16, 8, 5, 50, [[3], [4], [6], [3]]),
        ("SLOW_8x8_R50.yaml", "slow", 8, 8, 8, 5, 50, [[3], [4], [6], [3]]),
        ("SLOW_8x8_R101.yaml", "slow", 8, 8, 8, 5, 101, [[3], [4], [23], [3]]),
        ("C2D_8x8_R50.yaml", "c2d", 8, 8, 8, 5, 50, [[3], [4], [6], [3]]),
        ("I3D_8x8_R101.yaml", "i3d", 8, 8, 8, 5, 101, [[3], [4], [23], [3]]),
        ("SLOWFAST_4x16_R50.yaml", "slowfast", 32, 2, 8, 5, 50, [[3, 3], [4, 4], [6, 6], [3, 3]]),
        ("SLOWFAST_8x8_R50.yaml", "slowfast", 32, 2, 4, 7, 50, [[3, 3], [4, 4], [6, 6], [3, 3]]),
        ("SLOWFAST_8x8_R101.yaml", "slowfast", 32, 2, 4, 5, 101, [[3, 3], [4, 4], [23, 23], [3, 3]]),
    ],
)
def test_resnet_recipes_are_pyslowfasts(name, arch, frames, rate, alpha, kernel, depth, blocks):
    cfg = m3.load_cfg(name)
    assert (arch, frames, rate) == (cfg.MODEL.ARCH, cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE)
    assert (alpha, kernel) == (cfg.SLOWFAST.ALPHA, cfg.SLOWFAST.FUSION_KERNEL_SZ)
    assert (depth, blocks) == (cfg.RESNET.DEPTH, cfg.RESNET.NUM_BLOCK_TEMP_KERNEL)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WEIGHT_DECAY) == (0.1, 196, 1e-4)
    assert (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS, cfg.DATA.TEST_CROP_SIZE) == (10, 3, 256)


DEEP = [pytest.param(name, marks=pytest.mark.slow) for name in ("SLOWFAST_4x16_R101", "SLOWFAST_8x8_R101", "X3D_L")]


@pytest.mark.parametrize("name", ["SLOW_8x8_R50", "I3D_8x8_R50", *DEEP])
def test_configs_and_named_models_are_the_same_networks(name):
    with torch.device("meta"):
        from_cfg = build_model(m3.load_cfg(f"{name}.yaml")).state_dict()
        named = m3.create_model(name.lower()).state_dict()
    assert [(key, value.shape) for key, value in from_cfg.items()] == [
        (key, value.shape) for key, value in named.items()
    ]


def test_the_papers_ranges():
    slow = build_space(m3.load_cfg("SLOW_8x8_R50_mutual.yaml"))
    assert slow == m3.SubnetSpace((0.63, 1.0), (224, 192, 160, 128), (8, 6, 5, 3))
    slowfast = build_space(m3.load_cfg("SLOWFAST_4x16_R50_mutual.yaml"))
    assert slowfast == m3.SubnetSpace((0.63, 1.0), (224, 192, 160, 128), (4, 3, 2))
    assert build_space(m3.load_cfg("X3D_M_booster.yaml")).width_range == (0.9, 1.0)


STAGED = sorted(path for path in CONFIGS if path.stem.endswith("_staged") and path.parent.name != "demo")


@pytest.mark.parametrize("path", STAGED, ids=lambda path: path.name)
def test_staged_recipes_differ_from_the_papers_in_the_recipe_alone(path):
    staged, paper = m3.load_cfg(str(path)), m3.load_cfg(str(path).replace("_staged", ""))
    recipe = ("START", "LABEL_WEIGHT", "SUBNET_DROPOUT", "SORT_CHANNELS")
    assert [staged.MUTUAL[key] for key in recipe] == [0.5, 0.5, False, True]
    assert [paper.MUTUAL[key] for key in recipe] == [0.0, 0.0, True, False]
    changed = {line.split(":")[0] for line in changed_keys(paper.dump(), staged.dump())}
    assert changed - {f"MUTUAL.{key}" for key in recipe} <= {"SOLVER.MAX_EPOCH", "SOLVER.WARMUP_EPOCHS", "SOLVER.STEPS"}
    # A mutual step has 1.6 (SlowFast) to 1.92 (X3D-S) times the multiply-adds of one of the full network.
    assert 0.68 < staged.SOLVER.MAX_EPOCH / paper.SOLVER.MAX_EPOCH < 0.78


def test_something_something_is_pyslowfasts_recipe():
    cfg = m3.load_cfg("ssv2/SLOWFAST_16x8_R50.yaml")
    assert (cfg.DATA.NUM_FRAMES, cfg.DATA.RANDOM_FLIP, cfg.DATA.INV_UNIFORM_SAMPLE) == (64, False, True)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS, cfg.SOLVER.MAX_EPOCH) == (0.03, [0, 14, 18], 22)
    assert (cfg.MODEL.NUM_CLASSES, cfg.SLOWFAST.ALPHA, cfg.TRAIN.BATCH_SIZE) == (174, 4, 16)
    assert (cfg.TRAIN.DATASET, cfg.TEST.DATASET) == ("ssv2", "ssv2")


def test_unknown_model():
    cfg = m3.load_cfg("X3D_M.yaml", ["MODEL.ARCH", "vit"])
    with pytest.raises(ValueError, match=r"MODEL\.ARCH is 'vit'; known: c2d, i3d, .*slow, .*x3d"):
        build_model(cfg)


def test_fine_tuning_is_by_adamw_from_weights():
    cfg = m3.load_cfg("X3D_S_finetune.yaml")
    assert (cfg.SOLVER.OPTIMIZING_METHOD, cfg.MODEL.FROZEN_BN, cfg.BN.USE_PRECISE_STATS) == ("adamw", True, False)
    published = m3.create_model("x3d_s")
    assert build_space(cfg).full == published.full
    assert cfg.MUTUAL.SORT_CHANNELS
    assert cfg.TRAIN.CHECKPOINT_FILE_PATH == "X3D_S.pyth"
