"""Frames of packets from a claimed keyframe on, as far as they can be believed."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import av

from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.packet_list import PacketList


class NotBelieved(Exception):
    """Error for claims of a file about its packets that its frames contradict."""


def decode_run(
    decoder: Decoder, packets: PacketList, start: int, stop: int, chosen: Collection[int], is_probed: bool
) -> Iterator[av.VideoFrame]:
    """Yield the frames that are needed of a run of packets that begins where a keyframe is claimed.

    The frames show if it is a keyframe, and if keys are in the order of being shown. Errors are concealed by what was
    decoded before: that has to be all of the video. A frame is given once those that stand before it in the file have
    come undamaged too, since it may refer to them.

    Args:
        decoder: decoder of the file.
        packets: packets of the file.
        start: position of the run's first packet.
        stop: position after the run's last packet.
        chosen: keys of the frames that are needed.
        is_probed: False if the decoder may not know how far frames are reordered; then the run ends where they are not
            in order.

    Raises:
        NotBelieved: a claim is false, or a frame is damaged.
    """
    first = packets.index.keys[start]
    last: int | None = None
    expected = None if packets.may_skip else iter(packets.index.shown_of(start, stop))
    latest_before = _latest_before(packets, start, stop, chosen)
    held: list[av.VideoFrame] = []
    num_errors = decoder.num_errors
    for frame in decoder.run(packets.packets(start, stop), chosen, packets.may_skip):
        key = frame.pts
        if key is None or first is None or (frame.is_corrupt and key >= first):
            raise NotBelieved
        if last is None and start:
            if key < first:
                continue  # it is shown before the keyframe, and refers to what comes before that
            if key > first or not frame.key_frame:
                raise NotBelieved
        if decoder.num_errors > num_errors:
            raise NotBelieved
        is_next = key == next(expected, None) if expected is not None else last is None or key > last
        if not is_next:
            if is_probed:
                raise NotBelieved
            return
        last = key
        if key in latest_before:
            held.append(frame)
        while held and latest_before[held[0].pts] <= key:
            yield held.pop(0)
    yield from held


def _latest_before(packets: PacketList, start: int, stop: int, chosen: Collection[int]) -> dict[int | None, int]:
    """Return the last key of the packets up to each of the chosen ones, by their keys."""
    latest_before: dict[int | None, int] = {}
    latest: int | None = None
    for key in packets.index.keys[start:stop]:
        if key is not None:
            latest = key if latest is None else max(key, latest)
            if key in chosen:
                latest_before[key] = latest
    return latest_before
