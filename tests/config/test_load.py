from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.config import CONFIG_ROOT, find_cfg
from mutualnet3d.config.defaults import default_cfg
from mutualnet3d.models import build_model
from mutualnet3d.runner import build_space, configs_to_test

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(Path(CONFIG_ROOT).rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_loads_and_builds(path, caplog):
    cfg = m3.load_cfg(str(path), ["DATA.TRAIN_CROP_SIZE", 224] if path.name == "X3D_base.yaml" else [])
    assert not caplog.records  # no key without effect
    with torch.device("meta"):  # shapes alone: filling a ResNet-101 with random numbers takes seconds
        model = build_model(cfg)
    space = build_space(cfg)
    assert configs_to_test(cfg)
    assert model.full == space.full


def test_the_demo_has_a_dozen_subnets_and_x3d_m_the_papers_ranges():
    demo = m3.load_cfg("X3D_tiny_mutual.yaml")
    assert len(configs_to_test(demo)) >= 12
    space = build_space(m3.load_cfg("X3D_M_mutual.yaml"))
    assert space == m3.SubnetSpace((0.63, 1.0), (224, 192, 160, 128), (16, 13, 10, 6))


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


def test_a_config_is_found_by_path_or_name_and_is_a_delta(tmp_path):
    by_name, by_path = m3.load_cfg("X3D_M_mutual.yaml"), m3.load_cfg(f"{CONFIG_ROOT}/kinetics/X3D_M_mutual.yaml")
    assert by_name == by_path
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {CONFIG_ROOT}/kinetics/X3D_M.yaml\nSOLVER:\n  BASE_LR: 0.4\n")
    mine = m3.load_cfg(str(tmp_path / "mine.yaml"))
    assert (mine.SOLVER.BASE_LR, mine.SOLVER.MAX_EPOCH, mine.X3D.DEPTH_FACTOR) == (0.4, 300, 2.2)
    with pytest.raises(FileNotFoundError, match=r"no config at none\.yaml, and none of that name under"):
        find_cfg("none.yaml")


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


@pytest.mark.parametrize("name", ["SLOW_8x8_R50", "SLOWFAST_4x16_R101", "I3D_8x8_R50", "SLOWFAST_8x8_R101", "X3D_L"])
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


def test_something_something_is_pyslowfasts_recipe():
    cfg = m3.load_cfg("ssv2/SLOWFAST_16x8_R50.yaml")
    assert (cfg.DATA.NUM_FRAMES, cfg.DATA.RANDOM_FLIP, cfg.DATA.INV_UNIFORM_SAMPLE) == (64, False, True)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS, cfg.SOLVER.MAX_EPOCH) == (0.03, [0, 14, 18], 22)
    assert (cfg.MODEL.NUM_CLASSES, cfg.SLOWFAST.ALPHA, cfg.TRAIN.BATCH_SIZE) == (174, 4, 16)
    assert (cfg.TRAIN.DATASET, cfg.TEST.DATASET) == ("ssv2", "ssv2")


def test_overrides_come_last_and_the_config_is_frozen():
    words = ["TRAIN.BATCH_SIZE", "16", "SOLVER.BASE_LR", "1", "OUTPUT_DIR", "1", "MUTUAL.SIZES", "[224, 96]"]
    words += ["TEST.SIZES", "[]"]
    cfg = m3.load_cfg("X3D_M_mutual.yaml", words)
    assert (cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.BASE_LR, cfg.OUTPUT_DIR, cfg.MUTUAL.SIZES) == (16, 1.0, "1", [224, 96])
    with pytest.raises(AttributeError, match="immutable"):
        cfg.TRAIN.BATCH_SIZE = 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["TRAIN.BATCHSIZE", 8],
            r"override: unknown key TRAIN\.BATCHSIZE: 'BATCHSIZE' is none of: ENABLE, SUBNET, DATASET",
        ),
        (["MUTUALS.ENABLE", True], r"unknown key MUTUALS\.ENABLE"),
        (["TRAIN.BATCH_SIZE.X", 8], r"unknown key TRAIN\.BATCH_SIZE\.X"),
        (["TRAIN", 8], "TRAIN is a section, not a key"),
        (["TRAIN.BATCH_SIZE"], r"pairs KEY VALUE, got 1 words: TRAIN\.BATCH_SIZE"),
        (["TRAIN.BATCH_SIZE", "many"], r"override: TRAIN\.BATCH_SIZE: Type mismatch"),
        (["TRAIN.BATCH_SIZE", 0], r"TRAIN\.BATCH_SIZE is 0; it must be at least 1"),
        (["TEST.NUM_SPATIAL_CROPS", 2], r"TEST\.NUM_SPATIAL_CROPS is 2; it must be 1 or 3"),
        (["SOLVER.OPTIMIZING_METHOD", "adam"], r"SOLVER\.OPTIMIZING_METHOD is 'adam'; it must be 'sgd'"),
        (
            ["DATA.TRAIN_JITTER_SCALES", [200, 320]],
            r"SCALES is \[200, 320\]; .*TRAIN_CROP_SIZE, which is 224",
        ),
        (
            ["MUTUAL.SIZES", [192, 160]],
            r"SIZES is \[192, 160\]; .* with DATA\.TRAIN_CROP_SIZE, which is 224",
        ),
        (["SOLVER.WARMUP_EPOCHS", 300], r"WARMUP_EPOCHS is 300\.0; it must be less than SOLVER\.MAX_EPOCH"),
        (["SLOWFAST.ALPHA", 0], r"SLOWFAST\.ALPHA is 0; it must be at least 1"),
        (["RESNET.DEPTH", 34], r"RESNET\.DEPTH is 34; it must be 50 or 101 or 152"),
        (
            ["MODEL.ARCH", "slowfast", "DATA.NUM_FRAMES", 12],
            r"NUM_FRAMES is 12; .* multiple of SLOWFAST\.ALPHA, which is 8",
        ),
        (
            ["MODEL.ARCH", "slowfast", "DATA.NUM_FRAMES", 32],
            r"FRAMES is \[16, .*NUM_FRAMES / SLOWFAST\.ALPHA, which is 4,",
        ),
        (
            ["MUTUAL.WIDTH_RANGE", [0.0, 1.0]],
            r"WIDTH_RANGE is \[0\.0, 1\.0\]; .* no layer may be left without channels",
        ),
        (["MUTUAL.TEST_WIDTHS", [0.5]], r"TEST_WIDTHS is \[0\.5\]; it must be widths of MUTUAL\.WIDTH_RANGE, \[0\.63"),
        (
            ["RESNET.NUM_BLOCK_TEMP_KERNEL", [[3]]],
            r"TEMP_KERNEL is \[\[3\]\]; it must be a list of one number of blocks",
        ),
        (["MUTUAL.SORT_CHANNELS", True], r"CHECKPOINT_FILE_PATH is ''; it must be set, with MUTUAL\.SORT_CHANNELS"),
        (["SOLVER.LR_POLICY", "steps"], r"LR_POLICY is 'steps'; it must be 'cosine' or 'steps_with_relative_lrs'"),
        (["SOLVER.LR_POLICY", "steps_with_relative_lrs"], r"STEPS is \[\]; it must be ascending epochs"),
        (
            ["SOLVER.LR_POLICY", "steps_with_relative_lrs", "SOLVER.STEPS", [0, 5], "SOLVER.LRS", [1]],
            r"LRS is \[1\]; it must be a value for each of SOLVER\.STEPS, \[0, 5\]",
        ),
        (["RNG_SEED", -1], "RNG_SEED is -1; it must be at least 0"),
        (["TRAIN.DATASET", "charades"], r"TRAIN\.DATASET is 'charades'; it must be 'kinetics' or .* or 'ssv2'"),
        (["TEST.DATASET", "ava"], r"TEST\.DATASET is 'ava'"),
        (["TRAIN.DATASET", "ssv2"], r"RANDOM_FLIP is True; it must be False for Something-Something"),
        (["DATA.MAX_BAD_FRACTION", 1.5], r"MAX_BAD_FRACTION is 1\.5; it must be in \[0, 1\]"),
        (["DATA.DECODE_TIMEOUT", -1], r"DECODE_TIMEOUT is -1\.0; it must be at least 0"),
        (["DATA.SKIP_ROWS", -1], r"SKIP_ROWS is -1; it must be at least 0"),
        (["DATA.TRAIN_JITTER_SCALES_RELATIVE", [0.5, 1.0]], r"ASPECT_RELATIVE is \[\]; it must be two ratios"),
        (
            ["DATA.TRAIN_JITTER_ASPECT_RELATIVE", [0.75, 1.33], "DATA.TRAIN_JITTER_SCALES_RELATIVE", [0.5, 1.5]],
            r"SCALES_RELATIVE is \[0\.5, 1\.5\]; it must be two fractions of the picture",
        ),
    ],
)
def test_overrides_that_cannot_be(words, message):
    with pytest.raises(ValueError, match=message):
        m3.load_cfg("X3D_M_mutual.yaml", words)


def test_unknown_keys_and_broken_files_name_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("TRAIN:\n  BATCH_SISE: 8\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: unknown key TRAIN\.BATCH_SISE"):
        m3.load_cfg(str(path))
    path.write_text("TRAIN: [1,\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: not a YAML file"):
        m3.load_cfg(str(path))


def test_unknown_model():
    cfg = m3.load_cfg("X3D_M.yaml", ["MODEL.ARCH", "vit"])
    with pytest.raises(ValueError, match=r"MODEL\.ARCH is 'vit'; known: c2d, i3d, slow, .*x3d"):
        build_model(cfg)


def keys_of(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, type(node)):
            yield from keys_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_is_read_somewhere():
    places = [
        *(ROOT / "mutualnet3d/runner").glob("*.py"),
        ROOT / "mutualnet3d/cli/train.py",
        *(ROOT / "mutualnet3d").glob("*/build*.py"),
    ]
    text = "\n".join(path.read_text() for path in places)
    unread = [key for key in keys_of(default_cfg()) if not re.search(rf"cfg\.{re.escape(key)}\b", text)]
    # It has one allowed value so far, which config/check.py enforces.
    assert unread == ["SOLVER.OPTIMIZING_METHOD"]


def test_every_default_has_a_comment():
    lines = (ROOT / "mutualnet3d/config/defaults.py").read_text().splitlines()
    uncommented = []
    for above, line in itertools.pairwise(lines):
        if re.match(r"_C\.[A-Z0-9_.]+ = (?!CfgNode)", line) and not above.startswith(("#", "_C.")):
            uncommented.append(line)
    assert not uncommented
