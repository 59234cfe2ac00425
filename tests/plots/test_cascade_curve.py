from __future__ import annotations

from dataclasses import replace

import pytest

from mutualnet3d.plots.cascade_curve import curves_of_cascades
from mutualnet3d.plots.tradeoff_figure import save_table_plot
from tests.results.cascades import ALONE, with_cascades
from tests.results.tables import TABLE


def test_points_lie_at_the_mean_cost():
    (curve,) = curves_of_cascades("cascades", with_cascades())
    assert [(point.cost, point.top1) for point in curve.points] == [
        (pytest.approx(0.1), 60.0),
        (pytest.approx(0.35), 80.0),
    ]
    assert curve.front == curve.points
    assert curve.points[1].notes == (
        "w0.5-s32-t4 > w1.0-s48-t8",
        "on 100 %, 25 % of the videos",
        "top-5 95.00 %",
        "95 % of the videos take 1.1 GFLOPs or less, none more than 1.1",
    )
    (curve,) = curves_of_cascades("cascades", with_cascades(), "milliseconds")
    assert [point.cost for point in curve.points] == pytest.approx([2.0, 4.25])
    assert "95 % of the videos take 11 ms or less, none more than 11" in curve.points[1].notes


def test_times_that_did_not_settle_are_on_no_front():
    rows = [replace(row, settled=str(row.config) != "w1.0-s48-t8") for row in TABLE.rows]
    (curve,) = curves_of_cascades("cascades", replace(with_cascades(), rows=tuple(rows)), "milliseconds")
    assert [point.settled for point in curve.points] == [True, False]


def test_rows_alone_are_no_curve_of_cascades():
    assert curves_of_cascades("cascades", TABLE) == []
    assert curves_of_cascades("cascades", replace(TABLE, cascades=(ALONE,))) == []


def test_the_picture_of_a_table_has_them(tmp_path):
    pytest.importorskip("matplotlib")
    save_table_plot(with_cascades(), str(tmp_path / "table.svg"), "made")
    save_table_plot(TABLE, str(tmp_path / "rows.svg"), "made")
    name = "<!-- cascades, mean cost"
    assert name in (tmp_path / "table.svg").read_text()
    assert name not in (tmp_path / "rows.svg").read_text()
