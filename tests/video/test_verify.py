from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.verify import RandomAccess, compare_random_access
from tests.conftest import SHARED, numbered_frames
from tests.video.encoded import without_packet


def test_frames_of_a_good_file_are_the_same(video_named):
    path = str(video_named("open.mp4")[0])
    assert compare_random_access(path) == RandomAccess(60, 60, 0, 8, ())
    assert compare_random_access(path, count=None) == RandomAccess(60, 60, 0, 60, ())
    assert compare_random_access(path, most_seconds=0.0) == RandomAccess(60, 60, 0, 1, ())


def test_a_wrong_frame_is_seen(video_named, monkeypatch):
    path = str(video_named("closed.mp4")[0])
    original = VideoReader.read

    def brighter(self, indices):
        for index, frame in zip(indices, original(self, indices), strict=True):
            yield frame | np.uint8(1 if index in (5, 59) else 0)

    monkeypatch.setattr(VideoReader, "read", brighter)
    assert compare_random_access(path, count=None).wrong == (5, 59)


def test_a_corrected_count_is_told(video_named, tmp_path):
    path = without_packet(video_named("mjpeg.mov")[0], tmp_path / "59.mov", 58)
    result = compare_random_access(str(path), count=None)
    assert (result.num_promised, result.num_frames, result.wrong) == (60, 59, ())


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(VideoDecodeError, match="no container format"):
        compare_random_access(str(path))


@pytest.mark.parametrize("name", ["closed.mp4", "baseline.mp4", "mpeg2.ts", "mpeg4.avi"])
def test_frames_of_a_damaged_file_are_those_of_its_decoding_from_the_start(video_named, tmp_path, name):
    """Errors are concealed by what was decoded before."""
    source = video_named(name)[0]
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in (packets[12], packets[30]):
        middle = packet.pos + packet.size // 2
        data[middle : packet.pos + packet.size] = bytes(packet.pos + packet.size - middle)
    path = tmp_path / name
    path.write_bytes(data)
    result = compare_random_access(str(path), count=None)
    assert result.num_damaged > 0
    assert result.wrong == ()


def shared_files() -> list[Path]:
    """Return the files with faults and the diverse ones; one of none where they are missing."""
    folders = [SHARED / "videos" / name for name in ("faults", "diverse")]
    files = [path for folder in folders if folder.exists() for path in sorted(folder.iterdir())]
    return [path for path in files if path.suffix != ".md"] or [Path("none")]


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "videos").exists(), reason=f"the real videos are not at {SHARED / 'videos'}")
@pytest.mark.parametrize("path", shared_files(), ids=lambda path: path.name)
def test_each_frame_of_real_videos_is_the_same_alone_or_the_file_is_refused(path):
    large = path.name.startswith(("exo__sample_with_colr", "mmaction2__S001"))
    try:
        result = compare_random_access(str(path), timeout=120, count=12 if large else 300)
    except VideoDecodeError:
        with pytest.raises(VideoDecodeError):
            VideoReader(str(path)).read([0]).__next__()
        return
    assert result.wrong == ()
    assert result.num_compared == min(result.num_frames, 12 if large else 300)


def test_repeated_frames_of_an_avi_are_not_promised(tmp_path):
    """An AVI header counts periods, of which a frame may be shown for several."""
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number, picture in enumerate(numbered_frames(10)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = 5 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / "a.avi")) as container:
        assert container.streams.video[0].frames == 46
    result = compare_random_access(str(tmp_path / "a.avi"))
    assert (result.num_promised, result.num_frames, result.wrong) == (10, 10, ())
