from __future__ import annotations

import pytest

import mutualnet3d as m3
from mutualnet3d.config.check_training import check_training
from mutualnet3d.config.defaults import default_cfg

WEIGHTS = ["TRAIN.CHECKPOINT_FILE_PATH", "a.pyth"]
ADAMW = ["SOLVER.OPTIMIZING_METHOD", "adamw"]


def config_of(words):
    cfg = default_cfg()
    for key, value in zip(words[::2], words[1::2], strict=True):
        section, name = key.split(".")
        cfg[section][name] = value
    return cfg


@pytest.mark.parametrize(
    "words",
    [
        [],
        [*ADAMW, "SOLVER.MOMENTUM", 0.0],  # NESTEROV is SGD's
        [*ADAMW, "SOLVER.BASE_LR", 1e-4],  # there is no warm-up
        [*ADAMW, "SOLVER.BASE_LR", 1e-4, "SOLVER.WARMUP_EPOCHS", 1.0, "SOLVER.WARMUP_START_LR", 1e-4],
        ["MODEL.FROZEN_BN", True, *WEIGHTS],
        ["MODEL.TRITON", True],
        ["MODEL.FROZEN_STAGES", 5, *WEIGHTS],
        ["MODEL.FROZEN_BN", True, "TRAIN.ENABLE", False],
        ["MODEL.LOSS_FUNC", "bce"],
        ["MODEL.FROZEN_STAGES", 2, *WEIGHTS, "TRAIN.SUBNET", "w0.5-s32-t2"],
    ],
)
def test_values_that_go_together(words):
    cfg = config_of(words)
    check_training(cfg)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SOLVER.MOMENTUM", 0.0], r"SOLVER\.NESTEROV is True; it must be False unless SOLVER\.MOMENTUM is above 0"),
        (
            [*ADAMW, "SOLVER.BASE_LR", 1e-4, "SOLVER.WARMUP_EPOCHS", 1.0],
            r"WARMUP_START_LR is 0\.01; it must be at most SOLVER\.BASE_LR, which is 0\.0001, with .*METHOD adamw",
        ),
        (["MODEL.FROZEN_BN", True], r"FROZEN_BN is True; it must be False unless TRAIN\.CHECKPOINT_FILE_PATH is set"),
        (
            ["MODEL.TRITON", True, "MODEL.CHANNELS_LAST", False],
            r"MODEL\.TRITON is True; it must be auto or False with MODEL\.CHANNELS_LAST False",
        ),
        (["MODEL.FROZEN_STAGES", 1], r"FROZEN_STAGES is 1; it must be 0 unless TRAIN\.CHECKPOINT_FILE_PATH is set"),
        (
            ["MODEL.FROZEN_STAGES", 1, *WEIGHTS, "BN.USE_PRECISE_STATS", True],
            r"BN\.USE_PRECISE_STATS is True; it must be False with MODEL\.FROZEN_STAGES",
        ),
        (
            ["MODEL.FROZEN_BN", True, *WEIGHTS, "TRAIN.SUBNET", "w0.5-s32-t2"],
            r"FROZEN_BN is True; it must be False with TRAIN\.SUBNET",
        ),
        (
            ["MODEL.LOSS_FUNC", "bce", "MIXUP.ENABLE", True],
            r"MIXUP\.ENABLE is True; it must be False with .* several",
        ),
        (
            ["MODEL.LOSS_FUNC", "bce_logit", "TRAIN.CLASS_BALANCE", "loss"],
            r"CLASS_BALANCE is 'loss'; it must be 'none' with MODEL\.LOSS_FUNC bce_logit, several labels a video",
        ),
        (["MODEL.LOSS_FUNC", "bce", "TEST.DATASET", "Ssv2"], r"TEST\.DATASET is 'Ssv2'; it must be 'kinetics' with"),
    ],
)
def test_values_that_do_not(words, message):
    cfg = config_of(words)
    with pytest.raises(ValueError, match=message):
        check_training(cfg)


def test_kernels_for_channels_last_are_refused_where_contiguous_features_may_be_chosen():
    words = ["MODEL.TRITON", True, "MODEL.CHANNELS_LAST", "auto"]
    with pytest.raises(
        ValueError, match=r"MODEL\.TRITON is True; it must be auto or False with MODEL\.CHANNELS_LAST auto"
    ):
        m3.load_cfg("X3D_tiny_mutual.yaml", words)


def test_keys_of_pyslowfast_that_have_an_effect_now():
    words = ["SOLVER.OPTIMIZING_METHOD", "adamw", "SOLVER.BETAS", "(0.9, 0.98)", "SOLVER.LAYER_DECAY", "0.75"]
    cfg = m3.load_cfg("X3D_tiny_mutual.yaml", [*words, "TRAIN.DATASET", "Kinetics", "TEST.DATASET", "Ptvkinetics"])
    assert (list(cfg.SOLVER.BETAS), cfg.SOLVER.LAYER_DECAY) == ([0.9, 0.98], 0.75)
    assert cfg.TRAIN.DATASET == "Kinetics"
    with pytest.raises(ValueError, match=r"SOLVER\.BETAS is .*; it must be 2 values in \[0, 1\)"):
        m3.load_cfg("X3D_tiny_mutual.yaml", ["SOLVER.BETAS", "(0.9, 1.0)"])
