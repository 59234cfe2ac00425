"""The page is read back as text: the data that plotly is given, and that nothing is loaded from elsewhere."""

from __future__ import annotations

import json
import re
import sys

import pytest

from mutualnet3d.plots.curves import Curve, Point, curve_of_table, curves_of_paper
from mutualnet3d.plots.tradeoff_page import save_tradeoff_page
from mutualnet3d.results.paper import paper_results
from mutualnet3d.results.query_table import COSTS, QueryTable
from tests.results.tables import TABLE, row


def figure_of(path):
    """(traces, layout, config) of the page's call of plotly."""
    text = path.read_text(encoding="utf-8")
    rest = text[text.rindex("Plotly.newPlot(") :]
    rest = rest[rest.index(",") + 1 :]
    parts = []
    for _ in range(3):
        part, end = json.JSONDecoder().raw_decode(rest.lstrip(" ,\n"))
        rest = rest.lstrip(" ,\n")[end:]
        parts.append(part)
    return parts


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "t.html"
    curves = {cost: [curve_of_table("a <b>", TABLE, cost)] for cost in COSTS}
    curves["gflops"] += curves_of_paper(paper_results()["x3d_m"])
    save_tradeoff_page(
        curves, str(path), "x & y", views="1 x 1 views", milliseconds_title="milliseconds per video, cpu"
    )
    return path


def test_a_page_of_its_own(page):
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "<title>x &amp; y</title>" in text
    assert not re.search(r"<script[^>]*\ssrc|<link|<img|<iframe|@import", text)
    assert all(str(row.config) in text for row in TABLE.rows)
    assert 4e6 < len(text) < 6e6
    _, _, config = figure_of(page)
    assert "sendChartToCloud" in config["modeBarButtonsToRemove"]


def test_points_say_what_they_are(page):
    traces, layout, _ = figure_of(page)
    front, others = traces[:2]
    assert (front["x"], front["y"]) == ([0.1, 0.5, 0.6, 1.0], [50, 70, 80, 90])
    assert (others["x"], others["y"]) == ([0.7], [75])
    lines = ["<b>w0.5-s32-t4</b>", "a &lt;b&gt;", "0.1 GFLOPs", "top-1 50.00 %", "top-5 55.00 %", "2 ms"]
    assert front["customdata"][0].split("<br>") == [*lines, "100,000 parameters"]
    assert front["name"] == "a &lt;b&gt;"
    assert (front["showlegend"], others["showlegend"]) == (True, False)
    assert front["legendgroup"] == others["legendgroup"]  # a click hides both
    assert layout["title"]["text"] == "x &amp; y"
    assert layout["xaxis"]["title"]["text"] == "GFLOPs (multiply-adds) per video"
    assert layout["yaxis"]["title"]["text"] == "top-1 accuracy, % (1 x 1 views per video)"


def test_buttons_change_scale_and_cost(page):
    traces, layout, _ = figure_of(page)
    scale, cost = layout["updatemenus"]
    assert [button["args"][0]["xaxis.type"] for button in scale["buttons"]] == ["linear", "log"]
    gflops, milliseconds = cost["buttons"]
    data, axis = milliseconds["args"]
    assert axis["xaxis.title.text"] == "milliseconds per video, cpu"
    assert len(data["x"]) == len(traces)
    assert data["x"][0] == [2, 3, 5, 9]
    assert "0.1 GFLOPs" in data["customdata"][0][0]
    assert not any(data["x"][2:])  # the paper measured none
    assert data["showlegend"] == [True] + [False] * (len(traces) - 1)
    data, _ = gflops["args"]
    assert data["x"] == [trace["x"] for trace in traces]


def test_a_slow_outlier_stands_at_the_end_of_the_axis(tmp_path):
    slow = QueryTable((*TABLE.rows, row("w1.0-s56-t8", 1.2, 600.0, 95.0)), TABLE.context)
    curves = {cost: [curve_of_table("a", slow, cost)] for cost in COSTS}
    save_tradeoff_page(curves, str(tmp_path / "t.html"), "title")
    traces, layout, _ = figure_of(tmp_path / "t.html")
    assert traces[0]["marker"]["symbol"] == "circle"
    _, cost = layout["updatemenus"]
    data, _ = cost["buttons"][1]["args"]
    assert data["x"][0][:4] == [2, 3, 5, 9]
    assert 9 < data["x"][0][4] < 11
    assert data["marker.symbol"][0] == ["circle"] * 4 + ["triangle-right"]
    assert "600 ms, beyond the axis" in data["customdata"][0][4]
    assert "Noto Sans CJK" in layout["font"]["family"]


def test_one_cost_has_no_buttons_and_spreads_have_bars(tmp_path):
    curve = Curve("seeds", (Point(1.0, 50.0, "w1.0-s8-t1", spread=0.5), Point(2.0, 40.0)))
    save_tradeoff_page({"gflops": [curve]}, str(tmp_path / "t.html"), "title", log=True)
    traces, layout, _ = figure_of(tmp_path / "t.html")
    assert len(layout["updatemenus"]) == 1
    assert layout["updatemenus"][0]["active"] == 1
    assert layout["xaxis"]["type"] == "log"
    assert traces[0]["error_y"]["array"] == [0.5]
    assert "top-1 50.00 ± 0.50 %" in traces[0]["customdata"][0]
    assert (traces[0]["error_y"]["visible"], traces[1]["error_y"]["visible"]) == (True, False)


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "there are no curves to draw"),
        ({"gflops": []}, "there are no curves to draw"),
        ({"watts": [curve_of_table("x", TABLE)]}, "cost must be 'gflops' or 'milliseconds', got 'watts'"),
        ({"gflops": [curve_of_table("x", TABLE)] * 2}, "curves need names of their own; more than once: x"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path, curves, message):
    with pytest.raises(ValueError, match=message):
        save_tradeoff_page(curves, str(tmp_path / "t.html"), "title")


def test_page_without_plotly_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ModuleNotFoundError, match=r"^plotly is not installed: pip install 'mutualnet3d\[plot\]'$"):
        save_tradeoff_page({"gflops": [curve_of_table("x", QueryTable(TABLE.rows))]}, str(tmp_path / "t.html"), "title")
