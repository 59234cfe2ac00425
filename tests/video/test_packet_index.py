from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutualnet3d.video.packet_index import PacketIndex

# In the order of decoding. Shown: I0 b1 B2 b3 P4 | I5 b6 P7.
PYRAMID = [0, 4, 2, 1, 3, 5, 7, 6]
# An open group of pictures: 3 and 4 follow the keyframe 5 in the file, are shown before it and refer to 2.
OPEN = [0, 2, 1, 5, 3, 4, 7, 6]


@pytest.mark.parametrize(
    ("pts", "keyframes", "hidden", "shown"),
    [
        ([0, 1, 2], [0], (), [0, 1, 2]),
        (PYRAMID, [0, 5], (), [0, 1, 2, 3, 4, 5, 6, 7]),
        (OPEN, [0, 3], (), [0, 1, 2, 3, 4, 5, 6, 7]),
        ([-400, 700, 90000], [0], (), [-400, 700, 90000]),
        ([0, 1, 2], [], (), [0, 1, 2]),
        ([0, 1, 2, 3], [0, 2], {0, 1}, [2, 3]),
        ([0, 1, 2, 0], [0, 1], {0}, [0, 1, 2]),  # a hidden frame may share a timestamp
        ([5, 1, 2, 7], [0, 1], {0}, None),  # frames that are shown before the first of the file may not come at all
        ([None, 1, 2], [0, 1], {0}, None),
        ([0, None, 2], [0], (), None),
        ([0, 2, 2], [0], (), None),
        ([0, 3, 1, 3], [0], (), None),
        ([], [], (), None),
        ([0, 1], [0], {0, 1}, None),
        ([10, 11, 12, 5, 6, 7], [0, 3], (), None),  # two recordings, the second of which began earlier
        ([10, 11, 14, 13, 15, 16], [0, 3], (), None),
    ],
)
def test_shown(pts, keyframes, hidden, shown):
    assert PacketIndex(pts, keyframes, hidden).shown == shown


@pytest.mark.parametrize(
    ("pts", "keyframes", "times", "runs"),
    [
        ([0, 1, 2, 3], [0], {0}, [(0, 1)]),
        ([0, 1, 2, 3], [0], {3}, [(0, 4)]),
        ([0, 1, 2, 3], [0], set(), []),
        ([0, 1, 2, 3], [], {2}, [(0, 3)]),  # no packet is marked as a keyframe
        ([0, 1, 2, 3], [1], {0}, [(0, 1)]),  # before the first keyframe
        (PYRAMID, [0, 5], {2}, [(0, 3)]),
        (PYRAMID, [0, 5], {4}, [(0, 2)]),
        (PYRAMID, [0, 5], {6}, [(5, 8)]),
        (PYRAMID, [0, 5], {0, 6}, [(0, 1), (5, 8)]),
        (PYRAMID, [0, 5], {3, 5}, [(0, 6)]),  # runs that touch are one
        (OPEN, [0, 3], {5}, [(3, 4)]),
        (OPEN, [0, 3], {3}, [(0, 5)]),  # a leading picture takes the group before it
        (OPEN, [0, 3], {3, 7}, [(0, 7)]),
        (OPEN, [0, 3], {0, 7}, [(0, 1), (3, 7)]),
        # A leading picture of the third group ends in the second, whose own run is swallowed.
        ([0, 1, 4, 3, 8, 5, 9], [0, 2, 4], {4, 5}, [(2, 6)]),
        (list(range(12)), [0, 4, 8], {1, 5, 6, 11}, [(0, 2), (4, 7), (8, 12)]),
        (list(range(12)), [0, 4, 8], {1, 11}, [(0, 2), (8, 12)]),
    ],
)
def test_runs(pts, keyframes, times, runs):
    assert PacketIndex(pts, keyframes).runs(times) == runs


def test_a_run_may_start_at_a_hidden_keyframe():
    """An edit list that begins within a group of pictures: its first frames are decoded for the others."""
    index = PacketIndex([0, 1, 2, 3, 4, 5], [0, 4], hidden={0, 1})
    assert index.shown == [2, 3, 4, 5]
    assert index.runs({2}) == [(0, 3)]


@st.composite
def index_and_times(draw: st.DrawFn) -> tuple[PacketIndex, set[int]]:
    """Groups of pictures in shuffled order; the keyframe first, or after it some that are shown before it."""
    pts: list[int] = []
    keyframes: list[int] = []
    for _ in range(draw(st.integers(1, 5))):
        keyframes.append(len(pts))
        first = len(pts)
        leading = draw(st.integers(0, 3)) if first else 0
        others = draw(st.permutations(range(leading + 1, leading + 1 + draw(st.integers(0, 4)))))
        pts += [first + leading, *(first + place for place in range(leading)), *(first + place for place in others)]
    step, shift = draw(st.sampled_from([1, 40, 512])), draw(st.integers(-1000, 1000))
    pts = [step * time + shift for time in pts]
    return PacketIndex(pts, keyframes), draw(st.sets(st.sampled_from(pts)))


@settings(max_examples=300, deadline=None)
@given(index_and_times())
def test_runs_are_apart_and_hold_all_that_is_wanted_with_its_keyframe(case):
    index, times = case
    assert index.shown == sorted(index.keys)
    runs = index.runs(times)
    for start, stop in runs:
        assert start in index.keyframes
        assert index.keys[stop - 1] in times, "a run ends with a packet that is needed"
        assert start < stop
    assert all(stop < next_start for (_, stop), (next_start, _) in pairwise(runs))
    for time in times:
        position = index.keys.index(time)
        (start, _), *others = [(start, stop) for start, stop in runs if start <= position < stop]
        assert not others
        # From a keyframe that is shown no later, all that stands between it and the frame.
        assert any(start <= key <= position and index.keys[key] <= time for key in index.keyframes)
    assert runs or not times
