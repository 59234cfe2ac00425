from __future__ import annotations

import av
import pytest

from mutualnet3d.video.hidden_frames import shown_frames_counter
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.verify import compare_random_access
from tests.video.encoded import VIDEOS, encode
from tests.video.odd_files import split_packets

# frame_marker 2, profile 0, show_existing_frame, frame_type, show_frame
SHOWN, HIDDEN, AGAIN = 0b10_00_0_1_1_0, 0b10_00_0_1_0_0, 0b10_00_1_000
SHOWN_3, HIDDEN_3 = 0b10_11_0_0_1_1, 0b10_11_0_0_1_0


def superframe(*firsts: int) -> bytes:
    mark = 0b110_00_000 | (len(firsts) - 1)
    return b"".join(bytes([first, 7, 7]) for first in firsts) + bytes([mark, *(3 for _ in firsts), mark])


@pytest.mark.parametrize(
    ("codec", "data", "count"),
    [
        ("vp8", b"\x10\0\0", 1),
        ("vp8", b"\0\0\0", 0),
        ("vp9", bytes([SHOWN, 0, 0]), 1),
        ("vp9", bytes([HIDDEN, 0, 0]), 0),
        ("vp9", bytes([AGAIN]), 1),
        ("vp9", bytes([SHOWN_3, 0]), 0 + (SHOWN_3 & 5 > 0)),
        ("vp9", superframe(HIDDEN, SHOWN), 1),
        ("vp9", superframe(HIDDEN, HIDDEN), 0),
        ("vp9", superframe(SHOWN, SHOWN), 2),
        ("vp9", b"\0\0\xc9", 1),  # encrypted, or broken: the decoder says what it is
        ("libdav1d", bytes([0x12, 0, 0x32, 2, 0x10, 0]), 1),
        ("libdav1d", bytes([0x12, 0, 0x32, 2, 0x20, 0]), 0),
        ("av1", bytes([0x1A, 1, 0x80]), 1),
        ("av1", bytes([0x36, 0, 2, 0x20, 0, 0x32, 1, 0x30]), 1),
        ("av1", b"\x32", 0),
    ],
)
def test_shown_frames_are_counted(codec, data, count):
    assert shown_frames_counter(codec)(av.Packet(data)) == count


def test_packets_of_other_codecs_show_one_each():
    assert shown_frames_counter("h264") is None
    packet = av.Packet(b"\x32\x01\x20")
    packet.is_keyframe = True  # of AV1, whose pictures that stand still have no such marks
    assert shown_frames_counter("av1")(packet) == 1


VP9_AHEAD = {"cpu-used": "6", "deadline": "realtime", "lag-in-frames": "19", "auto-alt-ref": "1", "b": "200k"}
AV1_AHEAD = VIDEOS["av1.mkv"]["options"]


@pytest.mark.parametrize(
    ("codec", "options", "codec_id", "bitstream_filter"),
    [
        ("libvpx-vp9", VP9_AHEAD, b"V_VP9", "vp9_superframe_split"),
        ("libsvtav1", AV1_AHEAD, b"V_AV1", "av1_frame_split"),
    ],
)
def test_hidden_frames_in_packets_of_their_own_are_not_counted(tmp_path, codec, options, codec_id, bitstream_filter):
    if codec not in av.codecs_available:
        pytest.skip(f"this libav cannot encode with {codec}")
    joined = tmp_path / "joined.mkv"
    encode(joined, codec=codec, options=options)
    path = str(split_packets(joined, tmp_path / "split.mkv", codec_id, bitstream_filter))
    with VideoReader(path) as video:
        assert video._source.packets.num_packets > 60
        assert video.info.num_frames == 60
    result = compare_random_access(path, count=None)
    assert (result.num_promised, result.num_frames, result.wrong) == (60, 60, ())
