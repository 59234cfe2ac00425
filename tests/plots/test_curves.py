from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mutualnet3d.plots.curves import (
    Curve,
    Point,
    accuracy_title,
    check_cost,
    check_curves,
    cost_title,
    curve_of_table,
    curve_of_tables,
    curves_of_paper,
    title_of_milliseconds,
)
from mutualnet3d.results.paper import paper_results
from mutualnet3d.results.query_table import QueryTable, Views
from tests.results.tables import CONTEXT, TABLE, row, with_int8


@pytest.mark.parametrize("cost", ["gflops", "milliseconds"])
@pytest.mark.parametrize("seed", range(5))
def test_a_curves_front_is_its_tables(cost, seed):
    rng = np.random.default_rng(seed)
    keys = [f"w1.0-s{32 + number}-t8" for number in range(30)]  # whole numbers, so that many are equal
    table = QueryTable(tuple(row(key, *map(float, rng.integers(1, 6, 3))) for key in keys), CONTEXT)
    curve = curve_of_table("x", table, cost)
    assert [point.label for point in curve.front] == [str(table_row.config) for table_row in table.pareto(cost)]
    assert len(curve.front) + len(curve.others) == 30


def test_points_have_no_front():
    alone = [QueryTable((table_row,), CONTEXT) for table_row in TABLE.rows[:3]]
    curve = curve_of_tables("one by one", alone, "milliseconds", "points")
    assert curve.front == ()
    assert sorted((point.cost, point.top1) for point in curve.others) == [(3.0, 75.0), (5.0, 80.0), (9.0, 90.0)]
    notes = {point.label: point.notes for point in curve.points}
    assert notes["w1.0-s48-t8"] == ("top-5 95.00 %", "1 GFLOPs", "1,000,000 parameters")


def test_costs_are_those_of_a_video():
    """Of ten views and of one, each sub-network."""
    ten = [replace(row, views=Views(10, 1), pass_milliseconds=6 * row.milliseconds) for row in TABLE.rows]
    table = QueryTable((*ten, *TABLE.rows), {**CONTEXT, "views": "10 x 1"})
    points = {point.label: point for point in curve_of_table("x", table).points}
    assert len(points) == 10
    assert (points["w1.0-s48-t8"].cost, points["w1.0-s48-t8, 10 x 1"].cost) == (1.0, 10.0)
    assert points["w1.0-s48-t8, 10 x 1"].notes == (
        "top-5 95.00 %",
        "54 ms",
        "10 x 1 views, of a clip: 1 GFLOPs, 9 ms",
        "1,000,000 parameters",
    )
    over_time = {point.label: point.cost for point in curve_of_table("x", table, "milliseconds").points}
    assert (over_time["w1.0-s48-t8"], over_time["w1.0-s48-t8, 10 x 1"]) == (9.0, 54.0)


def test_rows_of_other_back_ends_are_not_drawn():
    assert len(curve_of_table("x", with_int8()).points) == 6  # three crops of the first too
    assert curve_of_table("x", with_int8().select()) == curve_of_table("x", TABLE)
    (first, _) = curve_of_table("x", with_int8().select(backend="openvino-int8"), "milliseconds").points
    assert (first.cost, first.top1) == (2.0, 76.0)


def test_times_that_did_not_settle_are_on_no_front():
    rows = [replace(row, settled=str(row.config) != "w1.0-s32-t8") for row in TABLE.rows]
    table = QueryTable(tuple(rows), CONTEXT)
    curve = curve_of_table("x", table, "milliseconds")
    assert [point.label for point in curve.front] == ["w0.5-s32-t4", "w1.0-s32-t4", "w1.0-s48-t8"]
    assert {point.label for point in curve.others} == {"w0.5-s48-t8", "w1.0-s32-t8"}
    (unsettled,) = [point for point in curve.points if not point.settled]
    assert unsettled.notes[-1] == "its time did not settle: the machine was busy"
    assert curve_of_table("x", table).front == tuple(
        replace(point, notes=noted.notes)
        for point, noted in zip(curve_of_table("x", TABLE).front, curve_of_table("x", table).front, strict=True)
    )  # GFLOPs are counted
    none = QueryTable(tuple(replace(row, settled=False) for row in rows), CONTEXT)
    assert curve_of_table("x", none, "milliseconds").front == ()


def test_the_papers_curves_are_references():
    paper = curves_of_paper(paper_results()["x3d_m"])
    assert [curve.name for curve in paper] == [
        "paper, x3d_m (10 clips x 1 centre crop)", "paper, one by one, published", "paper, one by one, reproduced",
    ]  # fmt: skip
    assert all(curve.reference for curve in paper)
    assert [len(curve.front) for curve in paper] == [11, 0, 0]
    assert paper[0].front[-1].cost == pytest.approx(47.3)  # 4.73 a clip, ten views a video
    assert sorted(point.cost for point in paper[1].points) == pytest.approx([6.0, 19.6, 47.3])
    with pytest.raises(ValueError, match="the paper's results have a place over 'gflops' only, got 'milliseconds'"):
        curves_of_paper(paper_results()["x3d_m"], "milliseconds")


def test_titles_of_axes():
    assert cost_title("gflops", "ms") == "GFLOPs (multiply-adds) per video"
    assert cost_title("milliseconds", "ms") == "ms"
    assert accuracy_title("top-1", "10 x 3 views") == "top-1 accuracy, % (10 x 3 views per video)"
    assert accuracy_title("top-1", "") == "top-1 accuracy, %"


def test_times_of_different_devices_do_not_compare():
    facts = {"device": "NVIDIA H100", "threads": 1, "batch_size": 8}
    gpu = QueryTable(TABLE.rows, {**CONTEXT, "backends": {"pytorch": facts}})
    assert title_of_milliseconds({"a": gpu}) == "milliseconds per pass of 8 videos, NVIDIA H100, 1 thread"
    assert title_of_milliseconds({"a": QueryTable(TABLE.rows)}) == "milliseconds per video, unknown device, ? threads"
    message = r"different devices do not compare: a has milliseconds per video, cpu, 2 threads; b has .* NVIDIA H100, 1"
    with pytest.raises(ValueError, match=message):
        title_of_milliseconds({"a": TABLE, "b": gpu})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Point(0.0, 50.0, "x"), "Point 'x': cost must be a number above 0, got 0.0"),
        (lambda: Point(float("nan"), 50.0), "Point '': cost must be a number above 0, got nan"),
        (lambda: Point(1.0, float("nan")), "Point '': top1 must be a finite number, got nan"),
        (lambda: Point(1.0, 50.0, spread=-1.0), "spread must be None or a number of at least 0, got -1.0"),
        (lambda: Curve("x", ()), "curve 'x' has no points"),
        (lambda: Curve("x", (Point(1.0, 1.0),), "bar"), "curve 'x': kind must be 'front' or 'points', got 'bar'"),
        (lambda: curve_of_table("x", TABLE, "watts"), "cost must be 'gflops' or 'milliseconds', got 'watts'"),
        (lambda: check_cost("watts"), "cost must be 'gflops' or 'milliseconds', got 'watts'"),
        (
            lambda: curve_of_table("x", QueryTable((row("w1.0-s8-t1", 1.0, 0.0, 9.0),)), "milliseconds"),
            r"w1\.0-s8-t1 has no milliseconds: 0\.0",
        ),
        (lambda: check_curves([]), "there are no curves to draw"),
        (lambda: check_curves([curve_of_table("x", TABLE)] * 2), "curves need names of their own; more than once: x"),
    ],
)
def test_what_cannot_be_drawn_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_curves_of_several_labels_a_video_are_of_their_mean_average_precision():
    several = QueryTable(tuple(replace(row, mean_ap=30.0) for row in TABLE.rows), CONTEXT)
    curve = curve_of_table("x", several)
    assert {(point.top1, point.measure) for point in curve.points} == {(30.0, "mAP")}
    assert curve.points[0].notes[:2] == (f"top-1 {TABLE.rows[-1].top1:.2f} %", f"top-5 {TABLE.rows[-1].top5:.2f} %")
    assert accuracy_title("mAP", "") == "mAP, %"
    with pytest.raises(ValueError, match=r"curves of top-1 and curves of mAP, .* do not compare"):
        check_curves([curve, curve_of_table("y", TABLE)])
