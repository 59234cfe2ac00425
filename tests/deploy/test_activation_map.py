from __future__ import annotations

import json

import numpy as np
import pytest

from mutualnet3d.deploy.activation_map import ActivationMap
from mutualnet3d.deploy.prediction import Label, Timing
from mutualnet3d.shapes import SubnetConfig


def map_of(map_TSS, frames_THWC=None, box=(0.0, 0.0, 1.0, 1.0)):
    """Return a map of frames that come every half second from 1 s on."""
    count, size = map_TSS.shape[:2]
    labels = (Label("dark", 0, 0.75), Label("bright", 1, 0.25))
    return ActivationMap(
        source="a.mp4",
        labels=labels,
        config=SubnetConfig(1.0, size, count),
        gflops=0.5,
        row=None,
        backend="pytorch",
        views=1,
        timing=Timing(1.0, 2.0, 3.0),
        frames=np.full((count, size, size, 3), 60, np.uint8) if frames_THWC is None else frames_THWC,
        label=labels[1],
        layer="blocks.4",
        map_TSS=map_TSS,
        indices=np.arange(count) * 12 + 24,
        seconds=1.0 + 0.5 * np.arange(count),
        box=box,
    )


def test_the_map_of_a_time_lies_between_those_of_two_frames():
    looked = map_of(np.linspace(0, 1, 3, dtype=np.float32)[:, None, None] * np.ones((3, 4, 4), np.float32))
    values = [looked.at(seconds)[2, 1] for seconds in (0.0, 1.0, 1.25, 1.5, 1.9, 2.0, 9.0)]
    assert values == pytest.approx([0.0, 0.0, 0.25, 0.5, 0.9, 1.0, 1.0])
    assert looked.at(1.3).shape == (4, 4)
    single = map_of(np.full((1, 4, 4), 0.5, np.float32))
    assert [single.at(seconds)[0, 0] for seconds in (0.0, 1.0, 2.0)] == [0.5, 0.5, 0.5]


def test_it_is_drawn_into_its_frames_and_into_whole_pictures():
    map_TSS = np.zeros((2, 4, 4), np.float32)
    map_TSS[1] = 1.0
    looked = map_of(map_TSS, box=(0.0, 0.25, 1.0, 0.75))
    drawn = looked.drawn_frames()
    assert (drawn.shape, drawn.dtype) == ((2, 4, 4, 3), np.uint8)
    assert (drawn[0] == 60).all()
    assert (drawn[1] > 120).all()
    picture_HWC = np.full((40, 80, 3), 60, np.uint8)
    late = looked.draw_on(picture_HWC, 5.0)
    assert (late[:, :20] == 60).all()
    assert (late[2:-2, 22:58] > 120).all()
    assert (looked.draw_on(picture_HWC, 0.0)[2:-2, 22:58] == 60).all()


def test_what_it_says():
    looked = map_of(np.zeros((2, 4, 4), np.float32))
    assert repr(looked) == "<ActivationMap of a.mp4: bright 25.0 %, 2 maps of blocks.4; w1.0-s4-t2>"
    values = json.loads(json.dumps(looked.to_json()))
    assert values["labels"][0]["name"] == "dark"
    assert values["activation_map"] == {
        "label": {"name": "bright", "index": 1, "score": 0.25},
        "layer": "blocks.4",
        "frames": [24, 36],
        "seconds": [1.0, 1.5],
        "box": [0.0, 0.0, 1.0, 1.0],
    }
