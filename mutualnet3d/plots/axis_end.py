"""End of an axis of milliseconds, so that a time far beyond the others does not squeeze them together.

A point beyond the end stands at the end as a triangle, with its time in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mutualnet3d.plots.curves import Curve, Point

# A time is far beyond the others where, for each of its clips, it is more than so many times the third quartile of all;
# of fewer times than these nothing is.
_FAR, _FEWEST = 4.0, 4
# Place of what lies beyond, relative to the largest of the others.
_PLACE = 1.15


def last_shown(costs: Sequence[float], clips: Sequence[int]) -> float:
    """Return the largest cost that the axis has room for.

    Args:
        costs: costs of videos, at least one.
        clips: number of clips of each video; a video of many clips takes long without being an outlier.
    """
    of_clips = sorted(cost / count for cost, count in zip(costs, clips, strict=True))
    if len(of_clips) < _FEWEST:
        return max(costs)
    limit = _FAR * of_clips[3 * (len(of_clips) - 1) // 4]
    return max(cost for cost, count in zip(costs, clips, strict=True) if cost / count <= limit)


def place_of(cost: float, last: float) -> float:
    """Return the place of a cost on an axis that ends at `last`; of two costs beyond, the larger is further right."""
    return cost if cost <= last else last * (_PLACE - 1e-6 * last / cost)


def within_axis(curves: Sequence[Curve], cost: str) -> list[Curve]:
    """Return the curves with times far beyond the others at the end of the axis.

    GFLOPs do not change: they are counted, and no mistake makes them large.
    """
    points = [point for curve in curves for point in curve.points]
    if cost != "milliseconds" or not points:
        return list(curves)
    last = last_shown([point.cost for point in points], [point.clips for point in points])

    def placed(point: Point) -> Point:
        if point.cost <= last:
            return point
        label = f"{point.label} {point.cost:.3g} ms".strip()
        return replace(point, cost=place_of(point.cost, last), label=label, beyond=point.cost)

    return [replace(curve, points=tuple(map(placed, curve.points))) for curve in curves]
