"""Curves and their picture. The lines are read back from matplotlib; places of labels are compared in pixels."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest

from mutualnet3d.plots import fonts
from mutualnet3d.plots.curves import (
    Curve,
    Point,
    curve_of_table,
    curves_of_paper,
    title_of_milliseconds,
)
from mutualnet3d.plots.styles import line_styles
from mutualnet3d.plots.tradeoff_figure import draw, save_table_plot, save_tradeoff_plot
from mutualnet3d.results.paper import paper_results
from mutualnet3d.results.query_table import QueryTable
from tests.results.tables import CONTEXT, TABLE, row


def grid_table(seed=0):
    """The demo's 18 sub-networks, nearly all of them on the front."""
    rng = np.random.default_rng(seed)
    rows = []
    for width, size, frames in itertools.product((1.0, 0.8, 0.63), (48, 40, 32), (8, 6)):
        cost = 0.0195 * width**1.8 * (size / 48) ** 2 * frames / 8
        top1 = 97 - 8 * (0.0195 / cost) ** 0.6 + rng.normal(0, 0.4)
        rows.append(row(f"w{width}-s{size}-t{frames}", cost, 200 * cost, top1))
    return QueryTable(tuple(rows), CONTEXT)


def line_of(axes, color, style):
    """Only line of this colour and style as its points; error bars' caps and the legend's samples are none."""
    lines = [line for line in axes.lines if len(line.get_xdata()) and line.get_marker() not in ("_", "|")]
    (line,) = [line for line in lines if (line.get_color(), line.get_linestyle()) == (color, style)]
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def labels_of(figure):
    return {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}


def test_the_drawn_lines_are_the_curves():
    alone = QueryTable((row("w1.0-s40-t8", 0.65, 4.0, 82.0),), CONTEXT)
    curves = [curve_of_table("mutual", TABLE), curve_of_table("alone", alone, kind="points")]
    axes = draw(curves, "title").axes[0]
    (front_color, _), (alone_color, _) = line_styles(curves)
    assert line_of(axes, front_color, "-") == [(0.1, 50.0), (0.5, 70.0), (0.6, 80.0), (1.0, 90.0)]
    assert line_of(axes, front_color, "None") == [(0.7, 75.0)]
    assert line_of(axes, alone_color, "None") == [(0.65, 82.0)]
    assert axes.get_title() == "title"
    assert axes.get_xscale() == "linear"
    assert axes.get_xlabel() == "GFLOPs (multiply-adds) per video"
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["mutual", "alone", "other sub-networks"]


def test_milliseconds_have_a_front_and_a_title_of_their_own():
    figure = draw(
        [curve_of_table("mutual", TABLE, "milliseconds")],
        "",
        "milliseconds",
        log=True,
        views="10 x 3 views",
        milliseconds_title=title_of_milliseconds({"a": TABLE}),
    )
    axes = figure.axes[0]
    assert line_of(axes, "#0072B2", "-") == [(2.0, 50.0), (3.0, 75.0), (5.0, 80.0), (9.0, 90.0)]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "milliseconds per video, cpu, 2 threads"
    assert axes.get_ylabel() == "top-1 accuracy, % (10 x 3 views per video)"
    figure.draw_without_rendering()
    low, high = axes.get_xlim()
    ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    assert [text.get_text() for x, text in ticks if low <= x <= high] == ["2", "5", "10"]


def test_a_slow_outlier_does_not_squeeze_the_curve():
    table = QueryTable(
        (*TABLE.rows, row("w1.0-s56-t8", 1.2, 600.0, 95.0), row("w0.6-s56-t8", 1.1, 300.0, 60.0)), CONTEXT
    )
    curve = curve_of_table("x", table, "milliseconds")
    figure = draw([curve], "", "milliseconds")
    axes = figure.axes[0]
    assert axes.get_xlim()[1] < 13
    drawn = line_of(axes, "#0072B2", "-")
    assert [y for _, y in drawn] == [50.0, 75.0, 80.0, 90.0, 95.0]
    assert 9 < drawn[-1][0] < 11
    (beyond,) = [line for line in axes.lines if line.get_marker() == ">"]
    assert sorted(beyond.get_ydata()) == [60.0, 95.0]
    assert {"w1.0-s56-t8 600 ms", "w0.6-s56-t8 300 ms"} <= set(labels_of(figure))
    # A logarithmic axis has room for it.
    figure = draw([curve], "", "milliseconds", log=True)
    assert figure.axes[0].get_xlim()[1] > 600
    assert line_of(figure.axes[0], "#0072B2", "-")[-1] == (600.0, 95.0)


def test_names_of_any_script_and_with_dollars_are_as_they_are(tmp_path, recwarn, monkeypatch):
    """Between two dollar signs matplotlib sees a formula, here a wrong one."""
    monkeypatch.setattr(fonts, "system_font", lambda character: None)
    figure = draw([curve_of_table("Grüße $x^$ и 中", TABLE)], "Über $a_$ b")
    (legend,) = figure.legends
    assert legend.get_texts()[0].get_text() == r"Grüße \$x^\$ и \u4e2d"
    save_tradeoff_plot([curve_of_table("Grüße $x^$ и 中", TABLE)], str(tmp_path / "t.png"), "Über $a_$ b")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_error_bars_are_as_long_as_the_spread():
    points = (Point(1.0, 50.0, spread=2.0), Point(2.0, 60.0), Point(3.0, 70.0, spread=1.0))
    for kind in ("front", "points"):
        axes = draw([Curve("seeds", points, kind)], "").axes[0]
        (bars,) = axes.collections
        ends = [[tuple(end) for end in bar] for bar in bars.get_segments()]
        assert (ends[0], ends[-1]) == ([(1, 48), (1, 52)], [(3, 69), (3, 71)])
        assert all(math.isnan(y) for end in ends[1:-1] for _, y in end)  # the one without a spread
    assert not draw([curve_of_table("one run", TABLE)], "").axes[0].collections


def test_the_papers_curves_are_grey_and_behind():
    paper = curves_of_paper(paper_results()["x3d_m"])
    assert [curve.name for curve in paper] == [
        "paper, x3d_m (10 clips x 1 centre crop)", "paper, one by one, published", "paper, one by one, reproduced",
    ]  # fmt: skip
    axes = draw([curve_of_table("ours", TABLE), *paper], "").axes[0]
    drawn = line_of(axes, "#808080", "--")
    assert len(drawn) == 11
    assert (*drawn[0], *drawn[-1]) == pytest.approx((3.48, 66.15, 47.3, 75.1))
    own_zorder = max(line.get_zorder() for line in axes.lines if line.get_color() == "#0072B2")
    assert all(line.get_zorder() < own_zorder for line in axes.lines if line.get_color() == "#808080")
    with pytest.raises(ValueError, match="the paper's results have a place over 'gflops' only, got 'milliseconds'"):
        curves_of_paper(paper_results()["x3d_m"], "milliseconds")


def test_the_whole_front_of_few_rows_is_named_and_the_most_expensive_row():
    beaten = QueryTable((*TABLE.rows, row("w1.0-s56-t8", 1.2, 12.0, 85.0)), CONTEXT)
    figure = draw([curve_of_table("x", beaten)], "")
    assert set(labels_of(figure)) == {"w0.5-s32-t4", "w0.5-s48-t8", "w1.0-s32-t8", "w1.0-s48-t8", "w1.0-s56-t8"}


@pytest.mark.parametrize(("length", "ncols"), [(10, 3), (45, 2), (95, 1)])
def test_long_names_are_not_clipped(length, ncols):
    curves = [Curve(str(number) * length, (Point(1.0, number),)) for number in range(4)]
    figure = draw(curves, "title")
    (legend,) = figure.legends
    assert legend._ncols == ncols
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y0 >= 0


@pytest.mark.parametrize(("suffix", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")])
def test_the_suffix_is_the_format(tmp_path, suffix, head):
    written = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{suffix}"
        save_tradeoff_plot([curve_of_table("x", TABLE)], str(path), "title")
        written.append(path.read_bytes())
    assert written[0].startswith(head)
    assert written[0] == written[1]
    if suffix == "svg":
        assert b"<svg" in written[0]
    with pytest.raises(ValueError, match=r"t\.pdf: a picture is written as \.png or \.svg, not as '\.pdf'"):
        save_tradeoff_plot([curve_of_table("x", TABLE)], str(tmp_path / "t.pdf"), "title")
    with pytest.raises(ValueError, match=r"t: a picture is written as \.png or \.svg, not as a file without a suffix"):
        save_tradeoff_plot([curve_of_table("x", TABLE)], str(tmp_path / "t"), "title")


def test_the_plot_of_one_table(tmp_path):
    save_table_plot(TABLE, str(tmp_path / "t.png"), "title")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["t.png"]
    save_table_plot(QueryTable(TABLE.rows), str(tmp_path / "no_context.svg"), "title")


def test_plot_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"^matplotlib is not installed: pip install 'mutualnet3d\[plot\]'$"):
        save_table_plot(TABLE, str(tmp_path / "t.png"), "title")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_drawn_is_named():
    curve = curve_of_table("x", TABLE)
    for curves, cost, message in (
        ([curve], "watts", "cost must be 'gflops' or 'milliseconds'"),
        ([], "gflops", "there are no curves to draw"),
        ([curve] * 2, "gflops", "curves need names of their own; more than once: x"),
    ):
        with pytest.raises(ValueError, match=message):
            draw(curves, "", cost)
