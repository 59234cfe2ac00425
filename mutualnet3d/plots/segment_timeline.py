"""Picture of the classes over the time of a video, PNG or SVG, by matplotlib.

save_timeline(scores, segments, "timeline.png", "film.mp4")
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mutualnet3d.plots.picture_file import check_suffix, fonts_for, new_figure, picture_text, save_figure
from mutualnet3d.plots.styles import COLORS, GREY
from mutualnet3d.results.segments import Segment, WindowScores, lost_stretches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Classes that have a row; those with less time are left out, and counted.
MAX_ROWS = 24
# Points of a curve: where there are more windows, some of them share a point.
_MAX_POINTS = 2000
# Seconds from which on an axis is in minutes, and in hours.
_UNITS = ((2 * 3600, 3600, "hours"), (300, 60, "minutes"), (0, 1, "seconds"))


def save_timeline(
    scores: WindowScores, segments: Sequence[Segment], path: str, title: str, min_score: float = 0.0, smooth: int = 1
) -> None:
    """Draw a row for each class, with its segments and its score over time, and write the picture, atomically.

    The same arguments give the same bytes.

    Args:
        scores: scores of the windows.
        segments: segments that were made of the scores.
        path: path that ends in .png or .svg.
        title: title of the picture.
        min_score: score under which a time has no label, drawn as a line if above 0.
        smooth: number of windows whose mean is drawn, odd.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says what to install.
        ValueError: the suffix is another one.
    """
    check_suffix(path)
    save_figure(draw_timeline(scores, segments, title, min_score, smooth), path)


def draw_timeline(
    scores: WindowScores, segments: Sequence[Segment], title: str, min_score: float = 0.0, smooth: int = 1
) -> Figure:
    """Return the picture as matplotlib's figure; arguments and errors are those of `save_timeline`."""
    shown, num_more = shown_classes(segments)
    names = [picture_text(scores.class_names[index]) for index in shown]
    title = picture_text(title)
    if num_more:
        title += f"\n{num_more} classes with less time are not shown"
    with fonts_for([title, *names]):
        figure = new_figure(10, 1.6 + 0.42 * max(1, len(shown)))
        axes = figure.subplots()
        axes.set_title(title, wrap=True, fontsize=11)
        _draw(axes, scores, segments, shown, min_score, smooth)
        # The first class is at the top.
        axes.set_yticks([number + 0.4 for number in range(len(shown))], names, fontsize=8)
        axes.set_ylim(max(1, len(shown)) - 0.05, -0.15)
        # Fonts count when texts are drawn or measured.
        figure.draw_without_rendering()
    return figure


def shown_classes(segments: Sequence[Segment]) -> tuple[list[int], int]:
    """Return the numbers of the classes that have a row, in the order of their first segment, and the number of others.

    The others are those that have less time.
    """
    seconds_of: dict[int, float] = defaultdict(float)
    for segment in segments:
        seconds_of[segment.labels[0].index] += segment.end - segment.start
    most_time = set(sorted(seconds_of, key=lambda index: (-seconds_of[index], index))[:MAX_ROWS])
    return [index for index in seconds_of if index in most_time], len(seconds_of) - len(most_time)


def axis_unit(seconds: float) -> tuple[int, str]:
    """Return the unit of an axis that is `seconds` long, in seconds, and its name."""
    return next((unit, name) for least, unit, name in _UNITS if seconds >= least)


def _draw(
    axes: Axes,
    scores: WindowScores,
    segments: Sequence[Segment],
    shown: Sequence[int],
    min_score: float,
    smooth: int,
) -> None:
    unit, name = axis_unit(scores.duration_seconds)
    row_of = {index: row for row, index in enumerate(shown)}
    for segment in segments:
        row = row_of.get(segment.labels[0].index)
        if row is not None:
            stretch = [(segment.start / unit, (segment.end - segment.start) / unit)]
            axes.broken_barh(stretch, (row, 0.8), color=COLORS[row % len(COLORS)], alpha=0.35, lw=0)
    second_P, score_PK = score_points(scores, shown, smooth)
    for index, score_P in zip(shown, score_PK.T, strict=True):
        row = row_of[index]
        axes.plot(second_P / unit, row + 0.8 * (1 - score_P), color=COLORS[row % len(COLORS)], lw=1)
        if min_score > 0:
            axes.axhline(row + 0.8 * (1 - min_score), color=GREY, lw=0.5, ls="--")
    for start, end in lost_stretches(scores):
        axes.axvspan(start / unit, end / unit, facecolor=GREY, alpha=0.3, lw=0, hatch="//", label="lost")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.set_xlim(0, scores.duration_seconds / unit)
    axes.set_xlabel(name)


def score_points(scores: WindowScores, shown: Sequence[int], smooth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds (P,) of the points of curves, and their scores (P, classes).

    Where there are many windows, a point is the mean of several.

    Args:
        scores: scores of the windows.
        shown: numbers of the classes.
        smooth: number of windows, odd, whose mean stands for the middle one.
    """
    middle_N = scores.start_N + scores.span_seconds / 2
    score_NK = scores.smoothed(smooth)[:, list(shown)]
    step = -(-len(scores) // _MAX_POINTS)
    if step == 1:
        return middle_N, score_NK
    starts = np.arange(0, len(scores), step)
    count_P = np.diff([*starts, len(scores)])
    return np.add.reduceat(middle_N, starts) / count_P, np.add.reduceat(score_NK, starts) / count_P[:, None]
