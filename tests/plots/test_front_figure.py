from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from mutualnet3d.plots.front_figure import front_figure
from mutualnet3d.results.row import Views
from tests.results.tables import row

POINTS = (
    row("w0.5-s32-t2", 0.01, 2.0, 50.0),
    row("w0.8-s48-t4", 0.05, 3.0, 80.0),
    row("w1.0-s320-t4", 0.123456, 12.345, 90.0),
)
BEATEN = row("w1.0-s48-t4", 0.06, 8.0, 40.0)


@pytest.mark.parametrize("chosen", range(3))
def test_the_curve_marks_the_chosen_point(chosen):
    pytest.importorskip("plotly", reason="the extra `plot` is not installed")
    figure = front_figure(POINTS, chosen, [BEATEN])
    pale, line, mark = figure.data
    assert (pale.x, pale.y) == ((8.0,), (40.0,))
    assert list(zip(line.x, line.y, strict=True)) == [(2.0, 50.0), (3.0, 80.0), (12.345, 90.0)]
    row = POINTS[chosen]
    assert (mark.x, mark.y) == ((row.milliseconds,), (row.top1,))
    (name,) = figure.layout.annotations
    assert name.text == f"<b>{row.config}</b><br>top-1 {row.top1:.1f} %"
    # Towards the middle, off the rising curve.
    assert (name.xanchor, name.yanchor) == (("left", "top"), ("left", "top"), ("right", "bottom"))[chosen]
    assert figure.layout.yaxis.range == (27.5, 102.5)


def test_a_slow_outlier_does_not_squeeze_the_curve():
    """It stands at the end of the axis with its time in words; a time that did not settle is an open circle."""
    pytest.importorskip("plotly", reason="the extra `plot` is not installed")
    points = (replace(POINTS[0], settled=False), *POINTS[1:], row("w1.0-s352-t4", 0.2, 600.0, 95.0))
    figure = front_figure(points, 1, [BEATEN, row("w1.0-s52-t4", 0.1, 300.0, 40.0)])
    pale, line, _ = figure.data
    assert line.x[:3] == (2.0, 3.0, 12.345)
    assert pale.x[0] == 8.0
    assert 12.345 < pale.x[1] < line.x[3] < 15
    assert line.marker.symbol == ("circle-open", "circle", "circle", "triangle-right")
    assert pale.marker.symbol == ("circle", "triangle-right")
    assert [texts[2] for texts in line.customdata] == ["2 ms (did not settle)", "3 ms", "12.3 ms", "600 ms"]
    _, *beyond = figure.layout.annotations
    assert [(text.text, text.y) for text in beyond] == [("600 ms", 95.0), ("300 ms", 40.0)]
    assert front_figure(points, 3).data[2].x[0] == front_figure(points, 3).data[1].x[3]


def test_the_axis_says_of_how_many_views_the_accuracy_is():
    pytest.importorskip("plotly", reason="the extra `plot` is not installed")
    assert front_figure(POINTS, 0).layout.yaxis.title.text == "top-1 accuracy, % (one view per video)"
    ten = [replace(row, views=Views(10, 3)) for row in POINTS]
    assert front_figure(ten, 0).layout.yaxis.title.text == "top-1 accuracy, % (10 x 3 views per video)"
    assert front_figure((*POINTS, ten[2]), 0).layout.yaxis.title.text == "top-1 accuracy, %"
    assert "Noto Sans CJK" in front_figure(POINTS, 0).layout.font.family


def test_costs_are_those_of_a_video():
    pytest.importorskip("plotly", reason="the extra `plot` is not installed")
    several = replace(POINTS[1], views=Views(5, 1), pass_milliseconds=9.0)
    _, line, mark = front_figure((POINTS[0], several), 1).data
    assert (line.x, mark.x) == ((2.0, 9.0), (9.0,))
    assert line.customdata[1] == ["w0.8-s48-t4, 5 x 1 views", 0.25, "9 ms"]


def test_a_curve_of_one_point():
    pytest.importorskip("plotly", reason="the extra `plot` is not installed")
    assert front_figure(POINTS[:1], 0).layout.yaxis.range == (49.0, 51.0)


def test_without_plotly_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ModuleNotFoundError, match=r"^plotly is not installed: pip install 'mutualnet3d\[web\]'$"):
        front_figure(POINTS, 0)
