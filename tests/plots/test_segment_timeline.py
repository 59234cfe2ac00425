"""The picture of classes over time: what is drawn is read back from matplotlib."""

from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.plots import segment_timeline
from mutualnet3d.plots.segment_timeline import draw_timeline, save_timeline
from mutualnet3d.results.segments import SegmentRules, WindowScores, find_segments

pytest.importorskip("matplotlib")
NAMES = ("$run$", "sit", "中")


def scores_of(rows, every=1.0):
    start_N = every * np.arange(len(rows))
    return WindowScores(np.array(rows, np.float32), start_N, 2.0, float(start_N[-1]) + 2.0, NAMES)


ROWS = [(0.1, 0.8, 0.1)] * 3 + [(0.7, 0.2, 0.1)] * 2 + [(np.nan,) * 3] + [(0.2, 0.7, 0.1)]


def test_rows_are_the_classes_in_the_order_of_their_first_time():
    scores = scores_of(ROWS)
    segments = find_segments(scores, SegmentRules(smooth=1))
    figure = draw_timeline(scores, segments, "film", min_score=0.5)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["sit", r"\$run\$"]
    assert axes.get_title() == "film"
    assert (axes.get_xlabel(), axes.get_xlim()) == ("seconds", (0, 8))
    bars = [path.vertices for bars in axes.collections for path in bars.get_paths()]
    corners = [(bar[:, 0].min(), bar[:, 0].max(), bar[:, 1].min()) for bar in bars]
    np.testing.assert_allclose(corners, [(0, 3.5, 0), (3.5, 5.5, 1), (6.5, 8, 0)])
    curves = [line for line in axes.lines if len(line.get_xdata()) == len(ROWS)]
    assert curves[0].get_xdata().tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert curves[1].get_ydata()[3] == pytest.approx(1 + 0.8 * 0.3)
    assert len(axes.lines) == 4  # two curves, and the score under which there is no label
    (lost,) = axes.patches
    assert (lost.get_x(), lost.get_width()) == (5.5, 1)


def test_many_windows_share_points_and_few_classes_have_rows(monkeypatch):
    monkeypatch.setattr(segment_timeline, "_MAX_POINTS", 3)
    monkeypatch.setattr(segment_timeline, "MAX_ROWS", 1)
    scores = scores_of(ROWS[:5], every=100.0)
    figure = draw_timeline(scores, find_segments(scores, SegmentRules(smooth=1)), "")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "minutes"
    assert axes.get_title() == "\n1 classes with less time are not shown"
    (curve,) = axes.lines
    assert curve.get_xdata() == pytest.approx(np.array([51, 251, 401]) / 60)
    assert curve.get_ydata() == pytest.approx(0.8 * (1 - np.array([0.8, 0.5, 0.2])))


def test_files_have_the_same_bytes_and_may_be_without_segments(tmp_path):
    scores = scores_of(ROWS)
    for name in ("a.png", "b.svg"):
        contents = []
        for _ in range(2):
            save_timeline(scores, (), str(tmp_path / name), "film")
            contents.append((tmp_path / name).read_bytes())
        assert contents[0] == contents[1]
    with pytest.raises(ValueError, match=r"a\.gif: a picture is written as"):
        save_timeline(scores, (), str(tmp_path / "a.gif"), "")
