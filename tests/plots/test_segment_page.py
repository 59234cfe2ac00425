"""The page is read back as text: the data that plotly is given."""

from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.plots.segment_page import clock, save_segment_page
from mutualnet3d.results.segments import SegmentRules, WindowScores, find_segments
from tests.plots.test_tradeoff_page import figure_of

pytest.importorskip("plotly", reason="the extra `plot` is not installed")
ROWS = [(0.125, 0.75, 0.125)] * 3 + [(0.75, 0.125, 0.125)] * 2 + [(np.nan,) * 3] + [(0.25, 0.75, 0.0)]


def test_rows_curves_and_what_is_lost(tmp_path):
    score_NK = np.array(ROWS, np.float32)
    scores = WindowScores(score_NK, np.arange(7.0), 2.0, 8.0, ("<b>", "sit", "stand"))
    segments = find_segments(scores, SegmentRules(smooth=1))
    path = tmp_path / "film.html"
    save_segment_page(scores, segments, str(path), "film & more", min_score=0.5)
    sit, curve, other, _ = figure_of(path)[0]
    assert (sit["name"], sit["base"], sit["x"], sit["y"]) == ("sit", [0, 6.5], [3.5, 1.5], [0, 0])
    assert (other["name"], other["base"], other["x"], other["y"]) == ("&lt;b&gt;", [3.5], [2], [1])
    assert other["customdata"] == ["<b>0:00:03.5 to 0:00:05.5</b><br>&lt;b&gt; 75.0 %"]
    assert curve["x"] == [1, 2, 3, 4, 5, 6, 7]
    assert curve["y"] == [0.75, 0.75, 0.75, 0.125, 0.125, None, 0.75]
    layout = figure_of(path)[1]
    assert layout["yaxis"]["ticktext"] == ["sit", "&lt;b&gt;"]
    assert layout["xaxis"]["title"]["text"] == "seconds"
    lost, least = layout["shapes"]
    assert (lost["x0"], lost["x1"], least["y0"]) == (5.5, 6.5, 0.5)
    save_segment_page(scores, (), str(path), "nothing")
    assert figure_of(path)[0] == []


def test_clock():
    assert [clock(seconds) for seconds in (0, 61.25, 3599.96, 36000)] == [
        "0:00:00.0",
        "0:01:01.2",
        "1:00:00.0",
        "10:00:00.0",
    ]
