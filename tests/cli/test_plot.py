from __future__ import annotations

from dataclasses import replace

import pytest

from mutualnet3d.results.query_table import QueryTable, Views
from tests.plots.test_tradeoff_page import figure_of
from tests.results.tables import CONTEXT, FACTS, TABLE

TOOL = "tools/plot_tradeoff.py"


@pytest.fixture
def save(tmp_path):
    """Function that writes a table and returns its path."""

    def save_table(name, rows=TABLE.rows, views=TABLE.views, **facts):
        path = str(tmp_path / f"{name}.json")
        context = {**CONTEXT, "views": str(views), "backends": {"pytorch": {**FACTS, **facts}}}
        QueryTable(tuple(replace(row, views=views) for row in rows), context).save(path)
        return path

    return save_table


def test_all_formats(run_tool, save, tmp_path):
    mutual_table, first_table, second_table = save("ours"), save("one", TABLE.rows[:1]), save("other", TABLE.rows[1:2])
    words = [
        "--output",
        tmp_path / "t",
        "--tables",
        f"mutual={mutual_table}",
        "--separate",
        f"alone={first_table},{second_table}",
        "--paper",
        "x3d_m",
    ]
    status, out, err = run_tool(TOOL, *words, "--log", "--title", "A title")
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"wrote {tmp_path / 't'}.{suffix}" for suffix in ("png", "svg", "html")]
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "t.svg").read_bytes()
    traces, layout, _ = figure_of(tmp_path / "t.html")
    assert layout["title"]["text"] == "A title"
    assert layout["xaxis"]["type"] == "log"
    assert [trace["name"] for trace in traces if trace["showlegend"]] == [
        "mutual", "alone", "paper, x3d_m (10 clips x 1 centre crop)", "paper, one by one, published",
        "paper, one by one, reproduced",
    ]  # fmt: skip
    assert sorted(traces[3]["x"]) == [0.7, 1.0]
    assert len(layout["updatemenus"]) == 2


def test_tables_side_by_side_as_text(run_tool, save, tmp_path):
    all_rows, first, second = save("ours"), save("first", TABLE.rows[:1]), save("second", TABLE.rows[1:2])
    words = ["--output", tmp_path / "t", "--formats", "svg", "--text"]
    status, out, _ = run_tool(TOOL, *words, "--tables", f"mutual={all_rows}", "--separate", f"alone={first},{second}")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["sub-network", "GFLOPs", "mutual", "alone", f"({first})", "alone", f"({second})"]
    assert lines[1].split() == ["w1.0-s48-t8", "1.0000", "90.00*", "90.00*", "-"]
    assert len(lines) == 1 + len(TABLE.rows) + 2
    status, out, _ = run_tool(TOOL, "--output", tmp_path / "t", "--formats", "svg", "--text", "--paper", "slow_8x8")
    assert (status, out) == (0, f"wrote {tmp_path / 't'}.svg\n")


def test_milliseconds_first_and_words_of_one_name_together(run_tool, save, tmp_path):
    words = ["--output", tmp_path / "new" / "t", "--cost", "milliseconds", "--formats", "html"]
    words += ["--separate", f"alone={save('one', TABLE.rows[:1])}", f"alone={save('other', TABLE.rows[1:2])}"]
    assert run_tool(TOOL, *words)[:2] == (0, f"wrote {tmp_path / 'new' / 't'}.html\n")
    traces, layout, _ = figure_of(tmp_path / "new" / "t.html")
    assert sorted(traces[1]["x"]) == sorted(row.milliseconds for row in TABLE.rows[:2])
    assert layout["xaxis"]["title"]["text"] == "milliseconds per video, cpu, 2 threads"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t.html"]


def test_the_paper_alone(run_tool, tmp_path):
    status, out, _ = run_tool(TOOL, "--output", tmp_path / "t", "--paper", "slow_8x8", "--formats", "svg", "html")
    assert (status, len(out.splitlines())) == (0, 2)
    assert len(figure_of(tmp_path / "t.html")[1]["updatemenus"]) == 1


def test_devices_that_differ(run_tool, save, tmp_path):
    of_cpu, of_gpu = save("here"), save("there", device="NVIDIA H100", threads=1)
    words = ["--output", tmp_path / "t", "--tables", f"a={of_cpu}", f"b={of_gpu}"]
    message = (
        f"times on different devices do not compare: {of_cpu} has milliseconds per video, cpu, 2 threads; "
        f"{of_gpu} has milliseconds per video, NVIDIA H100, 1 thread\n"
    )
    status, out, err = run_tool(TOOL, *words, "--cost", "milliseconds")
    assert (status, out, err) == (2, "", f"error: {message}")
    status, out, err = run_tool(TOOL, *words, "--formats", "html")
    assert (status, err) == (0, "")
    assert out == f"the page has no milliseconds: {message}wrote {tmp_path / 't'}.html\n"
    assert run_tool(TOOL, *words, "--formats", "png")[1] == f"wrote {tmp_path / 't'}.png\n"


def test_tables_of_other_views_are_drawn_over_the_cost_of_a_video(run_tool, save, tmp_path):
    one_view, thirty_views = save("one"), save("ten", views=Views(10, 3))
    words = ["--output", tmp_path / "t", "--tables", f"a={one_view}", f"b={thirty_views}", "--formats", "html"]
    status, _, err = run_tool(TOOL, *words)
    assert (status, err) == (0, "")
    traces, layout, _ = figure_of(tmp_path / "t.html")
    of_one, of_thirty = (next(trace for trace in traces if trace["name"] == name) for name in "ab")
    assert (of_one["x"][-1], of_thirty["x"][-1]) == (1.0, 30.0)
    assert layout["xaxis"]["title"]["text"] == "GFLOPs (multiply-adds) per video"
    assert layout["yaxis"]["title"]["text"] == "top-1 accuracy, %"
    run_tool(TOOL, *words[:2], "--tables", f"b={thirty_views}", "--formats", "html")
    assert figure_of(tmp_path / "t.html")[1]["yaxis"]["title"]["text"] == "top-1 accuracy, % (10 x 3 views per video)"


def test_names_bad_input(run_tool, save, tmp_path):
    table = save("table")

    def error_of(*words):
        status, _, err = run_tool(TOOL, "--output", tmp_path / "t", *words)
        assert status == 2
        assert not list(tmp_path.glob("t.*"))
        return err

    assert error_of() == "error: nothing to draw; give --tables, --separate or --paper\n"
    assert error_of("--tables", f"a={tmp_path}/no.json") == f"error: no query table at {tmp_path}/no.json\n"
    for word in (table, "=x", "a="):
        assert error_of("--tables", word) == f"error: --tables: {word!r} is not NAME=PATH\n"
    assert error_of("--separate", table) == f"error: --separate: {table!r} is not NAME=PATH\n"
    assert error_of("--tables", f"a={table}", f"a={table}") == "error: --tables: the name 'a' is given twice\n"
    assert "names of their own; more than once: a" in error_of("--tables", f"a={table}", "--separate", f"a={table}")
    assert error_of("--paper", "x3d_s") == (
        "error: --paper: no results of 'x3d_s'; the paper has them of x3d_m, slow_8x8, slowfast_4x16\n"
    )
    words = ("--tables", f"a={table}", "--paper", "x3d_m", "--cost", "milliseconds")
    assert "error: the paper's results have a place over 'gflops' only" in error_of(*words)
