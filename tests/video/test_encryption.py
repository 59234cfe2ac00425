"""Encrypted files, made of clear ones by changing what their containers say."""

from __future__ import annotations

from struct import pack, unpack_from

import av
import numpy as np
import pytest

from mutualnet3d.video.container import open_file
from mutualnet3d.video.encryption import check_transport_for_scrambling
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_stream import FileStream
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.transcode import Encoding, transcode
from tests.conftest import SHARED, numbered_frames, write_video

CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return pack(">I4s", 8 + len(content), kind) + content


def protection(kind: bytes) -> bytes:
    """Return the boxes that a sample entry of common encryption has beside the entry that it stands for."""
    scheme = box(b"schm", bytes(4), b"cenc", pack(">I", 0x10000))
    track = box(b"schi", box(b"tenc", bytes(4), bytes([0, 0, 1, 8]), bytes(range(16))))
    return box(b"sinf", box(b"frma", kind), scheme, track)


def with_sample_entries(data: bytes, make, handler: bytes = b"vide") -> bytes:
    """A copy of an MP4 file in which `make` turns the only sample entry of each such track, kind and content, into
    others."""
    out, place = b"", 0
    while place + 8 <= len(data):
        size, kind = unpack_from(">I4s", data, place)
        content = data[place + 8 : place + size]
        if kind == b"stsd":
            entry_kind = content[12:16]
            entries = make(entry_kind, content[16:])
            content = pack(">II", 0, len(entries)) + b"".join(entries)
        elif kind in CONTAINERS and (kind != b"trak" or handler in content):
            content = with_sample_entries(content, make, handler)
        out += box(kind, content)
        place += size
    return out


@pytest.fixture(scope="module")
def clear(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clear") / "clear.mp4", numbered_frames(10), bf="0").read_bytes()


def test_a_copy_with_the_same_entry_is_read(tmp_path, clear):
    path = tmp_path / "same.mp4"
    path.write_bytes(with_sample_entries(clear, lambda kind, content: [box(kind, content)]))
    assert path.read_bytes() == clear
    with VideoReader(str(path)) as video:
        assert video.info.num_frames == 10


@pytest.mark.parametrize(
    ("sign", "make"),
    [
        ("encv", lambda kind, content: [box(b"encv", content, protection(kind))]),
        ("drmi", lambda kind, content: [box(b"drmi", content, protection(kind))]),
        # the first samples are clear, others are not
        ("encv", lambda kind, content: [box(kind, content), box(b"encv", content, protection(kind))]),
    ],
)
def test_an_encrypted_mp4_is_refused_wherever_it_is_read(tmp_path, clear, sign, make):
    path = tmp_path / "encrypted.mp4"
    path.write_bytes(with_sample_entries(clear, make))
    message = rf"encrypted\.mp4: the video is encrypted \(sample entry {sign}\); it cannot be decoded without its key"
    for read in (VideoReader, FileStream, lambda name: transcode(name, str(tmp_path / "out.mp4"), Encoding())):
        with pytest.raises(VideoDecodeError, match=message):
            read(str(path))
    assert not (tmp_path / "out.mp4").exists()


def test_sound_may_be_encrypted(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("libx264", rate=24), container.add_stream("aac", rate=8000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for frame_HWC in numbered_frames(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        container.mux([*video.encode(None), *sound.encode(None)])
    path.write_bytes(
        with_sample_entries(
            path.read_bytes(), lambda kind, content: [box(b"enca", content, protection(kind))], handler=b"soun"
        )
    )
    with VideoReader(str(path)) as video:
        assert video.info.num_frames == 5


@pytest.mark.skipif(not SHARED.exists(), reason=f"the real clips are not at {SHARED}")
@pytest.mark.parametrize("name", ["exo__subsample_encrypted_altref.webm", "exo__subsample_encrypted_noaltref.webm"])
def test_an_encrypted_webm_is_refused(name):
    with pytest.raises(VideoDecodeError, match=rf"{name}: the video is encrypted \(enc_key_id\)"):
        VideoReader(str(SHARED / "videos" / "diverse" / name))


def test_an_encrypted_wmv_is_refused(tmp_path):
    path = write_video(tmp_path / "clear.asf", numbered_frames(10), codec="wmv2")
    with VideoReader(str(path)) as video:
        assert video.info.num_frames == 10
    data = path.read_bytes()
    size, count = unpack_from("<QI", data, 16)
    parts = [b"secret", b"DRM\0", b"key\0", b"https://example.com\0"]
    content = b"".join(pack("<I", len(part)) + part for part in parts)
    encryption = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + pack("<Q", 24 + len(content)) + content
    head = data[:16] + pack("<QI", size + len(encryption), count + 1) + data[28:30]
    locked = tmp_path / "locked.wmv"
    locked.write_bytes(head + encryption + data[30:])
    with pytest.raises(VideoDecodeError, match=r"locked\.wmv: the video is encrypted \(\w+\)"):
        VideoReader(str(locked))


@pytest.mark.parametrize("before", [0, 4])
def test_a_scrambled_transport_stream_is_refused(tmp_path, before):
    path = write_video(tmp_path / "clear.ts", numbered_frames(20))
    with open_file(str(path)) as container:
        packet_id = container.stream.id
    packets = [bytearray(path.read_bytes()[place : place + 188]) for place in range(0, path.stat().st_size, 188)]
    of_video = [packet for packet in packets if (packet[1] & 0x1F) << 8 | packet[2] == packet_id]
    assert len(of_video) >= 20
    of_video[3][3] |= 0x80

    def write(name):
        written = tmp_path / name
        written.write_bytes(b"".join(bytes(before) + packet for packet in packets))
        return written

    with VideoReader(str(write("damaged.ts"))) as video:  # a single packet
        assert video.info.num_frames == 20
    for packet in of_video:
        packet[3] |= 0x80
    with pytest.raises(VideoDecodeError, match=r"locked\.ts: the video is encrypted \(scrambled packets\)"):
        VideoReader(str(write("locked.ts")))


@pytest.mark.parametrize("start", [b"", b"G", bytes(1000), b"G" * 1000])
def test_what_is_no_transport_stream_is_not_told_to_be_scrambled(start):
    check_transport_for_scrambling("name", start, 256)
