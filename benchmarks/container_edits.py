"""Edits of a container's tables that leave the video's data as they are: sync samples, times, edit lists, indices.

Each gives a file that muxers, recorders and copying tools write too, or write wrongly: what it says of its frames
differs from what the frames are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import pack_into, unpack_from

import numpy as np

Edit = Callable[[bytearray, np.random.Generator], bytearray]

_MOOV_PATH = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex")
_UNIT = 1 << 16  # 1 in the fixed-point numbers of a matrix


def edits_of(path: str) -> dict[str, Edit]:
    """Return the edits that a file's container has tables for: name -> edit, which changes the bytes that it is given.

    Args:
        path: path of the file, whose ending names the container.
    """
    ending = path.rsplit(".", 1)[-1]
    return {"mp4": MP4_EDITS, "mov": MP4_EDITS, "avi": AVI_EDITS, "mkv": MKV_EDITS, "webm": MKV_EDITS}.get(ending, {})


# ---- MP4 and MOV -----------------------------------------------------------------------------------------------------


def boxes(data: bytes | bytearray, kind: bytes, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the contents [start, stop) of the boxes of a kind in `data`, as a walk through the tree finds them."""
    stop = len(data) if stop is None else stop
    while start + 8 <= stop:
        size, name = unpack_from(">I4s", data, start)
        if size < 8:
            return
        if name == kind:
            yield start + 8, min(start + size, stop)
        if name in _MOOV_PATH:
            yield from boxes(data, kind, start + 8, min(start + size, stop))
        start += size


def _entries(data: bytearray, kind: bytes, width: int) -> list[int]:
    """Return the places of all entries, of `width` bytes, of the tables of a kind."""
    places: list[int] = []
    for start, stop in boxes(data, kind):
        (count,) = unpack_from(">I", data, start + 4)
        places += [start + 8 + width * entry for entry in range(min(count, (stop - start - 8) // width))]
    return places


def _rename(data: bytearray, kind: bytes) -> bytearray:
    """Make boxes of a kind into free space."""
    for start, _ in list(boxes(data, kind)):
        data[start - 4 : start] = b"free"
    return data


def _change(data: bytearray, places: list[int], rng: np.random.Generator, values: list[int]) -> bytearray:
    """Write one of `values`, 32 bits, to one of `places`."""
    if places:
        pack_into(">I", data, places[rng.integers(len(places))], values[rng.integers(len(values))] & 0xFFFFFFFF)
    return data


def _neighbours(value: int) -> list[int]:
    """Return values that a number could have been written as by mistake."""
    return [0, 1, value // 2, value * 2, value + 1, value * 100, 0x7FFFFFFF, 0xFFFFFFFF]


def stts_step(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Give one run of frames another distance in time."""
    places = _entries(data, b"stts", 8)
    if places:
        place = places[rng.integers(len(places))] + 4
        _change(data, [place], rng, _neighbours(unpack_from(">I", data, place)[0]))
    return data


def stts_count(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Give one run of frames another length."""
    places = _entries(data, b"stts", 8)
    if places:
        place = places[rng.integers(len(places))]
        _change(data, [place], rng, _neighbours(unpack_from(">I", data, place)[0]))
    return data


def stss_shift(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Call another sample a sync sample instead of one that is."""
    places = _entries(data, b"stss", 4)
    if places:
        place = places[rng.integers(len(places))]
        number = unpack_from(">I", data, place)[0]
        _change(data, [place], rng, [max(1, number + int(step)) for step in rng.integers(-5, 6, 4)])
    return data


def stss_gone(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Take the table of sync samples away: all samples are sync samples then."""
    return _rename(data, b"stss")


def stss_fewer(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Leave sync samples out at the end of their table."""
    for start, _ in list(boxes(data, b"stss")):
        (count,) = unpack_from(">I", data, start + 4)
        pack_into(">I", data, start + 4, int(rng.integers(count + 1)))
    return data


def ctts_offset(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Show one run of frames earlier or later."""
    places = _entries(data, b"ctts", 8)
    if places:
        place = places[rng.integers(len(places))] + 4
        value = unpack_from(">I", data, place)[0]
        step = max(value, 1)
        _change(data, [place], rng, [*_neighbours(value), value + step, value - step, value + 3 * step])
    return data


def ctts_gone(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Take the offsets away: frames are then said to be shown in the order of decoding."""
    return _rename(data, b"ctts")


def mdhd_timescale(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Give the track another unit of time."""
    places = [start + (20 if data[start] == 1 else 12) for start, _ in boxes(data, b"mdhd")]
    if places:
        place = places[rng.integers(len(places))]
        _change(data, [place], rng, _neighbours(unpack_from(">I", data, place)[0]))
    return data


def elst_media_time(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Begin the presentation at another time of the media, in the middle of a group of pictures or beyond the end."""
    places = [place + 4 for place in _entries(data, b"elst", 12)]
    if places:
        value = unpack_from(">I", data, places[0])[0]
        steps = [512 * int(step) for step in rng.integers(0, 48, 4)]
        _change(data, places, rng, [*_neighbours(value), *(value + step for step in steps)])
    return data


def elst_duration(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Show another length of the media."""
    places = _entries(data, b"elst", 12)
    if places:
        value = unpack_from(">I", data, places[0])[0]
        _change(data, places, rng, [*_neighbours(value), value // 3, value // 4])
    return data


def elst_gone(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Take the edit list away."""
    return _rename(data, b"edts")


def tkhd_matrix(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Turn, mirror or distort the picture."""
    turns = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
    mirrors = [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]
    odd = [(0, 0, 0, 0), (1, 1, 0, 1), (2, 0, 0, 1), (32767, 0, 0, 32767)]
    matrices = turns + mirrors + odd
    for start, _ in list(boxes(data, b"tkhd")):
        place = start + (52 if data[start] == 1 else 40)
        a, b, c, d = (_UNIT * value for value in matrices[rng.integers(len(matrices))])
        pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return data


def trun_entry(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Give one sample of a fragment another duration, size, flag or offset."""
    places = [place for start, stop in boxes(data, b"trun") for place in range(start + 8, stop - 3, 4)]
    if places:
        place = places[rng.integers(len(places))]
        value = unpack_from(">I", data, place)[0]
        _change(data, [place], rng, [*_neighbours(value), value ^ 0x10000, value ^ 0x2000000])
    return data


MP4_EDITS: dict[str, Edit] = {
    edit.__name__: edit
    for edit in (
        trun_entry,
        stts_step,
        stts_count,
        stss_shift,
        stss_gone,
        stss_fewer,
        ctts_offset,
        ctts_gone,
        mdhd_timescale,
        elst_media_time,
        elst_duration,
        elst_gone,
        tkhd_matrix,
    )
}


# ---- AVI -------------------------------------------------------------------------------------------------------------

_AVI_KEYFRAME = 0x10


def _idx1(data: bytearray) -> list[int]:
    """Return the places of the entries of an AVI's index: chunk, flags, offset, size."""
    place = data.rfind(b"idx1")
    if place < 0:
        return []
    (size,) = unpack_from("<I", data, place + 4)
    return list(range(place + 8, min(place + 8 + size, len(data)) - 15, 16))


def idx1_all_keyframes(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Call every chunk a keyframe."""
    for place in _idx1(data):
        pack_into("<I", data, place + 4, _AVI_KEYFRAME)
    return data


def idx1_some_keyframes(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Call some chunks keyframes, and others not, at random."""
    for place in _idx1(data):
        pack_into("<I", data, place + 4, _AVI_KEYFRAME * int(rng.integers(2)))
    return data


def idx1_no_keyframes(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Call no chunk a keyframe."""
    for place in _idx1(data):
        pack_into("<I", data, place + 4, 0)
    return data


def idx1_offset(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Place some chunks elsewhere: at another chunk, some bytes beside it, or outside of the file."""
    places = _idx1(data)
    for place in rng.permutation(places)[: rng.integers(1, 5)].tolist():
        (offset,) = unpack_from("<I", data, place + 8)
        other = unpack_from("<I", data, places[rng.integers(len(places))] + 8)[0]
        choices = [offset + 1, offset + 8, max(offset - 8, 0), other, 0, 0x7FFFFFFF]
        pack_into("<I", data, place + 8, choices[rng.integers(len(choices))])
    return data


def idx1_size(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Give some chunks another size."""
    places = _idx1(data)
    for place in rng.permutation(places)[: rng.integers(1, 5)].tolist():
        (size,) = unpack_from("<I", data, place + 12)
        pack_into("<I", data, place + 12, [0, 1, size // 2, size * 2, 0x7FFFFFFF][rng.integers(5)])
    return data


def idx1_chunk(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Give some entries to another stream."""
    places = _idx1(data)
    for place in rng.permutation(places)[: rng.integers(1, 5)].tolist():
        data[place : place + 4] = [b"01wb", b"01dc", b"rec ", b"\0\0\0\0"][rng.integers(4)]
    return data


def idx1_cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    """End the index early."""
    place = data.rfind(b"idx1")
    if place >= 0:
        (size,) = unpack_from("<I", data, place + 4)
        pack_into("<I", data, place + 4, 16 * int(rng.integers(size // 16 + 1)))
    return data


def idx1_gone(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Take the index away."""
    place = data.rfind(b"idx1")
    if place >= 0:
        data[place : place + 4] = b"JUNK"
    return data


def avih_frames(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Promise another number of frames."""
    place = data.find(b"avih")
    if place >= 0:
        (count,) = unpack_from("<I", data, place + 24)
        pack_into("<I", data, place + 24, [0, 1, count - 3, count + 3, 0x7FFFFFFF][rng.integers(5)])
    return data


AVI_EDITS: dict[str, Edit] = {
    edit.__name__: edit
    for edit in (
        idx1_all_keyframes,
        idx1_some_keyframes,
        idx1_no_keyframes,
        idx1_offset,
        idx1_size,
        idx1_chunk,
        idx1_cut,
        idx1_gone,
        avih_frames,
    )
}


# ---- Matroska and WebM -----------------------------------------------------------------------------------------------

_CUES, _CUE_TIME, _CUE_POSITION = b"\x1c\x53\xbb\x6b", b"\xb3", b"\xf1"


def _number(data: bytearray, place: int) -> tuple[int, int]:
    """Return an EBML number of data size at `place`, and the place after it."""
    length = 9 - data[place].bit_length() if data[place] else 9
    value = int.from_bytes(data[place : place + length], "big") & ((1 << (7 * length)) - 1)
    return value, place + length


def _cues(data: bytearray) -> tuple[int, int]:
    """Return the place [start, stop) of what the cues hold; (0, 0) where there are none."""
    place = data.rfind(_CUES)
    if place < 0:
        return 0, 0
    size, start = _number(data, place + 4)
    return start, min(start + size, len(data))


def _cue_values(data: bytearray, kind: bytes) -> list[tuple[int, int]]:
    """Return the places [start, stop) of numbers of a kind in the cues."""
    start, stop = _cues(data)
    places = []
    for place in range(start, stop - 2):
        if data[place : place + 1] == kind and 0x81 <= data[place + 1] <= 0x88:
            end = place + 2 + (data[place + 1] & 0x0F)
            if end <= stop:
                places.append((place + 2, end))
    return places


def _change_cues(data: bytearray, kind: bytes, rng: np.random.Generator) -> bytearray:
    for start, stop in _cue_values(data, kind):
        if rng.integers(2):
            value = int.from_bytes(data[start:stop], "big")
            values = [0, value + 1, value + 100, value // 2, value * 2, 1 << 40]
            limit = (1 << (8 * (stop - start))) - 1
            data[start:stop] = min(values[rng.integers(len(values))], limit).to_bytes(stop - start, "big")
    return data


def cues_time(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Give some entries of the cues another time."""
    return _change_cues(data, _CUE_TIME, rng)


def cues_position(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Place some entries of the cues elsewhere."""
    return _change_cues(data, _CUE_POSITION, rng)


def cues_noise(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Write noise into the cues."""
    start, stop = _cues(data)
    for place in rng.integers(start, max(stop, start + 1), 4).tolist():
        data[place] = rng.integers(256) if stop > start else data[place]
    return data


def cues_gone(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Give the cues a name that nobody reads."""
    place = data.rfind(_CUES)
    if place >= 0:
        data[place + 3] ^= 0x01
    return data


def block_flags(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Change the keyframe flags of some blocks of the first track."""
    place = 0
    while (place := data.find(b"\xa3", place + 1)) >= 0:
        if place + 12 > len(data) or not data[place + 1]:
            continue
        size, start = _number(data, place + 1)
        if 4 < size <= len(data) - start and data[start] == 0x81 and data[start + 3] & 0x7F in (0, 1):
            data[start + 3] = int(rng.integers(2)) * 0x80
    return data


MKV_EDITS: dict[str, Edit] = {
    edit.__name__: edit for edit in (cues_time, cues_position, cues_noise, cues_gone, block_flags)
}
