from __future__ import annotations

import pytest

from mutualnet3d.plots.axis_end import last_shown, place_of, within_axis
from mutualnet3d.plots.curves import Curve, Point


@pytest.mark.parametrize(
    ("costs", "last"),
    [
        ([5.0, 6.0, 8.0, 9.0, 10.0, 60.0], 10.0),  # as of a busy machine
        ([8.0, 10.0, 9.0, 600.0], 10.0),
        ([10.0, 60.0, 61.0, 8.0, 9.0, 7.0, 11.0, 12.0], 12.0),
        ([2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 80.0], 80.0),  # a wide front is one
        ([1.0, 2.0, 4.0, 8.0], 8.0),
        ([1.0, 100.0], 100.0),  # of few nothing is known
        ([3.0], 3.0),
    ],
)
def test_one_slow_time_does_not_end_the_axis(costs, last):
    assert last_shown(costs, [1] * len(costs)) == last
    assert last_shown(costs[::-1], [1] * len(costs)) == last


def test_a_video_of_many_clips_is_not_beyond():
    """The last is, which took 60 ms for each of ten clips."""
    costs, clips = [5.0, 6.0, 8.0, 9.0, 50.0, 60.0, 90.0, 600.0], [1, 1, 1, 1, 10, 10, 10, 10]
    assert last_shown(costs, clips) == 90.0


def test_what_lies_beyond_stands_at_the_end_in_order():
    assert place_of(9.0, 10.0) == 9.0
    assert 11.0 < place_of(60.0, 10.0) < place_of(61.0, 10.0) < 11.5


def test_points_beyond_keep_their_cost_in_words():
    points = [Point(cost, 50 + cost, f"w1.0-s{int(cost)}-t1") for cost in (5.0, 6.0, 8.0, 9.0)]
    curve = Curve("a", (*points, Point(60.0, 90.0, "w1.0-s60-t1"), Point(70.0, 80.0)))
    (placed,) = within_axis([curve], "milliseconds")
    assert placed.points[:4] == tuple(points)
    assert [(point.beyond, point.label) for point in placed.points[4:]] == [
        (60.0, "w1.0-s60-t1 60 ms"),
        (70.0, "70 ms"),
    ]
    assert all(point.cost == pytest.approx(1.15 * 9.0, rel=1e-3) for point in placed.points[4:])
    assert [point.top1 for point in placed.front] == [point.top1 for point in curve.front]
    assert within_axis([curve], "gflops") == [curve]  # GFLOPs are counted
