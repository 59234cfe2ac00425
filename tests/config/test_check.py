from __future__ import annotations

import pytest

import mutualnet3d as m3
from mutualnet3d import shapes
from mutualnet3d.config import check


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["TRAIN.BATCH_SIZE", 0], r"TRAIN\.BATCH_SIZE is 0; it must be at least 1"),
        (["TEST.NUM_SPATIAL_CROPS", 2], r"TEST\.NUM_SPATIAL_CROPS is 2; it must be 1 or 3"),
        (
            ["SOLVER.OPTIMIZING_METHOD", "lars"],
            r"SOLVER\.OPTIMIZING_METHOD is 'lars'; it must be 'sgd' or 'adam' or 'adam",
        ),
        (
            ["DATA.TRAIN_JITTER_SCALES", [200, 320]],
            r"SCALES is \[200, 320\]; .*TRAIN_CROP_SIZE, which is 224",
        ),
        (
            ["MUTUAL.SIZES", [192, 160]],
            r"SIZES is \[192, 160\]; .* with DATA\.TRAIN_CROP_SIZE, which is 224",
        ),
        (["SOLVER.WARMUP_EPOCHS", 300], r"WARMUP_EPOCHS is 300\.0; it must be less than SOLVER\.MAX_EPOCH"),
        (["SLOWFAST.ALPHA", 0], r"SLOWFAST\.ALPHA is 0; it must be in \[1, 1024\]"),
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
        (["MUTUAL.SORT_CHANNELS", True], r"CHECKPOINT_FILE_PATH is ''; it must be set, with MUTUAL\.SORT_CHANNELS and"),
        (["MUTUAL.START", 1.0], r"MUTUAL\.START is 1\.0; it must be in \[0, 1\)"),
        (["SOLVER.LR_POLICY", "steps"], r"LR_POLICY is 'steps'; it must be 'cosine' or 'steps_with_relative_lrs'"),
        (["SOLVER.LR_POLICY", "steps_with_relative_lrs"], r"STEPS is \[\]; it must be ascending epochs"),
        (
            ["SOLVER.LR_POLICY", "steps_with_relative_lrs", "SOLVER.STEPS", [0, 5], "SOLVER.LRS", [1]],
            r"LRS is \[1\]; it must be a value for each of SOLVER\.STEPS, \[0, 5\]",
        ),
        (["RNG_SEED", -1], "RNG_SEED is -1; it must be at least 0"),
        (["TRAIN.DATASET", "charades"], r"TRAIN\.DATASET is 'charades'; it must be 'kinetics' or .* or 'ssv2'"),
        (["TRAIN.DATASET", "SSv2"], r"RANDOM_FLIP is True; it must be False for Something-Something"),
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
        (
            ["MUTUAL.TEACHER", "ema"],
            r"MUTUAL\.TEACHER is 'ema'; it must be 'full' unless SOLVER\.EMA_DECAY is above 0",
        ),
        (["TEST.USE_EMA", True], r"TEST\.USE_EMA is True; it must be False unless SOLVER\.EMA_DECAY"),
        (["SOLVER.EMA_DECAY", 1.0], r"SOLVER\.EMA_DECAY is 1\.0; it must be in \[0, 1\)"),
        (["TRAIN.MIXED_PRECISION_TYPE", "fp8"], "it must be 'fp16' or 'bf16'"),
        (["SOLVER.CLIP_GRAD_L2NORM", -1.0], "CLIP_GRAD_L2NORM is -1.0; it must be at least 0, or PySlowFast's None"),
        (["TRAIN.ACCUMULATION_STEPS", 0], r"TRAIN\.ACCUMULATION_STEPS is 0; it must be at least 1"),
    ],
)
def test_values_that_no_run_can_have(words, message):
    with pytest.raises(ValueError, match=message):
        m3.load_cfg("X3D_M_mutual.yaml", words)


CLIP_OF_A_GIGABYTE = ["DATA.NUM_FRAMES", 65536, "MUTUAL.FRAMES", [65536]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["X3D.WIDTH_FACTOR", 1e308], r"X3D\.WIDTH_FACTOR is 1e\+308; it must be in \(0, 32\]$"),
        (["X3D.DEPTH_FACTOR", 100], r"X3D\.DEPTH_FACTOR is 100\.0; it must be in \(0, 20\]$"),
        (["X3D.BOTTLENECK_FACTOR", 5e-324], r"X3D\.BOTTLENECK_FACTOR is 5e-324; it must be in \[0\.125, 32\]$"),
        (["X3D.DIM_C1", 10**6], r"X3D\.DIM_C1 is 1000000; it must be in \[1, 256\]$"),
        (["X3D.DIM_C5", 0], r"X3D\.DIM_C5 is 0; it must be in \[1, 65536\]$"),
        (["MODEL.NUM_CLASSES", 2**62], r"MODEL\.NUM_CLASSES is 4611686018427387904; it must be in \[1, 1e\+06\]$"),
        (["RESNET.WIDTH_PER_GROUP", 10**4], r"RESNET\.WIDTH_PER_GROUP is 10000; it must be in \[1, 512\]$"),
        (["SLOWFAST.FUSION_CONV_CHANNEL_RATIO", 10**6], r"CHANNEL_RATIO is 1000000; it must be in \[1, 64\]$"),
        (["SLOWFAST.FUSION_KERNEL_SZ", 2**31], r"FUSION_KERNEL_SZ is 2147483648; it must be in \[1, 255\]$"),
        (["DATA.SAMPLING_RATE", 10**6], r"DATA\.SAMPLING_RATE is 1000000; it must be in \[1, 65536\]$"),
        (["DATA.TARGET_FPS", 1e30], r"DATA\.TARGET_FPS is 1e\+30; it must be in \(0, 1e\+06\]$"),
        (
            ["DATA.TRAIN_JITTER_SCALES", [10**6, 10**6]],
            r"JITTER_SCALES is .*; it must be two short .* from 1 to 16384$",
        ),
        (["TEST.SIZES", [10**6]], r"TEST\.SIZES is \[1000000\]; it must be values in \[1, 16384\]$"),
        (
            CLIP_OF_A_GIGABYTE,
            r"TRAIN_CROP_SIZE is 224; it must be 73 at most with DATA\.NUM_FRAMES 65536: a clip has 1 GB",
        ),
        (["TEST.SIZES", [16384]], r"TEST\.SIZES is \[16384\]; it must be 4729 at most with DATA\.NUM_FRAMES 16:"),
        (
            ["DATA.TEST_CROP_SIZE", 1, "MUTUAL.SIZES", [224, 64]],
            r"TEST_CROP_SIZE is 1; it must be large enough that the .* differ; those .* \[224, 64\], become \[1, 0\]$",
        ),
    ],
)
def test_ends_of_what_can_be_built(words, message):
    with pytest.raises(ValueError, match=message):
        m3.load_cfg("X3D_M.yaml", words)


def test_slowfasts_channels_are_divided():
    with pytest.raises(ValueError, match=r"SLOWFAST\.BETA_INV is 3; it must be a divisor of RESNET\.WIDTH"):
        m3.load_cfg("SLOWFAST_4x16_R50.yaml", ["SLOWFAST.BETA_INV", 3])
    m3.load_cfg("X3D_M.yaml", ["SLOWFAST.BETA_INV", 3])  # has no effect there


def test_the_largest_clip_is_the_one_of_shapes():
    assert check.MAX_CLIP_BYTES == shapes.MAX_CLIP_BYTES
