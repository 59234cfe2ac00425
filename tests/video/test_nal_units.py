from __future__ import annotations

import av
import pytest

from mutualnet3d.video.nal_units import HEAD_BYTES, NalUnits, unescaped

AVCC = bytes([1, 66, 0, 30, 0xFF])  # lengths of 4 bytes
SEQUENCE, PICTURE, NOTE, SLICE = b"\x67abc", b"\x68de", b"\x06note", b"\x41" + bytes(range(1, 60))


def with_lengths(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4) + unit for unit in units)


def with_start_codes(*units: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


@pytest.mark.parametrize(("join", "extradata"), [(with_lengths, AVCC + b"\xe0\0"), (with_start_codes, b"")])
def test_sets_and_the_start_of_the_picture_are_found(join, extradata):
    units = NalUnits("h264", extradata)
    packet = av.Packet(join(NOTE, SEQUENCE, PICTURE, SLICE, SEQUENCE))
    assert units.before_picture(packet) == (SLICE[:HEAD_BYTES], [SEQUENCE, PICTURE])
    assert units.before_picture(av.Packet(join(NOTE))) == (b"", [])
    # Headers without an end, each of one byte.
    assert units.before_picture(av.Packet(join(*[b"\x06"] * 300, SLICE))) == (b"", [])


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\1", b"\0\0\0\0\0\0\0", b"\xff\xff\xff\xff\6", bytes(5000)])
def test_broken_packets_have_none(data):
    for extradata in (AVCC + b"\xe0\0", b""):
        assert NalUnits("h264", extradata).before_picture(av.Packet(data)) == (b"", [])


@pytest.mark.parametrize("name", ["closed.mp4", "closed.avi", "hevc.mp4", "hevc_open.ts"])
def test_sets_of_the_container_are_those_that_a_copy_into_a_stream_has(video_named, name):
    """MPEG-TS has the sets of a file before its first picture, whatever form the container's header had."""
    path = video_named(name)[0]
    copy = path.with_name(f"copy_of_{name}.ts")
    with av.open(str(path)) as container, av.open(str(copy), "w") as target:
        origin = container.streams.video[0]
        codec, extradata = origin.codec_context.name, origin.codec_context.extradata
        stream = target.add_stream_from_template(origin)
        for packet in container.demux(origin):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    with av.open(str(copy)) as container:
        first = next(container.demux(video=0))
        sets = NalUnits(codec, b"").before_picture(first)[1]
    assert len(sets) >= (2 if codec == "h264" else 3)
    of_container = NalUnits(codec, extradata).sets_of_container()
    assert [data for data in of_container if data in sets] == list(dict.fromkeys(sets))
    assert len(of_container) <= len(sets) + 1  # x265's has its note too


@pytest.mark.parametrize(
    ("packet", "head"),
    [
        (with_lengths(SLICE), SLICE[:HEAD_BYTES]),
        (with_lengths(b"\x09\xf0", SLICE), SLICE[:HEAD_BYTES]),
        (with_lengths(NOTE, SLICE), b""),
        (with_lengths(b"\x65" + SLICE), b""),
        (with_lengths(b"\x41\x9a\x02"), b""),
        (with_start_codes(SLICE), b""),
        (b"", b""),
    ],
)
def test_the_usual_form_of_a_packet_is_told_quickly(packet, head):
    extradata = b"" if packet == with_start_codes(SLICE) else AVCC + b"\xe0\0"
    assert NalUnits("h264", extradata).usual_head(av.Packet(packet), 1) == head


def test_bytes_that_keep_start_codes_out_are_removed():
    assert unescaped(b"\x41\0\0\3\1\0\0\3\0\0\3\2") == b"\x41\0\0\1\0\0\0\0\2"
