from __future__ import annotations

import json

import numpy as np
import pytest

from mutualnet3d.data.clip_place import ClipPlace, place_of_clip
from mutualnet3d.data.clip_sampling import CropBox, Span
from mutualnet3d.video.info import VideoInfo

CROP = CropBox(top=12, left=16, height=24)


def test_frames_have_the_videos_times_and_the_crop_is_told_in_fractions():
    span = Span(10.0, 16.0, 40)
    place = place_of_clip(VideoInfo(40, 20.0), span, (2, 4), CROP, (48, 64), fps=24.0)
    assert {count: values.tolist() for count, values in place.indices_of.items()} == {2: [10, 25], 4: [10, 15, 20, 25]}
    assert place.seconds_of[4] == pytest.approx([0.5, 0.75, 1.0, 1.25])
    assert place.box == (0.25, 0.25, 0.75, 0.625)
    untold = place_of_clip(VideoInfo(40, None), span, (2,), CROP, (48, 64), fps=24.0)
    assert untold.seconds_of[2] == pytest.approx([10 / 24, 25 / 24])
    times = np.arange(40) ** 2 / 10
    uneven = place_of_clip(VideoInfo(40, 20.0, times), Span(10.0, 16.0, 40), (2,), CROP, (48, 64), fps=24.0)
    assert uneven.seconds_of[2] == pytest.approx([10.0, 62.5])


def test_it_crosses_a_border_as_json():
    place = place_of_clip(VideoInfo(40, 20.0), Span(0.0, 16.0, 40), (2, 3), CROP, (48, 64), fps=24.0)
    copy = ClipPlace.from_json(json.loads(json.dumps(place.to_json())))
    assert copy.box == place.box
    for count in (2, 3):
        assert copy.indices_of[count].dtype == np.int64
        np.testing.assert_array_equal(copy.indices_of[count], place.indices_of[count])
        np.testing.assert_array_equal(copy.seconds_of[count], place.seconds_of[count])
