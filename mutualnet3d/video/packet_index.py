"""Which packets of a video have to be decoded for the frames that are wanted: index arithmetic only.

Packets stand in the file in the order in which they are decoded; frames are shown in the order of their timestamps. A
packet can be decoded once all packets from the keyframe before it have been.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate


@dataclass(frozen=True)
class PacketIndex:
    """What is known of a video's packets before one is decoded, in the order of the file.

    Args:
        pts: timestamp at which each packet's frame is shown, in units of the stream; None where the file has none.
        keyframes: positions of those at which decoding can begin, ascending.
        hidden: positions of those whose frame is decoded but not shown (cut away by an edit list, or there to
            be referred to).
    """

    pts: Sequence[int | None]
    keyframes: Sequence[int]
    hidden: Collection[int] = ()

    @cached_property
    def shown(self) -> list[int] | None:
        """The timestamps of the shown frames, ascending; None if packets lack one or share one, or if they jump back as
        where two recordings were joined. Then nothing but decoding from the start says which frame comes when."""
        hidden = self.hidden
        known = [time for time in self.pts if time is not None]
        if len(known) < len(self.pts):
            return None
        if hidden:
            known = [time for position, time in enumerate(known) if position not in hidden]
        if not known:
            return None
        # What stands before a keyframe in the file is also shown before it, in every codec.
        latest = list(accumulate(known, max))
        keyframes = self._shown_keyframes if hidden else self.keyframes
        if any(latest[keyframe] != known[keyframe] for keyframe in keyframes):
            return None
        return sorted(known) if len(set(known)) == len(known) else None

    @property
    def _shown_keyframes(self) -> list[int]:
        """The places of the shown keyframes among the shown packets."""
        hidden = sorted(self.hidden)
        return [keyframe - bisect_left(hidden, keyframe) for keyframe in self.keyframes if keyframe not in self.hidden]

    def runs(self, wanted: Collection[int]) -> list[tuple[int, int]]:
        """The stretches [start, stop) of packets to decode for the frames with the timestamps `wanted`: each begins at
        a keyframe and ends with a wanted packet; they do not overlap. For indices whose `shown` is not None.

        A frame that is shown before the keyframe which precedes it in the file may need what came before that keyframe
        (an open group of pictures), so it is decoded from an earlier one.
        """
        runs: list[tuple[int, int]] = []
        for position, time in enumerate(self.pts):
            if time not in wanted:
                continue
            start = self._start_for(position)
            while runs and start <= runs[-1][1]:
                start = min(start, runs.pop()[0])
            runs.append((start, position + 1))
        return runs

    def _start_for(self, position: int) -> int:
        time = self.pts[position]
        for keyframe in reversed(self.keyframes[: bisect_right(self.keyframes, position)]):
            if self.pts[keyframe] <= time:  # type: ignore[operator]
                return keyframe
        return 0
