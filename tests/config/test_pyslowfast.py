"""PySlowFast's own YAML files: keys and values as its configs of SlowFast, Slow, C2D, I3D and X3D have them."""

from __future__ import annotations

import re

import pytest
import yaml

import mutualnet3d as m3
from mutualnet3d.config import pyslowfast
from mutualnet3d.config.defaults import default_cfg
from mutualnet3d.models import build_model

SLOWFAST = {
    "TRAIN": {"ENABLE": True, "DATASET": "kinetics", "BATCH_SIZE": 64, "EVAL_PERIOD": 10, "CHECKPOINT_PERIOD": 1},
    "DATA": {"NUM_FRAMES": 32, "SAMPLING_RATE": 2, "TRAIN_CROP_SIZE": 224, "INPUT_CHANNEL_NUM": [3, 3]},
    "SLOWFAST": {"ALPHA": 4, "BETA_INV": 8, "FUSION_CONV_CHANNEL_RATIO": 2, "FUSION_KERNEL_SZ": 7},
    "RESNET": {
        "ZERO_INIT_FINAL_BN": True,
        "WIDTH_PER_GROUP": 64,
        "NUM_GROUPS": 1,
        "DEPTH": 50,
        "TRANS_FUNC": "bottleneck_transform",
        "STRIDE_1X1": False,
        "NUM_BLOCK_TEMP_KERNEL": [[3, 3], [4, 4], [6, 6], [3, 3]],
        "SPATIAL_STRIDES": [[1, 1], [2, 2], [2, 2], [2, 2]],
        "SPATIAL_DILATIONS": [[1, 1], [1, 1], [1, 1], [1, 1]],
    },
    "NONLOCAL": {"LOCATION": [[[], []], [[], []], [[], []], [[], []]], "INSTANTIATION": "dot_product"},
    "BN": {"USE_PRECISE_STATS": True, "NUM_BATCHES_PRECISE": 200, "NORM_TYPE": "sync_batchnorm", "NUM_SYNC_DEVICES": 4},
    "SOLVER": {"BASE_LR": 0.1, "LR_POLICY": "cosine", "MAX_EPOCH": 196, "BASE_LR_SCALE_NUM_SHARDS": True},
    "MODEL": {"NUM_CLASSES": 400, "ARCH": "slowfast", "MODEL_NAME": "SlowFast", "LOSS_FUNC": "cross_entropy"},
    "TENSORBOARD": {"ENABLE": True, "MODEL_VIS": {"GRAD_CAM": {"ENABLE": False}}},
    "NUM_GPUS": 8,
    "NUM_SHARDS": 1,
    "OUTPUT_DIR": ".",
}


@pytest.fixture
def load(tmp_path):
    def load_cfg(values, overrides=()):
        path = tmp_path / "theirs.yaml"
        path.write_text(yaml.safe_dump(values))
        return m3.load_cfg(str(path), overrides)

    return load_cfg


def changed(section, **values):
    return {**SLOWFAST, section: {**SLOWFAST[section], **values}}


def test_its_file_loads_with_one_warning(load, caplog):
    cfg = load(SLOWFAST)
    assert (cfg.SLOWFAST.ALPHA, cfg.SLOWFAST.FUSION_KERNEL_SZ, cfg.SOLVER.MAX_EPOCH) == (4, 7, 196)
    assert build_model(cfg).full == m3.SubnetConfig(1.0, 224, 8)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    file, _, keys = record.getMessage().partition(": PySlowFast's keys without effect here: ")
    assert file.endswith("theirs.yaml")
    assert set(keys.split(", ")) == {
        "DATA.INPUT_CHANNEL_NUM", "RESNET.NUM_GROUPS", "RESNET.TRANS_FUNC", "RESNET.STRIDE_1X1",
        "RESNET.SPATIAL_STRIDES", "RESNET.SPATIAL_DILATIONS", "NONLOCAL.LOCATION", "NONLOCAL.INSTANTIATION",
        "SOLVER.BASE_LR_SCALE_NUM_SHARDS", "MODEL.MODEL_NAME",
        "TENSORBOARD.MODEL_VIS.GRAD_CAM.ENABLE", "NUM_GPUS", "NUM_SHARDS",
    }  # fmt: skip


def test_its_overrides_work_too(load, caplog):
    words = ["NUM_GPUS", "1", "TRAIN.BATCH_SIZE", "8", "SOLVER.CLIP_GRAD_VAL", "None", "MODEL.HEAD_ACT", "softmax"]
    cfg = load(
        SLOWFAST,
        [*words, "TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN", "()", "OUTPUT_DIR", "{odd: [", "TEST.CHECKPOINT_TYPE", ""],
    )
    assert (cfg.TRAIN.BATCH_SIZE, cfg.OUTPUT_DIR) == (8, "{odd: [")
    (record,) = caplog.records
    assert "TEST.CHECKPOINT_TYPE" in record.getMessage()
    with pytest.raises(
        ValueError, match=r"override: DETECTION\.ENABLE \(a key of PySlowFast's\) is True; here it must be F"
    ):
        load(SLOWFAST, ["DETECTION.ENABLE", "True"])


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("NONLOCAL", {"LOCATION": [[[], []], [[1, 3], []]]}, r"NONLOCAL\.LOCATION .* is .*\[1, 3\].* must be empty"),
        (
            "RESNET",
            {"STRIDE_1X1": True},
            r"RESNET\.STRIDE_1X1 \(a key of PySlowFast's\) is True; here it must be False",
        ),
        (
            "RESNET",
            {"SPATIAL_STRIDES": [[1], [2], [2], [1]]},
            r"STRIDES .* here it must be \[1, 2, 2, 2\] in its stages",
        ),
        ("RESNET", {"NUM_GROUPS": 32}, r"RESNET\.NUM_GROUPS .* is 32; here it must be 1"),
        ("MODEL", {"LOSS_FUNC": "mse"}, r"LOSS_FUNC is 'mse'; it must be 'cross_entropy' or 'bce' or 'bce_logit'"),
        (
            "BN",
            {"NORM_TYPE": "sub_batchnorm"},
            r"NORM_TYPE is 'sub_batchnorm'; it must be 'batchnorm' or 'sync_batchnorm'",
        ),
        ("DATA", {"INPUT_CHANNEL_NUM": [1]}, r"INPUT_CHANNEL_NUM .* is \[1\]; here it must be \[3\] or \[3, 3\]"),
        ("TRAIN", {"BATCHSIZE": 3}, r"theirs\.yaml: unknown key TRAIN\.BATCHSIZE"),
        ("TENSORBOARD", {"ENABEL": True}, r"theirs\.yaml: unknown key TENSORBOARD"),
        ("NONLOCAL", {"LOCATIONS": []}, r"theirs\.yaml: unknown key NONLOCAL"),
    ],
)
def test_what_would_be_another_run_or_is_no_key_is_refused(load, section, values, message):
    with pytest.raises(ValueError, match=message):
        load(changed(section, **values))


def test_no_key_is_in_two_tables():
    own_keys = set(_keys(default_cfg()))
    foreign_keys = [
        f"{section}.{name}" if section else name
        for section, names in pyslowfast._WITHOUT_EFFECT.items()
        for name in names.split()
    ] + list(pyslowfast._FIXED_VALUES)
    assert len(foreign_keys) == len(set(foreign_keys))
    assert not own_keys & set(foreign_keys)
    assert all(re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", key) for key in foreign_keys)


def _keys(node, prefix=""):
    for name, value in node.items():
        yield from _keys(value, f"{prefix}{name}.") if isinstance(value, type(node)) else [f"{prefix}{name}"]
