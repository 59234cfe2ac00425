"""Segments by tables: windows of two seconds, one a second; their middles are 1, 2, 3, ... s."""

from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.results.segments import SegmentRules, WindowScores, find_segments, lost_stretches

NAMES = ("a", "b", "c")
NAN = float("nan")


def scores_of(*rows, every=1.0, span=2.0, rest=0.5):
    """Return the scores of windows; `rest`: seconds of the video after the last one."""
    score_NK = np.array(rows, np.float32)
    start_N = every * np.arange(len(rows))
    return WindowScores(score_NK, start_N, span, start_N[-1] + span + rest, NAMES)


A, B, C, LOST = (0.8, 0.1, 0.1), (0.1, 0.7, 0.2), (0.0, 0.4, 0.6), (NAN, NAN, NAN)
ALONE = SegmentRules(smooth=1)


def spans_of(scores, rules):
    return [(segment.start, segment.end, segment.label) for segment in find_segments(scores, rules)]


def test_neighbours_with_one_label_are_a_segment():
    scores = scores_of(A, A, B, B, B, C)
    assert repr(scores) == "<WindowScores: 6 windows of 7.5 s, 3 classes>"
    assert scores.border_M.tolist() == [0, 1.5, 2.5, 3.5, 4.5, 5.5, 7.5]
    assert spans_of(scores, ALONE) == [(0, 2.5, "a"), (2.5, 5.5, "b"), (5.5, 7.5, "c")]
    segments = find_segments(scores, SegmentRules(smooth=1, top=2))
    assert segments[0].score == pytest.approx(0.8)
    assert [(label.name, label.index) for label in segments[2].labels] == [("c", 2), ("b", 1)]
    assert segments[2].to_json() == {
        "start": 5.5,
        "end": 7.5,
        "label": "c",
        "score": pytest.approx(0.6),
        "labels": [
            {"name": "c", "index": 2, "score": pytest.approx(0.6)},
            {"name": "b", "index": 1, "score": pytest.approx(0.4)},
        ],
    }


def test_one_window_is_the_whole_video():
    assert spans_of(scores_of(B, rest=0.0), SegmentRules()) == [(0, 2, "b")]


def test_smoothing_is_a_mean_of_neighbours_as_far_as_there_are_some():
    scores = scores_of(A, B, A, A, LOST, B)
    assert scores.smoothed(1) is scores.score_NK
    rows = [np.array(row) for row in (A, B, A, A, LOST, B)]
    expected = [
        (rows[0] + rows[1]) / 2,
        (rows[0] + rows[1] + rows[2]) / 3,
        (rows[1] + rows[2] + rows[3]) / 3,
        (rows[2] + rows[3]) / 2,
        rows[4],
        rows[5],
    ]
    np.testing.assert_allclose(scores.smoothed(3), expected, rtol=1e-6)
    whole = np.mean([rows[0], rows[1], rows[2], rows[3], rows[5]], axis=0)
    np.testing.assert_allclose(scores.smoothed(99)[[0, 5]], [whole, whole], rtol=1e-6)
    # A border in the middle stays there, a window alone goes.
    assert spans_of(scores_of(A, A, A, B, B, B), SegmentRules()) == [(0, 3.5, "a"), (3.5, 7.5, "b")]
    assert spans_of(scores_of(A, A, B, A, A), SegmentRules()) == [(0, 6.5, "a")]


def test_a_score_is_the_mean_before_smoothing():
    (segment,) = find_segments(scores_of(A, A, B, A, A), SegmentRules())
    assert segment.score == pytest.approx((4 * 0.8 + 0.1) / 5)


def test_low_scores_have_no_label():
    scores = scores_of(A, C, C, B)
    assert spans_of(scores, SegmentRules(smooth=1, min_score=0.65)) == [(0, 1.5, "a"), (3.5, 5.5, "b")]
    assert spans_of(scores, SegmentRules(smooth=1, min_score=0.9)) == []


def test_lost_windows_part_segments():
    scores = scores_of(A, LOST, LOST, A, LOST)
    assert spans_of(scores, ALONE) == [(0, 1.5, "a"), (3.5, 4.5, "a")]
    assert lost_stretches(scores) == ((1.5, 3.5), (4.5, 6.5))
    assert lost_stretches(scores_of(A, B)) == ()


@pytest.mark.parametrize(
    ("rows", "min_seconds", "expected"),
    [
        ((A, A, B, C, C), 1.2, [(0, 2.5, "a"), (2.5, 6.5, "c")]),  # b's window: 0.1 for a, 0.2 for c
        ((A, A, B, A, A), 1.2, [(0, 6.5, "a")]),
        ((A, A, A, B, C, B, B), 1.2, [(0, 3.5, "a"), (3.5, 8.5, "b")]),
        # 0.4, then 0.1 for a; 0, then 0.2 for c: the border is between the two.
        ((A, A, (0.4, 0.6, 0.0), B, C, C), 2.2, [(0, 3.5, "a"), (3.5, 7.5, "c")]),
        ((A, B, B, B), 2.2, [(0, 5.5, "b")]),
        ((A, LOST, B, LOST, C), 1.2, [(0, 1.5, "a"), (4.5, 6.5, "c")]),  # alone between two lost ones
        ((A, B, B, C), 3.0, [(0, 5.5, "b")]),  # all are short, together they are not
        ((A, B, C), 100.0, []),
    ],
)
def test_short_segments_go_to_those_beside_them(rows, min_seconds, expected):
    scores = scores_of(*rows)
    assert spans_of(scores, SegmentRules(smooth=1, min_seconds=min_seconds)) == expected


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"smooth": 2}, "smooth is 2; it must be an odd number of windows: 1, 3, 5, ..."),
        ({"smooth": 0}, "smooth is 0; it must be an odd number of windows"),
        ({"smooth": 3.0}, "smooth is 3.0; it must be an odd number of windows"),
        ({"min_score": 1.5}, "min_score is 1.5; it must be a number from 0 to 1"),
        ({"min_score": NAN}, "min_score is nan; it must be"),
        ({"min_seconds": -1}, "min_seconds is -1; it must be a number of at least 0, seconds"),
        ({"top": 0}, "top is 0; it must be an integer of at least 1"),
        ({"top": True}, "top is True; it must be an integer"),
    ],
)
def test_rules_that_are_not_allowed(rules, message):
    with pytest.raises(ValueError) as raised:
        SegmentRules(**rules)
    assert str(raised.value).startswith(message)
