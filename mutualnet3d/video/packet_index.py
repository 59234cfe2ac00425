"""Choice of the packets that have to be decoded for some frames of a video: index arithmetic only.

Packets stand in the file in the order in which they are decoded; frames are shown in the order of their timestamps. A
packet can be decoded once all packets from the keyframe before it have been.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise


@dataclass(frozen=True)
class PacketIndex:
    """Keys and keyframes of a video's packets, in the order of the file, before one is decoded.

    Args:
        keys: number by which each packet's frame is known, ascending in the order of being shown: its timestamp, in
            units of the stream, None where the file has none; or its place.
        keyframes: positions of the packets at which decoding can begin, ascending.
        hidden: positions of the packets whose frame is decoded but not shown (cut away by an edit list, or there to be
            referred to).
    """

    keys: Sequence[int | None]
    keyframes: Sequence[int]
    hidden: Collection[int] = ()

    @cached_property
    def shown(self) -> list[int] | None:
        """Keys of the shown frames, ascending; None if they do not tell the order of the frames.

        That is so if packets lack a key or share one, or if timestamps jump back where two recordings were joined. Then
        only decoding from the start says which frame comes when.
        """
        hidden = self.hidden
        times = [time for time in self.keys if time is not None]
        if len(times) < len(self.keys):
            return None
        first = times[0] if times else 0
        if hidden:
            times = [time for position, time in enumerate(times) if position not in hidden]
        # The decoder may give no frame that is shown before the first of the file.
        if not times or first > min(times):
            return None
        # Packets before a keyframe in the file are also shown before it, in every codec.
        latest = list(accumulate(times, max))
        keyframes = self._shown_keyframes if hidden else self.keyframes
        if any(latest[keyframe] != times[keyframe] for keyframe in keyframes):
            return None
        # And those after the next keyframe are shown after it.
        earliest = list(accumulate(reversed(times), min))[::-1]
        if any(earliest[later] < times[keyframe] for keyframe, later in pairwise(keyframes)):
            return None
        return sorted(times) if len(set(times)) == len(times) else None

    @property
    def _shown_keyframes(self) -> list[int]:
        """Places of the shown keyframes among the shown packets."""
        hidden = sorted(self.hidden)
        return [keyframe - bisect_left(hidden, keyframe) for keyframe in self.keyframes if keyframe not in self.hidden]

    def runs(self, keys: Collection[int]) -> list[tuple[int, int]]:
        """Return the stretches [start, stop) of packets to decode for the frames of `keys`.

        Each begins at a keyframe and ends with a packet of one of these frames; they do not overlap. Only for
        indices whose `shown` is not None.

        A frame that is shown before the keyframe which precedes it in the file may need the packets before that
        keyframe (an open group of pictures), so it is decoded from an earlier one.
        """
        runs: list[tuple[int, int]] = []
        for position, time in enumerate(self.keys):
            if time not in keys:
                continue
            start = self._start_for(position)
            while runs and start <= runs[-1][1]:
                start = min(start, runs.pop()[0])
            runs.append((start, position + 1))
        return runs

    def shown_of(self, start: int, stop: int) -> list[int]:
        """Return the keys of the frames that a run of packets gives, ascending, from the keyframe's on."""
        keys = sorted(
            key
            for position, key in enumerate(self.keys[start:stop], start)
            if key is not None and position not in self.hidden
        )
        first = self.keys[start]
        return keys if first is None else keys[bisect_left(keys, first) :]

    def _start_for(self, position: int) -> int:
        time = self.keys[position]
        for keyframe in reversed(self.keyframes[: bisect_right(self.keyframes, position)]):
            if self.keys[keyframe] <= time:  # type: ignore[operator]
                return keyframe
        return 0
