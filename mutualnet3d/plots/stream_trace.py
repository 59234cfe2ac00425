"""Picture of a stream's trace, PNG or SVG, by matplotlib: time of each window, and the sub-network that ran.

save_trace_plot(stream.trace, 100, "trace.png", "video.mp4")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mutualnet3d.plots.picture_file import check_suffix, fonts_for, new_figure, picture_text, save_figure
from mutualnet3d.plots.styles import BLUE, GREY, ORANGE
from mutualnet3d.results.trace import TOLERANCE, TracePoint, fraction_within
from mutualnet3d.shapes import SubnetConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HELD, _OVER, _LINE = BLUE, ORANGE, "#404040"
# Windows that took longer than this many times the budget are drawn at the upper edge.
_MAX_SHOWN = 3.0


def save_trace_plot(
    trace: Sequence[TracePoint],
    milliseconds: float,
    path: str,
    title: str,
    configs: Sequence[SubnetConfig] | None = None,
    loads: Sequence[tuple[float, float]] = (),
) -> None:
    """Draw a trace into a picture and write it, atomically; the same trace gives the same bytes.

    Args:
        trace: windows of the stream, the oldest first.
        milliseconds: budget of a window.
        path: path that ends in .png or .svg.
        title: title of the picture.
        configs: sub-networks in their order from below; None: those that ran, ordered by frames x size x size x width.
        loads: times in which the machine was busy, (start, end) in seconds of the trace; they are shaded.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says what to install.
        ValueError: the suffix is another one, the trace is empty, or a sub-network is not in `configs`.
    """
    check_suffix(path)
    save_figure(draw_trace(trace, milliseconds, title, configs, loads), path)


def draw_trace(
    trace: Sequence[TracePoint],
    milliseconds: float,
    title: str,
    configs: Sequence[SubnetConfig] | None = None,
    loads: Sequence[tuple[float, float]] = (),
) -> Figure:
    """Return the picture as matplotlib's figure; arguments and errors are those of `save_trace_plot`."""
    if not trace:
        raise ValueError("the trace is empty: no window has run")
    ran = {point.config for point in trace}
    shown = sorted(ran, key=_cost) if configs is None else list(configs)
    if missing := sorted(map(str, ran - set(shown))):
        raise ValueError(f"{', '.join(missing)} ran, but is not among the sub-networks to be shown")
    title = picture_text(title)
    with fonts_for([title]):
        return _draw(trace, milliseconds, title, shown, loads)


def _draw(
    trace: Sequence[TracePoint],
    milliseconds: float,
    title: str,
    shown: Sequence[SubnetConfig],
    loads: Sequence[tuple[float, float]],
) -> Figure:
    figure = new_figure(9, 4.2 + 0.22 * len(shown))
    times, steps = figure.subplots(2, sharex=True, height_ratios=(2.8, 0.6 + 0.22 * len(shown)))
    for axes in (times, steps):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        for start, end in loads:
            axes.axvspan(start, end, color=GREY, alpha=0.15, lw=0, zorder=0)
    _draw_times(times, trace, milliseconds, has_loads=bool(loads))
    _draw_steps(steps, trace, shown)
    held = 100 * fraction_within(trace, TOLERANCE * milliseconds)
    within = f"{held:.1f} % of {len(trace)} windows within {TOLERANCE:g} x {milliseconds:.4g} ms"
    times.set_title(f"{title}\n{within}", wrap=True, fontsize=11)
    return figure


def _cost(config: SubnetConfig) -> tuple[float, str]:
    return config.frames * config.size**2 * config.width, str(config)


def _draw_times(axes: Axes, trace: Sequence[TracePoint], milliseconds: float, has_loads: bool) -> None:
    top = _MAX_SHOWN * milliseconds
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
        axes.fill_between([], [], color=GREY, alpha=0.15, lw=0, label="machine busy")
    axes.set_ylabel("milliseconds per window")
    axes.set_ylim(0, min(top, 1.1 * max(TOLERANCE * milliseconds, *(point.milliseconds for point in trace))))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)


def _draw_steps(axes: Axes, trace: Sequence[TracePoint], configs: Sequence[SubnetConfig]) -> None:
    """Draw the sub-network that ran, from the start of each window's run to its end."""
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
