"""Windows in batches: which are run together, what is read ahead, and how it ends."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.data.window_reader import WindowReader
from mutualnet3d.deploy.window_scores import run_windows, score_windows
from mutualnet3d.results.segments import find_segments
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import VideoDecodeError
from tests.conftest import numbered_frames, write_video
from tests.damages import with_damaged_packets

HOW = Preprocessing(4, 2, 8.0, scale=32, crop_size=32, mean=(0.45,) * 3, std=(0.225,) * 3)  # spans 1 s
SHAPE = ClipShape(4, 32)


class Network:
    """Scores of a window by the grey level of its first frame; notes the sizes of batches."""

    def __init__(self):
        self.sizes = []

    def __call__(self, clips):
        (clip_NTHWC,) = clips
        self.sizes.append(len(clip_NTHWC))
        level_N = clip_NTHWC[:, 0, 0, 0, 0].float()
        return torch.stack([level_N, 200 - level_N], dim=1) / 50, 0.5


def test_all_windows_are_run_in_batches():
    network = Network()
    reader = WindowReader(numbered_frames(100), HOW, [SHAPE], 0.5, fps=10.0)
    seen = []
    scores, seconds = run_windows(
        reader, network, "sum", 8, ("a", "b"), lambda items, total: seen.append(total) or items
    )
    assert network.sizes == [8, 8, 3]
    assert seen == [19]
    assert seconds == pytest.approx(1.5)
    level_N = 10.0 * np.arange(19)
    expected = torch.tensor(np.stack([level_N, 200 - level_N], axis=1) / 50).softmax(dim=1)
    np.testing.assert_allclose(scores.score_NK, expected, rtol=1e-5)
    assert (scores.span_seconds, scores.duration_seconds, scores.class_names) == (1.0, 10.0, ("a", "b"))


@pytest.mark.parametrize("every", [0.25, 0.5, 1.0])
def test_borders_are_found_within_a_window(every, tmp_path):
    """Dark until 5 s, bright until 12 s, dark until 16 s; a window is a second."""
    level_T = np.repeat([20, 180, 20], [50, 70, 40]).astype(np.uint8)
    frames = np.broadcast_to(level_T[:, None, None, None], (160, 32, 32, 3))
    path = str(write_video(tmp_path / "blocks.mkv", frames, fps=10))

    def network(clips):
        level_N = clips[0].float().mean(dim=(1, 2, 3, 4))
        return torch.stack([level_N, 200 - level_N], dim=1) / 50, 0.0

    scores, _ = run_windows(WindowReader(path, HOW, [SHAPE], every), network, "sum", 8, ("bright", "dark"))
    segments = find_segments(scores)
    assert [segment.label for segment in segments] == ["dark", "bright", "dark"]
    borders = [segment.start for segment in segments] + [segments[-1].end]
    np.testing.assert_allclose(borders, [0, 5, 12, 16], atol=min(every, 0.5) + 1e-9)


def test_lost_windows_are_not_run(tmp_path):
    video = write_video(tmp_path / "whole.mp4", numbered_frames(96), qp="0", preset="ultrafast", g="12")
    network, path = Network(), str(with_damaged_packets(video, tmp_path / "damaged.mp4", range(36, 60)))
    scores, _ = run_windows(WindowReader(path, HOW, [SHAPE], 0.5), network, "sum", 3, ("a", "b"))
    assert np.isnan(scores.score_NK).all(axis=1).tolist() == [False, False, False, True, False, False, False]
    assert network.sizes == [3, 2, 1]
    short = str(with_damaged_packets(video, tmp_path / "short.mp4", range(4, 96)))
    with pytest.raises(VideoDecodeError, match=r"short\.mp4: no window has half of its frames; 15 of 16 frames cannot"):
        run_windows(WindowReader(short, HOW, [SHAPE], 1.0), network, "sum", 3, ("a", "b"))


def reading_threads(before):
    return [t for t in threading.enumerate() if t.name.startswith("mutualnet3d windows") and t not in before]


def test_who_stops_leaves_no_thread():
    """One batch is read ahead, and no more."""
    before = threading.enumerate()  # an error of another test can hold its iterator until garbage is collected
    reader = WindowReader(numbered_frames(100), HOW, [SHAPE], 0.5, fps=10.0)
    windows = score_windows(reader, Network(), "sum", 2)
    next(windows)
    windows.close()
    assert not reading_threads(before)

    def broken(clips):
        raise RuntimeError("made up")

    with pytest.raises(RuntimeError, match="made up"):
        next(score_windows(reader, broken, "sum", 2))
    assert not reading_threads(before)
