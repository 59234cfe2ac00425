"""Files of kinds that encoders here do not write: made of others' packets, or by changing some of their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext

from tests.video.encoded import encode

PICTURE = b"\0\0\1\xb6"
B_PICTURE = 2
# A picture of MPEG-4 Part 2 that is not coded, at time 0 of 24 ticks a second.
NOT_CODED = PICTURE + bytes([0b01_0_1_0000, 0b0_1_0_1_0000])
DROPPED = b"\x7f"


@dataclass(frozen=True)
class Part:
    """Packet to be written: its bytes, whether it is called a keyframe, its time; None: the next one."""

    data: bytes
    is_keyframe: bool
    time: int | None = None


def parts_of(path: Path) -> list[Part]:
    """Return the packets of a file, without their times."""
    with av.open(str(path)) as container:
        return [Part(bytes(packet), packet.is_keyframe) for packet in container.demux(video=0) if packet.size]


def write_parts(source: Path, target: Path, parts: Iterable[Part]) -> Path:
    """Write packets one after the other, each at its place or time, to a file with the headers of another one."""
    with av.open(str(source)) as like, av.open(str(target), "w") as container:
        origin = like.streams.video[0]
        stream = container.add_stream_from_template(origin)
        for place, part in enumerate(parts):
            packet = av.Packet(part.data)
            packet.pts = packet.dts = place if part.time is None else part.time
            packet.time_base, packet.is_keyframe, packet.stream = 1 / origin.average_rate, part.is_keyframe, stream
            container.mux(packet)
    return target


def packed(parts: list[Part]) -> Iterator[Part]:
    """Yield the packets as DivX and Xvid may write them: the first B-picture with the one before it, and at the end of
    each row of B-pictures an empty packet."""
    in_row = False
    for place, part in enumerate(parts):
        data = part.data.replace(b"\0\0\1\xb2Lavc", b"\0\0\1\xb2DivX503b1393p\0\0\1\xb2Lavc")
        next_one = parts[place + 1].data if place + 1 < len(parts) else PICTURE + b"\0"
        next_is_b = _kind(next_one) == B_PICTURE
        if _kind(data) != B_PICTURE:
            yield Part(data + next_one if next_is_b else data, part.is_keyframe)
            in_row = next_is_b
        elif in_row:
            # This picture is already written with the one before it.
            yield Part(next_one if next_is_b else NOT_CODED, False)
            in_row = next_is_b


def with_dropped(parts: list[Part]) -> Iterator[Part]:
    """Yield the packets, and in between some of one byte that are called keyframes, for dropped frames."""
    for place, part in enumerate(parts):
        yield part
        if place % 7 == 3:
            yield Part(DROPPED, True)


def _kind(data: bytes) -> int:
    return data[data.index(PICTURE) + 4] >> 6


def split_packets(source: Path, target: Path, codec_id: bytes, bitstream_filter: str) -> Path:
    """Write a Matroska file in which each frame, shown or not, has a packet of its own."""
    with av.open(str(source)) as whole, av.open(str(target), "w") as container:
        origin = whole.streams.video[0]
        width, height = origin.codec_context.width, origin.codec_context.height
        # Of VP8, since the muxer would join the frames of the others again.
        stream = container.add_mux_stream("vp8", rate=origin.average_rate, width=width, height=height)
        split = BitStreamFilterContext(bitstream_filter, origin)
        time = -1
        for packet in whole.demux(origin):
            if not packet.size:
                continue
            start, is_keyframe = packet.pts, packet.is_keyframe
            for place, frame in enumerate(split.filter(packet)):
                time = max(time + 1, start)
                copy = av.Packet(bytes(frame))
                copy.pts = copy.dts = time
                copy.time_base, copy.is_keyframe, copy.stream = origin.time_base, is_keyframe and not place, stream
                container.mux(copy)
    data = target.read_bytes()
    assert data.count(b"V_VP8") == 1
    target.write_bytes(data.replace(b"V_VP8", codec_id))
    return target


def mpeg4_file(folder: Path, name: str, change: Callable[[list[Part]], Iterable[Part]] = iter, **options: str) -> Path:
    """Write packets of MPEG-4 Part 2, which an encoder made with `options`, after a change."""
    source = folder / f"source_of_{name}.avi"
    encode(source, codec="mpeg4", options={"g": "12", **options})
    return write_parts(source, folder / name, change(parts_of(source)))
