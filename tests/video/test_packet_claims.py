from __future__ import annotations

import struct

import av
import numpy as np
import pytest

from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.file_facts import FileState, facts_of
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.verify import compare_random_access
from tests.conftest import SHARED
from tests.video.encoded import B_FRAMES, encode, without_packet, x264
from tests.video.odd_files import Part, mpeg4_file, packed, parts_of, with_dropped, write_parts

MOST = 30  # packets into the decoder for the last of 60 frames, a keyframe every 12 or 20


def packets_for(path, index, monkeypatch):
    """Return the number of packets that go into the decoder for one frame."""
    count = 0
    original = Decoder.decode

    def counting(self, packet):
        nonlocal count
        count += packet is not None
        return original(self, packet)

    with monkeypatch.context() as patch, VideoReader(str(path)) as video:
        patch.setattr(Decoder, "decode", counting)
        assert len(list(video.read([index]))) == 1
    return count


AVIS = {
    "mpeg4": {"bf": "2"},
    "msmpeg4v2": {},
    "msmpeg4": {},
    "wmv1": {},
    "wmv2": {},
    "mjpeg": {},
    "ffv1": {},
}


@pytest.mark.parametrize("codec", AVIS)
def test_avi_files_are_not_decoded_from_their_start(tmp_path, codec, monkeypatch):
    path = tmp_path / "video.avi"
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encode(path, codec=codec, options={"g": "12", **AVIS[codec]}, pixels=pixels)
    assert packets_for(path, 58, monkeypatch) <= MOST
    result = compare_random_access(str(path), count=None)
    assert (result.num_promised, result.num_frames, result.wrong) == (60, 60, ())
    assert not facts_of(FileState.of(str(path))).from_start


def test_h264_in_avi_without_b_frames_is_not_decoded_from_its_start(tmp_path, monkeypatch):
    path = tmp_path / "video.avi"
    encode(path, options=x264("bframes=0:keyint=12"))
    assert packets_for(path, 58, monkeypatch) <= MOST
    assert compare_random_access(str(path), count=None).wrong == ()
    encode(path, options=x264(B_FRAMES))
    assert packets_for(path, 58, monkeypatch) > MOST
    assert compare_random_access(str(path), count=None).wrong == ()


@pytest.mark.parametrize("name", ["video.avi", "video.mp4", "video.mkv"])
@pytest.mark.parametrize(
    ("change", "options", "num_frames"),
    [
        (iter, {"bf": "2"}, 60),  # the times are those of decoding
        (packed, {"bf": "2"}, 60),
        (with_dropped, {"bf": "0"}, 60),
        (lambda parts: [Part(part.data, True) for part in parts], {"bf": "0"}, 60),  # nothing but keyframes, it says
    ],
    ids=["b", "packed", "dropped", "lying"],
)
def test_mpeg4_is_read_by_its_own_headers(tmp_path, name, change, options, num_frames, monkeypatch):
    path = mpeg4_file(tmp_path, name, change, **options)
    result = compare_random_access(str(path), count=None)
    assert (result.num_frames, result.wrong) == (num_frames, ())
    # An AVI's header also counts the packets that repeat a frame.
    assert result.num_promised == num_frames + (9 if (change, name) == (with_dropped, "video.avi") else 0)
    assert not facts_of(FileState.of(str(path))).from_start
    assert packets_for(path, 57, monkeypatch) <= MOST


def test_packets_that_are_not_kept_are_numbered_when_they_are_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr("mutualnet3d.video.packet_list._MAX_KEPT_BYTES", 1000)
    for change, from_start in ((iter, False), (packed, True)):
        path = mpeg4_file(tmp_path, "video.avi", change, bf="2")
        assert compare_random_access(str(path)).wrong == ()
        assert facts_of(FileState.of(str(path))).from_start is from_start


def test_headers_that_differ_within_a_file_are_not_jumped_over(tmp_path):
    """Two recordings in one file: only the second one's keyframes have their own headers."""
    first = mpeg4_file(tmp_path, "first.avi", bf="2")
    encode(tmp_path / "fine.avi", codec="mpeg4", options={"g": "12", "flags": "+qpel"})
    parts = parts_of(tmp_path / "fine.avi")
    assert parts[0].data.startswith(b"\0\0\1\xb0")
    path = write_parts(first, tmp_path / "joined.avi", [*parts_of(first), *parts])
    result = compare_random_access(str(path), count=None)
    assert result.num_frames > 115
    assert result.wrong == ()
    assert facts_of(FileState.of(str(path))).from_start


def test_sync_flags_that_lie_are_found_out(tmp_path):
    """Phones call every picture of H.263 a keyframe."""
    source = tmp_path / "source.avi"
    encode(source, codec="h263", options={"g": "12"}, height=96, width=128)
    path = write_parts(source, tmp_path / "lying.3gp", [Part(part.data, True) for part in parts_of(source)])
    result = compare_random_access(str(path), count=None)
    assert (result.num_frames, result.wrong) == (60, ())
    assert facts_of(FileState.of(str(path))).from_start


def test_parameter_sets_that_change_are_not_jumped_over():
    path = SHARED / "videos" / "faults" / "flv_resize.flv"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    result = compare_random_access(str(path), count=24)
    assert (result.num_promised, result.num_frames, result.wrong) == (96, 96, ())
    with VideoReader(str(path)) as video:
        shapes = {frame.shape for index in (0, 47, 48, 95) for frame in video.read([index])}
    assert len(shapes) == 2


def test_times_that_are_not_in_the_order_of_display_are_not_believed(tmp_path):
    """H.264 whose container has the times of decoding, as copies out of AVI do."""
    source = tmp_path / "source.mkv"
    encode(source, options=x264(B_FRAMES))
    path = write_parts(source, tmp_path / "copied.mkv", parts_of(source))
    result = compare_random_access(str(path), count=None)
    assert (result.num_frames, result.wrong) == (60, ())
    with VideoReader(str(path)) as video:
        assert len(np.unique([frame.mean() for frame in video.read(range(60))])) == 60


def test_times_before_those_of_decoding_are_not_believed(tmp_path):
    path = tmp_path / "video.mp4"
    encode(path, options=x264(B_FRAMES))
    assert not facts_of(FileState.of(str(path))).from_start
    data = bytearray(path.read_bytes())
    place = data.index(b"ctts")
    (size,) = struct.unpack_from(">I", data, place - 4)
    struct.pack_into(">i", data, place + size - 8, -600)  # the last run of frames is shown before it is decoded
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert any(packet.pts < packet.dts for packet in container.demux(video=0) if packet.size)
    result = compare_random_access(str(path), count=None)
    assert (result.num_frames, result.wrong) == (60, ())


@pytest.mark.parametrize("end", ["zeros", "cut"])
def test_frames_after_a_broken_picture_of_mjpeg_have_the_numbers_of_decoding_from_the_start(video_named, tmp_path, end):
    source = video_named("mjpeg.avi")[0]
    path = tmp_path / "broken.avi"
    if end == "zeros":
        without_packet(source, path, 8)
    else:
        with av.open(str(source)) as container:
            last = [packet for packet in container.demux(video=0) if packet.size][40]
        path.write_bytes(source.read_bytes()[: last.pos + last.size // 2])
    result = compare_random_access(str(path), count=None)
    assert result.num_frames < 60
    assert result.wrong == ()
