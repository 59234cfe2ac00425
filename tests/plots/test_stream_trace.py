"""The picture of a trace: what is drawn is read back from matplotlib."""

from __future__ import annotations

import sys

import pytest

from mutualnet3d.plots.stream_trace import draw_trace, save_trace_plot
from mutualnet3d.results.trace import TracePoint
from mutualnet3d.shapes import SubnetConfig

SMALL, LARGE = SubnetConfig(0.63, 32, 6), SubnetConfig(1.0, 48, 8)
TRACE = [
    TracePoint(0.0, LARGE, 90.0, 1.0, 0),
    TracePoint(0.1, LARGE, 119.0, 1.3, 0),
    TracePoint(0.25, LARGE, 500.0, 5.0, 0),
    TracePoint(0.8, SMALL, 121.0, 5.0, 4),
    TracePoint(1.0, SMALL, 60.0, 2.0, 0),
]


def points_of(axes, name):
    (line,) = [line for line in axes.lines if line.get_label() == name]
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def test_times_and_steps_are_the_traces():
    times, steps = draw_trace(TRACE, 100.0, "a camera").axes
    assert points_of(times, "window") == [(0.0, 90.0), (0.1, 119.0), (1.0, 60.0)]
    # 500 ms are drawn at the upper edge, three times the budget.
    assert points_of(times, "window over both") == [(0.25, 300.0), (0.8, 121.0)]
    assert [y for _, y in points_of(times, "budget")] == [100.0, 100.0]
    assert [y for _, y in points_of(times, "budget +20%")] == [120.0, 120.0]
    assert times.get_title() == "a camera\n60.0 % of 5 windows within 1.2 x 100 ms"
    assert times.get_ylabel() == "milliseconds per window"
    assert times.get_ylim() == (0, 300)
    (line,) = steps.lines
    assert line.get_xdata().tolist() == [0.0, 0.1, 0.25, 0.8, 1.0, 1.06]
    assert line.get_ydata().tolist() == [1, 1, 1, 0, 0, 0]
    assert line.get_drawstyle() == "steps-post"
    assert [text.get_text() for text in steps.get_yticklabels()] == ["w0.63-s32-t6", "w1.0-s48-t8"]
    assert steps.get_xlabel() == "seconds"


def test_the_order_of_sub_networks_can_be_given_with_some_that_did_not_run():
    between = SubnetConfig(0.8, 40, 8)
    steps = draw_trace(TRACE, 100.0, "", configs=[LARGE, between, SMALL]).axes[1]
    assert [text.get_text() for text in steps.get_yticklabels()] == [str(LARGE), str(between), str(SMALL)]
    assert steps.lines[0].get_ydata().tolist() == [0, 0, 0, 2, 2, 2]


def test_loads_are_shaded():
    for axes in draw_trace(TRACE, 100.0, "", loads=[(0.2, 0.6), (0.9, 1.0)]).axes:
        assert [(patch.get_x(), patch.get_width()) for patch in axes.patches] == [
            pytest.approx((0.2, 0.4)),
            pytest.approx((0.9, 0.1)),
        ]
    assert not draw_trace(TRACE, 100.0, "").axes[0].patches


def test_without_a_window_over_there_is_none_in_the_legend():
    times = draw_trace(TRACE[:2], 100.0, "").axes[0]
    assert [text.get_text() for text in times.get_legend().get_texts()] == ["budget", "budget +20%", "window"]
    draw_trace(TRACE[2:3], 100.0, "")


@pytest.mark.parametrize(("suffix", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_suffix_is_the_format_and_bytes_are_the_same_each_time(tmp_path, suffix, head):
    written = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{suffix}"
        save_trace_plot(TRACE, 100.0, str(path), "title")
        written.append(path.read_bytes())
    assert written[0].startswith(head)
    assert written[0] == written[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}"]


@pytest.mark.parametrize(
    ("trace", "name", "configs", "message"),
    [
        (TRACE, "t.pdf", None, r"t\.pdf: a picture is written as \.png or \.svg, not as '\.pdf'"),
        (TRACE, "t", None, r"t: a picture is written as \.png or \.svg, not as a file without a suffix"),
        ([], "t.png", None, "the trace is empty: no window has run"),
        (TRACE, "t.png", [LARGE], r"w0\.63-s32-t6 ran, but is not among the sub-networks to be shown"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path, trace, name, configs, message):
    with pytest.raises(ValueError, match=message):
        save_trace_plot(trace, 100.0, str(tmp_path / name), "title", configs)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"matplotlib is not installed: pip install 'mutualnet3d\[plot\]'"):
        save_trace_plot(TRACE, 100.0, str(tmp_path / "t.png"), "title")
    assert not list(tmp_path.iterdir())
