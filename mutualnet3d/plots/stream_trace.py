"""The picture of a stream's trace, PNG or SVG, by matplotlib: what windows took, and which sub-network ran.

save_trace_plot(stream.trace, 100, "trace.png", "video.mp4")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mutualnet3d.extras import require
from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.results.trace import TracePoint
from mutualnet3d.shapes import SubnetConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
# A window over the budget by more than this factor has not held it.
TOLERANCE = 1.2
# Okabe and Ito's blue and vermilion, which the colour-blind can tell apart; markers differ besides.
_HELD, _OVER, _LINE = "#0072B2", "#D55E00", "#404040"
# Windows that took longer than this many times the budget are drawn at the upper edge.
_MOST_SHOWN = 3.0


def save_trace_plot(
    trace: Sequence[TracePoint],
    milliseconds: float,
    path: str,
    title: str,
    configs: Sequence[SubnetConfig] | None = None,
    loads: Sequence[tuple[float, float]] = (),
) -> None:
    """Draw a trace into a picture and write it, atomically. The same trace gives the same bytes.

    Args:
        milliseconds: the budget of a window.
        path: ends in .png or .svg.
        configs: the sub-networks in the order that they are shown in, from below; None: those that ran, ordered by
            frames x size x size x width.
        loads: stretches of time, (from, to) in seconds of the trace, that are shaded: when the machine was busy.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; it says what to install.
        ValueError: another suffix, an empty trace, or a sub-network that is not in `configs`.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        came = repr(suffix) if suffix else "a file without a suffix"
        raise ValueError(f"{path}: a picture is written as {' or '.join(SUFFIXES)}, not as {came}")
    figure = draw_trace(trace, milliseconds, title, configs, loads)
    from matplotlib import rc_context

    # Without a date and with ids that are not drawn, the picture changes only when the trace does.
    options: dict[str, Any] = {"metadata": {"Date": None}} if suffix == ".svg" else {}
    with rc_context({"svg.hashsalt": "mutualnet3d"}):
        write_atomically(path, lambda file: figure.savefig(file, format=suffix[1:], **options))


def draw_trace(
    trace: Sequence[TracePoint],
    milliseconds: float,
    title: str,
    configs: Sequence[SubnetConfig] | None = None,
    loads: Sequence[tuple[float, float]] = (),
) -> Figure:
    """The picture as matplotlib's figure; arguments and errors are those of `save_trace_plot`."""
    require("matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not trace:
        raise ValueError("the trace is empty: no window has run")
    ran = {point.config for point in trace}
    shown = sorted(ran, key=_cost) if configs is None else list(configs)
    if missing := sorted(map(str, ran - set(shown))):
        raise ValueError(f"{', '.join(missing)} ran, but is not among the sub-networks to be shown")
    figure = Figure(figsize=(9, 4.2 + 0.22 * len(shown)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    times, steps = figure.subplots(2, sharex=True, height_ratios=(2.8, 0.6 + 0.22 * len(shown)))
    for axes in (times, steps):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        for start, end in loads:
            axes.axvspan(start, end, color="#808080", alpha=0.15, lw=0, zorder=0)
    _draw_times(times, trace, milliseconds, has_loads=bool(loads))
    _draw_steps(steps, trace, shown)
    held = sum(point.milliseconds <= TOLERANCE * milliseconds for point in trace)
    within = f"{100 * held / len(trace):.1f} % of {len(trace)} windows within {TOLERANCE:g} x {milliseconds:.4g} ms"
    times.set_title(f"{title}\n{within}", wrap=True, fontsize=11)
    return figure


def _cost(config: SubnetConfig) -> tuple[float, str]:
    return config.frames * config.size**2 * config.width, str(config)


def _draw_times(axes: Axes, trace: Sequence[TracePoint], milliseconds: float, has_loads: bool) -> None:
    top = _MOST_SHOWN * milliseconds
    axes.axhline(milliseconds, color=_LINE, lw=1.2, label="budget", zorder=2)
    axes.axhline(TOLERANCE * milliseconds, color=_LINE, lw=1, ls="--", label=f"budget +{TOLERANCE - 1:.0%}", zorder=2)
    for is_over, color, marker, name in ((False, _HELD, "o", "window"), (True, _OVER, "^", "window over both")):
        points = [
            (point.seconds, min(point.milliseconds, top))
            for point in trace
            if (point.milliseconds > TOLERANCE * milliseconds) == is_over
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=color, ms=4, lw=0, label=name, zorder=3, clip_on=False)
    if has_loads:
        axes.fill_between([], [], color="#808080", alpha=0.15, lw=0, label="machine busy")
    axes.set_ylabel("milliseconds per window")
    axes.set_ylim(0, min(top, 1.1 * max(TOLERANCE * milliseconds, *(point.milliseconds for point in trace))))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)


def _draw_steps(axes: Axes, trace: Sequence[TracePoint], configs: Sequence[SubnetConfig]) -> None:
    """Which sub-network ran, from the start of each window's run to its end."""
    height_of = {config: height for height, config in enumerate(configs)}
    starts = [point.seconds for point in trace]
    heights = [height_of[point.config] for point in trace]
    end = trace[-1].seconds + trace[-1].milliseconds / 1000
    axes.step([*starts, end], [*heights, heights[-1]], where="post", color=_HELD, lw=1.8)
    axes.set_yticks(range(len(configs)), [str(config) for config in configs], fontsize=8)
    axes.set_ylim(-0.5, len(configs) - 0.5)
    axes.set_xlim(min(0.0, starts[0]), end)
    axes.set_xlabel("seconds")
    axes.set_ylabel("sub-network")
