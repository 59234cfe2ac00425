"""Frames that are decoded but not shown: VP8, VP9 and AV1 have frames that are there to be referred to alone.

Nothing but the frame's header says so. Encoders put such a frame into the packet of the next shown one, as a rule;
some give it a packet of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import av

_VP9_MARK, _VP9_LIST_MARK = 2, 6
_AV1_MOST_UNITS = 256  # of a packet; no encoder writes so many
_AV1_FRAME_HEADER, _AV1_FRAME = 3, 6


def shown_frames_counter(codec_name: str) -> Callable[[av.Packet], int] | None:
    """Return the function that gives the number of a packet's frames that are shown.

    It is None for all codecs whose packets always show one.
    """
    return {"vp8": _vp8, "vp9": _vp9, "av1": _av1, "libdav1d": _av1}.get(codec_name)


def _vp8(packet: av.Packet) -> int:
    """Count the shown frames of VP8 (RFC 6386, section 9.1)."""
    return memoryview(packet)[0] >> 4 & 1


def _vp9(packet: av.Packet) -> int:
    """Count the shown frames of VP9 (bitstream specification 0.6, sections 6.2 and annex B)."""
    data = memoryview(packet)
    last = data[-1]
    if last >> 5 == _VP9_LIST_MARK:
        num_frames, size_bytes = (last & 7) + 1, (last >> 3 & 3) + 1
        list_bytes = 2 + num_frames * size_bytes
        if len(data) >= list_bytes and data[-list_bytes] == last:
            start = num_shown = 0
            sizes = data[len(data) - list_bytes + 1 : -1]
            for number in range(num_frames):
                size = int.from_bytes(sizes[number * size_bytes : (number + 1) * size_bytes], "little")
                if size and start < len(data):
                    num_shown += _vp9_is_shown(data[start])
                start += size
            return num_shown
    return _vp9_is_shown(data[0])


def _vp9_is_shown(first: int) -> int:
    if first >> 6 != _VP9_MARK:
        return 1  # the decoder will say what that is
    is_profile_3 = first & 0x30 == 0x30
    bits = first >> 0 if is_profile_3 else first >> 1  # show_existing_frame, frame_type, show_frame
    return 1 if bits & 5 else 0


def _av1(packet: av.Packet) -> int:
    """Tell whether a packet of AV1 shows a frame (specification, sections 5.3 and 5.9): 0 or 1."""
    if packet.is_keyframe:
        return 1  # pictures that stand still have shorter headers
    data = memoryview(packet)
    place = 0
    for _ in range(_AV1_MOST_UNITS):
        if place >= len(data):
            break
        header = data[place]
        place += 2 if header & 4 else 1
        size, shift = len(data) - place, 0
        if header & 2:
            size = 0
            while place < len(data):
                size |= (data[place] & 0x7F) << shift
                shift += 7
                place += 1
                if not data[place - 1] & 0x80:
                    break
        is_frame = header >> 3 & 15 in (_AV1_FRAME_HEADER, _AV1_FRAME) and place < len(data)
        if is_frame and data[place] & 0x90:  # show_existing_frame, or show_frame after two bits of its type
            return 1
        place += size
    return 0
