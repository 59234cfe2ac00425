from __future__ import annotations

import sys

import pytest

from mutualnet3d.plots.front_figure import front_figure
from tests.results.tables import row

POINTS = (
    row("w0.5-s32-t2", 0.01, 2.0, 50.0),
    row("w0.8-s48-t4", 0.05, 3.0, 80.0),
    row("w1.0-s320-t4", 0.123456, 12.345, 90.0),
)
BEHIND = row("w1.0-s48-t4", 0.06, 8.0, 40.0)


@pytest.mark.parametrize("chosen", range(3))
def test_the_curve_marks_the_chosen_point(chosen):
    pytest.importorskip("plotly", reason="the extra `plot` is not installed")
    figure = front_figure(POINTS, chosen, [BEHIND])
    behind, line, mark = figure.data
    assert (behind.x, behind.y) == ((8.0,), (40.0,))
    assert list(zip(line.x, line.y, strict=True)) == [(2.0, 50.0), (3.0, 80.0), (12.345, 90.0)]
    row = POINTS[chosen]
    assert (mark.x, mark.y) == ((row.milliseconds,), (row.top1,))
    (name,) = figure.layout.annotations
    assert name.text == f"<b>{row.config}</b><br>top-1 {row.top1:.1f} %"
    # Towards the middle, off the rising curve.
    assert (name.xanchor, name.yanchor) == (("left", "top"), ("left", "top"), ("right", "bottom"))[chosen]
    assert figure.layout.yaxis.range == (27.5, 102.5)


def test_a_curve_of_one_point():
    pytest.importorskip("plotly", reason="the extra `plot` is not installed")
    assert front_figure(POINTS[:1], 0).layout.yaxis.range == (49.0, 51.0)


def test_without_plotly_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ModuleNotFoundError, match=r"^plotly is not installed: pip install 'mutualnet3d\[web\]'$"):
        front_figure(POINTS, 0)
