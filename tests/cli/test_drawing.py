from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mutualnet3d.cli.drawing import Artist, draw_file
from mutualnet3d.video.writer import open_video_writer
from tests.cli.test_stream import decoded


@pytest.mark.parametrize(
    ("size", "drawn"),
    [((480, 16), (1920, 64)), ((1500, 2), (1500, 2)), ((3, 400), (2, 400)), ((2, 2), (320, 320))],  # height, width
)
def test_narrow_and_flat_pictures(size, drawn, tmp_path):
    path = tmp_path / "drawn.mp4"
    with open_video_writer(str(path)) as writer:
        Artist(writer, (), None).draw(np.full((*size, 3), 90, np.uint8), 0.0)
    assert decoded(path)[1].shape[1:3] == drawn


def test_a_frame_shows_the_window_that_it_is_in_the_middle_of():
    shown = []
    artist = SimpleNamespace(window=None)
    artist.draw = lambda picture, seconds, _: shown.append((seconds, artist.window.start_seconds))
    windows = iter([SimpleNamespace(start_seconds=start, end_seconds=start + 1.0) for start in (0.0, 0.5, 1.0)])
    frames = [(number / 4, None) for number in range(12)]

    class Source:
        closed, pixel_aspect = False, None

        def __iter__(self):
            return iter(frames)

        def close(self):
            Source.closed = True

    draw_file(artist, Source(), windows, 2.5, 10)
    middles = {0.0: 0.5, 0.5: 1.0, 1.0: 1.5}
    assert [seconds for seconds, _ in shown] == [number / 4 for number in range(10)]
    for seconds, start in shown:
        assert abs(middles[start] - seconds) == min(abs(middle - seconds) for middle in middles.values())
    assert Source.closed
