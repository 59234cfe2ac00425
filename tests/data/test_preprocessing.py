from __future__ import annotations

import pytest

import mutualnet3d as m3
from mutualnet3d.data.build_loaders import build_preprocessing
from mutualnet3d.data.preprocessing import Preprocessing

HOW = Preprocessing(
    num_frames=8, sampling_rate=4, target_fps=24.0, scale=40, crop_size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)
)


def test_preprocessing_travels_as_json():
    assert Preprocessing.from_json(HOW.to_json(), "here") == HOW


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0}, "here: Preprocessing: scale must be an integer above 0, got 0"),
        ({"mean": (0.5,)}, r"here: Preprocessing: mean has a value for each of 3 channels, got \(0.5,\)"),
        ({"num_frames": 2.5}, "here: Preprocessing: num_frames must be an integer above 0, got 2.5"),
        ({"target_fps": float("inf")}, "here: Preprocessing: target_fps must be a number above 0, got inf"),
        ({"scale": 10**6}, "here: Preprocessing: scale must be at most 16384, got 1000000"),
        ({"num_frames": 10**400}, "here: Preprocessing: num_frames must be at most 65536, got 1000"),
        ({"target_fps": 10**400}, "here: Preprocessing: target_fps must be at most 1e\\+06, got 1000"),
        ({"mean": [10**400, 0.5, 0.5]}, "here: Preprocessing: mean has a value for each of 3 channels"),
        ({"timeout": "5"}, "here: Preprocessing: timeout must be a number above 0, got '5'"),
        ({"mean": None}, "here: Preprocessing: mean has a value for each of 3 channels, got None"),
        ({"std": ["a", "b", "c"]}, "here: Preprocessing: std has a value for each of 3 channels"),
        ({"std": [0.0, 1.0, 1.0]}, "here: Preprocessing: std must not be 0"),
        ({"segments": 1}, "here: Preprocessing: segments must be True or False, got 1"),
        (
            {"ensemble": "mean"},
            "here: Preprocessing: ensemble must be one of sum, logits, max, sig.*, got 'mean'",
        ),
        ({3: 1}, "here: preprocessing has .*; missing or unknown: 3"),
        ({"colour": 1}, "here: preprocessing has num_frames, .*; missing or unknown: colour"),
    ],
)
def test_other_preprocessing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_json({**HOW.to_json(), **change}, "here")


def test_a_list_is_no_preprocessing():
    with pytest.raises(ValueError, match=r"here: preprocessing is \[1\]; it must be a mapping"):
        Preprocessing.from_json([1], "here")


def test_preprocessing_of_a_config():
    how = build_preprocessing(m3.load_cfg("SLOWFAST_4x16_R50_mutual.yaml", ["DATA.DECODE_TIMEOUT", 0.0]))
    assert how == Preprocessing(
        num_frames=32, sampling_rate=2, target_fps=30.0, scale=256, crop_size=256, among_full=True,
        mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225),
    )  # fmt: skip
    assert build_preprocessing(m3.load_cfg("SLOW_8x8_R50_ssv2.yaml")).segments
