from __future__ import annotations

import re
import zlib
from pathlib import Path
from struct import pack, unpack_from

import pytest

from mutualnet3d.video import mp4_boxes
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.mp4_boxes import check_boxes
from mutualnet3d.video.reader import VideoReader

FAULTS = Path(__file__).parents[3] / "shared" / "videos" / "faults"


def box(kind: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return pack(">I4s", 8 + len(content), kind) + content


def numbers(*values: int) -> bytes:
    return pack(f">{len(values)}I", *values)


def index(count: int, size: int = 1, handler: bytes = b"vide", step: int = 512, chunk_samples: int = 1) -> bytes:
    """An index of one track: `count` samples of `size` bytes each, 4 chunks."""
    tables = [
        box(b"stts", numbers(0, 1, count, step)),
        box(b"stsz", numbers(0, size, count)),
        box(b"stsc", numbers(0, 1, 1, chunk_samples, 1)),
        box(b"stco", numbers(0, 4, 0, 0, 0, 0)),
    ]
    head = box(b"hdlr", numbers(0, 0), handler, bytes(13))
    media = box(b"mdia", head, box(b"minf", box(b"stbl", *tables)))
    return box(b"moov", box(b"trak", media))


def refused(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(VideoDecodeError, match=re.escape(f"{path}: ") + reason):
        check_boxes(str(path), str(path))
    with pytest.raises(VideoDecodeError, match=re.escape(f"{path}: ") + reason):
        VideoReader(str(path))


HEAD, DATA = box(b"ftyp", b"isom", bytes(4)), box(b"mdat", bytes(1000))
TOO_MANY = "claims more samples than the file's [0-9]+ bytes can hold"


@pytest.mark.parametrize(
    "content",
    [
        HEAD + index(1_000_000) + DATA,
        HEAD + DATA + index(1_000_000),
        HEAD + index(500, 1000) + DATA,
        # In a box that libav looks into, in one that nobody knows, in what is called free.
        HEAD + box(b"udta", index(1_000_000)) + DATA,
        HEAD + box(b"what", b"1234", index(1_000_000)) + DATA,
        HEAD + box(b"free", box(b"mvhd", bytes(100)), index(1_000_000)) + DATA,
        # A size of 64 bits, in all boxes; a box up to the end of the file.
        HEAD + pack(">I4sQ", 1, b"moov", 1000) + pack(">I4sQ", 1, b"stsz", 28) + numbers(0, 1, 1_000_000) + DATA,
        HEAD + DATA + pack(">I4s", 0, b"moov") + box(b"stsz", numbers(0, 1, 1_000_000)),
        # Sound: more samples than any codec packs into a byte; one entry per 1,024 samples of each chunk.
        HEAD + index(1_000_000, 1, b"soun", 1) + DATA,
        HEAD + index(1_000, 1, b"soun", 1, 1 << 31) + DATA,
        # Fragments: samples of which nothing is said but their number.
        HEAD + index(0) + box(b"moof", box(b"traf", box(b"trun", numbers(0, 80_000_000)))) + DATA,
        HEAD + index(0) + 3 * box(b"moof", box(b"traf", box(b"trun", numbers(0, 500)))) + DATA,
        HEAD + box(b"moov", box(b"cmov", box(b"cmvd", numbers(0), zlib.compress(index(1_000_000))))) + DATA,
        pack(">I4s", 8, b"wide") + DATA + index(1_000_000),
    ],
)
def test_more_samples_than_bytes_are_refused(tmp_path, content):
    refused(tmp_path / "a.mp4", content, f".*{TOO_MANY}")


def test_an_index_that_unfolds_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mp4_boxes, "MAX_UNFOLDED_BYTES", 10_000)
    bomb = box(b"moov", box(b"cmov", box(b"cmvd", numbers(0), zlib.compress(bytes(100_000)))))
    refused(tmp_path / "a.mp4", HEAD + bomb, "the compressed index has more than 10000 bytes")


def test_an_index_of_too_many_bytes_or_samples_is_refused(tmp_path, monkeypatch):
    listed = box(b"moov", box(b"trak", box(b"stsz", numbers(0, 0, 50, *[1] * 50))))
    monkeypatch.setattr(mp4_boxes, "MAX_SAMPLES", 49)
    refused(tmp_path / "a.mp4", HEAD + listed + DATA, "the index has 50 samples; allowed: at most 49")
    monkeypatch.setattr(mp4_boxes, "MAX_INDEX_BYTES", 100)
    refused(tmp_path / "a.mp4", HEAD + listed + DATA, "the index has 236 bytes; allowed: at most 100")


def test_what_the_file_can_hold_passes(tmp_path):
    path = tmp_path / "a.mp4"
    for content in (
        HEAD + index(1000) + DATA,
        HEAD + index(8000, 1, b"soun", 1) + DATA,  # packed sound
        HEAD + box(b"moov", box(b"trak", box(b"udta", b"stsz and trun, said in words, are not boxes, at all"))) + DATA,
        HEAD + index(0) + box(b"moof", box(b"trun", numbers(0x200, 2, 7, 7))) + DATA,
        HEAD + box(b"moov") + pack(">I4s", 8000, b"mdat"),  # cut off
    ):
        path.write_bytes(content)
        assert check_boxes("a", str(path))


def test_other_formats_are_left_alone_and_never_opened_as_mp4(tmp_path, numbered_video):
    path = tmp_path / "a.mp4"
    path.write_bytes(box(b"what", bytes(8)) + numbered_video.read_bytes())  # libav would look past the first box
    assert not check_boxes("a", str(path))
    with pytest.raises(VideoDecodeError, match="of no container format that is read"):
        VideoReader(str(path))
    path.write_bytes(b"")
    assert not check_boxes("a", str(path))


@pytest.mark.parametrize("name", ["claims_1M_frames.mp4", "claims_20M_frames.mp4"])
def test_files_that_cost_minutes_are_refused_at_once(name):
    if not (FAULTS / name).is_file():
        pytest.skip(f"{FAULTS / name} is not there")
    with pytest.raises(VideoDecodeError, match=TOO_MANY):
        VideoReader(str(FAULTS / name), timeout=5)


def test_real_boxes_are_found(numbered_video):
    """The search reads counts from the right place."""
    data = numbered_video.read_bytes()
    (place,) = mp4_boxes._boxes(data, b"stsz")
    assert unpack_from(">II", data, place + 4) == (0, 100)
