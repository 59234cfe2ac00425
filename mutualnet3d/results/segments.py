"""Labels over the time of a video: segments from scores of windows. Arithmetic only.

Every window stands for the time around its middle, up to half way to its neighbours' middles; the first window for all
time before it, the last one for all time after it. Scores are smoothed by a moving mean, every window gets its best
label, and neighbours with the same label are one segment. Nothing is trained to locate the begin of an action: a border
is as exact as the distance between windows.

Legend: N windows, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mutualnet3d.results.label import Label

# Windows that a score is the mean of, unless another number is given.
SMOOTH = 3
# Places of time without label: no score is high enough, or most frames are lost.
NO_LABEL, LOST = -1, -2


@dataclass(frozen=True)
class SegmentRules:
    """Rules by which scores of windows become segments.

    Args:
        smooth: number of windows, odd, whose mean score stands for the middle one; 1: no smoothing.
        min_score: smoothed score, 0 to 1, under which a time has no label.
        min_seconds: shortest segment, seconds; the time of shorter ones goes to the longer ones beside them, or has no
            label without any.
        top: number of labels of each segment, at least 1.

    Raises:
        ValueError: a value is not allowed.
    """

    smooth: int = SMOOTH
    min_score: float = 0.0
    min_seconds: float = 0.0
    top: int = 1

    def __post_init__(self) -> None:
        if not _is_integer(self.smooth) or self.smooth < 1 or self.smooth % 2 == 0:
            raise ValueError(f"smooth is {self.smooth!r}; it must be an odd number of windows: 1, 3, 5, ...")
        if not _is_number(self.min_score) or not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score is {self.min_score!r}; it must be a number from 0 to 1")
        if not _is_number(self.min_seconds) or not self.min_seconds >= 0:
            raise ValueError(f"min_seconds is {self.min_seconds!r}; it must be a number of at least 0, seconds")
        if not _is_integer(self.top) or self.top < 1:
            raise ValueError(f"top is {self.top!r}; it must be an integer of at least 1")


@dataclass(frozen=True)
class WindowScores:
    """Scores of the windows of a video.

    Args:
        score_NK: scores, float32 (N, K); rows of NaN belong to windows with most of their frames lost.
        start_N: start of each window, (N,), seconds since the first frame.
        span_seconds: length of a window, seconds.
        duration_seconds: length of the video, seconds.
        class_names: names of the classes.
    """

    score_NK: np.ndarray = field(compare=False)
    start_N: np.ndarray = field(compare=False)
    span_seconds: float
    duration_seconds: float
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.start_N)

    def __repr__(self) -> str:
        """Return a line with the numbers of windows and classes and the length of the video."""
        return f"<WindowScores: {len(self)} windows of {self.duration_seconds:.1f} s, {len(self.class_names)} classes>"

    @property
    def is_lost_N(self) -> np.ndarray:
        """Flags of the windows with most of their frames lost, bool (N,)."""
        return np.isnan(self.score_NK[:, 0])

    @property
    def border_M(self) -> np.ndarray:
        """Borders between the times of the windows, seconds, float64 (N + 1): window n has [n] to [n + 1]."""
        middle_N = self.start_N + self.span_seconds / 2
        between = (middle_N[:-1] + middle_N[1:]) / 2
        return np.concatenate([[0.0], between, [self.duration_seconds]])

    def smoothed(self, smooth: int) -> np.ndarray:
        """Return the mean scores, float32 (N, K), of each window and its existing neighbours.

        Args:
            smooth: number of windows, odd; lost windows are left out, and stay lost.
        """
        if smooth == 1:
            return self.score_NK
        is_lost_N = self.is_lost_N
        score_NK = np.where(is_lost_N[:, None], np.float32(0), self.score_NK)
        total_NK, count_N = np.zeros_like(score_NK), np.zeros(len(self), np.float32)
        for shift in range(-(smooth // 2), smooth // 2 + 1):
            to, of = _shifted(shift, len(self))
            total_NK[to] += score_NK[of]
            count_N[to] += ~is_lost_N[of]
        total_NK[is_lost_N] = np.nan
        return total_NK / np.maximum(count_N, 1)[:, None]


@dataclass(frozen=True)
class Segment:
    """Part of a video with one label.

    Args:
        start: start of the segment, seconds since the first frame.
        end: end of the segment, seconds since the first frame.
        labels: label of the segment, then those of the next best classes; a score is the mean over the segment's
            windows, before smoothing.
    """

    start: float
    end: float
    labels: tuple[Label, ...]

    @property
    def label(self) -> str:
        """Name of the segment's class."""
        return self.labels[0].name

    @property
    def score(self) -> float:
        """Score of the segment's class."""
        return self.labels[0].score

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the first label in `labels` too."""
        labels = [{"name": label.name, "index": label.index, "score": label.score} for label in self.labels]
        return {"start": self.start, "end": self.end, "label": self.label, "score": self.score, "labels": labels}


@dataclass
class _Run:
    """Windows [first, stop) of one label."""

    first: int
    stop: int
    label: int


def find_segments(scores: WindowScores, rules: SegmentRules | None = None) -> tuple[Segment, ...]:
    """Return the segments of a video, in order.

    Args:
        scores: scores of the video's windows.
        rules: rules by which windows become segments; None: the defaults of `SegmentRules`.
    """
    rules = rules or SegmentRules()
    smooth_NK = scores.smoothed(rules.smooth)
    best_N = np.where(scores.is_lost_N, LOST, np.nan_to_num(smooth_NK, nan=-1.0).argmax(axis=1))
    with np.errstate(invalid="ignore"):
        best_N = np.where((best_N >= 0) & (smooth_NK.max(axis=1) < rules.min_score), NO_LABEL, best_N)
    if rules.min_seconds > 0:
        best_N = _without_short(best_N, smooth_NK, scores.border_M, rules.min_seconds)
    border_M = scores.border_M
    return tuple(
        Segment(float(border_M[run.first]), float(border_M[run.stop]), _labels(scores, run, rules.top))
        for run in _runs(best_N.tolist())
        if run.label >= 0
    )


def lost_stretches(scores: WindowScores) -> tuple[tuple[float, float], ...]:
    """Return start and end, seconds, of the times without scores, where most frames are lost."""
    border_M, runs = scores.border_M, _runs(np.where(scores.is_lost_N, LOST, NO_LABEL).tolist())
    return tuple((float(border_M[run.first]), float(border_M[run.stop])) for run in runs if run.label == LOST)


def _runs(labels: Sequence[int]) -> Iterator[_Run]:
    """Yield the runs of equal labels."""
    first = 0
    for label, group in itertools.groupby(labels):
        stop = first + len(list(group))
        yield _Run(first, stop, label)
        first = stop


def _without_short(label_N: np.ndarray, smooth_NK: np.ndarray, border_M: np.ndarray, min_seconds: float) -> np.ndarray:
    """Return labels without segments that are shorter than `min_seconds`.

    The time of short segments between two longer ones is divided between these, at the place where the scores of both
    add up to most; with a longer one on one side only it goes to that one. Without any longer one they become a segment
    of their best label, if it is long enough.
    """
    label_N = label_N.copy()

    def is_short(run: _Run) -> bool:
        return run.label >= 0 and bool(border_M[run.stop] - border_M[run.first] < min_seconds)

    groups = [(short, list(runs)) for short, runs in itertools.groupby(_runs(label_N.tolist()), key=is_short)]
    for place, (short, runs) in enumerate(groups):
        if not short:
            continue
        first, stop = runs[0].first, runs[-1].stop
        before = groups[place - 1][1][-1].label if place else NO_LABEL
        after = groups[place + 1][1][0].label if place + 1 < len(groups) else NO_LABEL
        score_nK = smooth_NK[first:stop]
        if before >= 0 and after >= 0:
            gain = np.concatenate([[0.0], np.cumsum(score_nK[:, before] - score_nK[:, after], dtype=np.float64)])
            border = first + int(gain.argmax())
            label_N[first:border], label_N[border:stop] = before, after
        elif before >= 0 or after >= 0:
            label_N[first:stop] = max(before, after)
        else:
            is_long = border_M[stop] - border_M[first] >= min_seconds
            label_N[first:stop] = score_nK.mean(axis=0).argmax() if is_long else NO_LABEL
    return label_N


def _labels(scores: WindowScores, run: _Run, top: int) -> tuple[Label, ...]:
    mean_K = scores.score_NK[run.first : run.stop].mean(axis=0, dtype=np.float64)
    order = [index for index in np.argsort(-mean_K, kind="stable").tolist() if index != run.label]
    names = scores.class_names
    return tuple(Label(names[index], index, float(mean_K[index])) for index in [run.label, *order][:top])


def _shifted(shift: int, length: int) -> tuple[slice, slice]:
    """Return the slices of the places, and of the places `shift` after them, both within `length`."""
    count = max(0, length - abs(shift))
    first, of_first = max(0, -shift), max(0, shift)
    return slice(first, first + count), slice(of_first, of_first + count)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
