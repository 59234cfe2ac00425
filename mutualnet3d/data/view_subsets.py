"""Fewer views of a video among those of a test: which of them stand for a test of that many, arithmetic only.

A test of several spans and crops holds the scores of smaller tests, so that one pass tells the accuracy of each. A test
of k spans has its spans at places of its own; for each stands the span of the larger test that starts nearest to it, of
two equally near ones the earlier. Of ten spans, numbers 0 to 9:

    1 span    5                the middle of the video, where a single span lies
    2 spans   0, 5
    3 spans   0, 3, 7          a test of three starts at 0, 1/3 and 2/3 of the way, these at 0, 0.3 and 0.7
    5 spans   0, 2, 4, 6, 8

With three crops a smaller test has all three of them, or the centre one alone. The centre one of three is as large as
the picture's short side, while a single crop is smaller: it is near to it, not the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mutualnet3d.data.clip_sampling import place_in_segment, place_of_span

# Numbers of spans of smaller tests, as far as a test has more.
SPAN_COUNTS = (1, 2, 3, 5, 10)


@dataclass(frozen=True)
class ViewSubset:
    """Views of a test that stand for a smaller test.

    Args:
        spans: number of spans of the smaller test.
        crops: number of crops of each span.
        numbers: numbers of the views, ascending; view v is crop `v % num_crops` of span `v // num_crops`.
        is_same: True if the smaller test has these very views; False if its views lie near to them.
    """

    spans: int
    crops: int
    numbers: tuple[int, ...]
    is_same: bool


def view_subsets(num_spans: int, num_crops: int, segments: bool) -> tuple[ViewSubset, ...]:
    """Return the subsets of a test's views: all of them first, then those of fewer spans or of the centre crop alone.

    Args:
        num_spans: number of spans of a video in the test.
        num_crops: number of crops of each span.
        segments: True if the spans differ by the frame of each segment (Something-Something).
    """
    all_views = ViewSubset(num_spans, num_crops, tuple(range(num_spans * num_crops)), is_same=True)
    counts = [count for count in SPAN_COUNTS if count < num_spans]
    fewer = [
        _subset(num_spans, num_crops, spans, crops, place_in_segment if segments else place_of_span)
        for crops in ((num_crops, 1) if num_crops > 1 else (1,))
        for spans in (*counts, num_spans)
        if (spans, crops) != (num_spans, num_crops)
    ]
    return (all_views, *fewer)


def _subset(
    num_spans: int, num_crops: int, spans: int, crops: int, place_of: Callable[[int, int], Fraction]
) -> ViewSubset:
    """Return the subset of `spans` spans with `crops` crops, all of the test's or the centre one."""
    places = [place_of(span, num_spans) for span in range(num_spans)]
    needed = [place_of(span, spans) for span in range(spans)]
    nearest = [_nearest(places, place) for place in needed]
    crop_numbers = range(num_crops) if crops == num_crops else (num_crops // 2,)
    return ViewSubset(
        spans,
        crops,
        tuple(num_crops * span + crop for span in nearest for crop in crop_numbers),
        is_same=crops == num_crops and [places[span] for span in nearest] == needed,
    )


def _nearest(places: Sequence[Fraction], place: Fraction) -> int:
    """Return the position of the nearest of `places`, of equals the first."""
    return min(range(len(places)), key=lambda number: abs(places[number] - place))
