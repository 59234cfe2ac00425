from __future__ import annotations

from dataclasses import dataclass

import pytest

from mutualnet3d.video.keyframe_run import NotBelieved, decode_run
from mutualnet3d.video.packet_index import PacketIndex


@dataclass
class Frame:
    pts: int | None
    key_frame: bool = False
    is_corrupt: bool = False
    is_error: bool = False


class Decoded:
    """Decoder that gives these frames, whatever it is fed."""

    def __init__(self, frames):
        self.frames, self.num_errors = frames, 0

    def run(self, packets, keys, may_skip):
        for frame in self.frames:
            self.num_errors += frame.is_error
            yield frame


class Packets:
    def __init__(self, may_skip):
        self.index, self.may_skip = PacketIndex([0, 2, 1, 3, 5, 4], [0, 3]), may_skip

    def packets(self, start, stop):
        return iter(())


def keys_of(frames, start=3, may_skip=True, is_probed=True, chosen=range(6)):
    run = decode_run(Decoded(frames), Packets(may_skip), start, 6, chosen, is_probed)
    return [frame.pts for frame in run]


GOOD = [Frame(3, key_frame=True), Frame(4), Frame(5)]


@pytest.mark.parametrize("may_skip", [False, True])
def test_a_keyframe_and_what_follows_is_believed(may_skip):
    assert keys_of(GOOD, may_skip=may_skip) == [3, 4, 5]
    leading = [Frame(2, is_corrupt=True), *GOOD]  # refers to what comes before the keyframe
    assert keys_of(leading, may_skip=may_skip) == [3, 4, 5]
    assert keys_of([Frame(key) for key in range(6)], start=0, may_skip=may_skip) == [0, 1, 2, 3, 4, 5]


def test_frames_may_only_be_missing_where_they_may_be_skipped():
    assert keys_of([GOOD[0], GOOD[2]]) == [3, 5]
    with pytest.raises(NotBelieved):
        keys_of([GOOD[0], GOOD[2]], may_skip=False)


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(3), Frame(4)],
        [Frame(3, key_frame=True, is_corrupt=True), Frame(4)],
        [Frame(4, key_frame=True)],
        [GOOD[0], Frame(4, is_corrupt=True)],
        [GOOD[0], Frame(4, is_error=True)],
        [GOOD[0], Frame(5), Frame(4)],
        [GOOD[0], Frame(3)],
        [GOOD[0], Frame(None)],
    ],
    ids=["no keyframe", "corrupt", "another", "damage", "error", "order", "twice", "no time"],
)
def test_what_contradicts_the_claims_is_not_believed(frames):
    with pytest.raises(NotBelieved):
        keys_of(frames)


def test_a_decoder_that_was_not_told_how_far_frames_are_reordered_is_not_the_files_fault():
    assert keys_of([GOOD[0], Frame(5), Frame(4)], is_probed=False) == [3, 5]


def test_a_frame_waits_for_those_that_it_may_refer_to():
    """4 stands after 5 in the file: it is not given before 5 has come undamaged."""
    frames = [GOOD[0], GOOD[1], Frame(5, is_corrupt=True)]
    run = decode_run(Decoded(frames), Packets(True), 3, 6, {3, 4}, True)
    assert next(run).pts == 3
    with pytest.raises(NotBelieved):
        next(run)
    assert keys_of(GOOD, chosen={4}) == [4]
    assert keys_of([GOOD[0], GOOD[1]], chosen={4}) == [4]  # what is not needed may be skipped
