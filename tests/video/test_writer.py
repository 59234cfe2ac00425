from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from mutualnet3d.files.atomic import WriteError
from mutualnet3d.video import writer as writer_module
from mutualnet3d.video.errors import VideoEncodeError
from mutualnet3d.video.writer import BT709, open_video_writer
from tests.conftest import numbered_frames

FAST = {"preset": "ultrafast", "crf": "1"}
TICK = Fraction(1, 1000)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def decoded(path):
    """The frames of a file, its frame rate and the aspect of its pixels."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        return list(container.decode(stream)), stream.average_rate, stream.sample_aspect_ratio


def test_pictures_come_back_at_their_even_times(tmp_path):
    path = tmp_path / "out" / "a.mp4"
    with open_video_writer(str(path), 12.5, options={**FAST, "g": "4", "sc_threshold": "0"}) as writer:
        for picture in numbered_frames(10) * np.uint8(2):
            writer.write(picture)
        assert names(path.parent) == [f".a.mp4.{writer_module.os.getpid()}.tmp"]
    assert names(path.parent) == ["a.mp4"]
    frames, rate, _ = decoded(path)
    assert rate == 12.5
    assert [frame.time for frame in frames] == pytest.approx([number / 12.5 for number in range(10)])
    assert [frame.key_frame for frame in frames] == [number % 4 == 0 for number in range(10)]
    levels = [frame.to_ndarray(format="rgb24").mean() / 4 for frame in frames]
    assert levels == pytest.approx(range(10), abs=0.6)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index comes first


def test_pictures_with_times_pixels_and_colours_of_their_own(tmp_path):
    path, seconds = tmp_path / "a.mp4", [0.0, 0.04, 0.5, 0.5, 0.7]  # two at one time
    aspect = Fraction(16, 15)
    with open_video_writer(str(path), 25, options=FAST, time_base=TICK, colours=BT709) as writer:
        for time in seconds:
            writer.write(np.full((48, 64, 3), (200, 60, 30), np.uint8), time, aspect)
    frames, _, written_aspect = decoded(path)
    assert [frame.time for frame in frames] == pytest.approx([0.0, 0.04, 0.5, 0.501, 0.7])
    assert written_aspect == aspect
    first = frames[0]
    assert (first.colorspace, first.color_primaries, first.color_trc, first.color_range) == (1, 1, 1, 1)
    rgb = first.reformat(format="rgb24", src_colorspace=1).to_ndarray().astype(int)
    assert np.abs(rgb[24, 32] - (200, 60, 30)).max() <= 4


def test_an_odd_line_is_left_out(tmp_path):
    with open_video_writer(str(tmp_path / "a.mp4")) as writer:
        writer.write(np.zeros((21, 33, 3), np.uint8))
    frames, rate, _ = decoded(tmp_path / "a.mp4")
    assert (frames[0].height, frames[0].width, rate) == (20, 32, 30)


def test_a_file_that_is_closed_takes_no_picture(tmp_path):
    with open_video_writer(str(tmp_path / "12:30.mp4")) as writer:
        writer.write(np.zeros((20, 20, 3), np.uint8), 0.0)
        writer.write(np.zeros((20, 20, 3), np.uint8), 0.0)
    with pytest.raises(ValueError, match=r"12:30\.mp4: the file is closed"):
        writer.write(np.zeros((20, 20, 3), np.uint8), 1.0)
    assert names(tmp_path) == ["12:30.mp4"]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((1, 640), r"a\.mp4: H\.264 has no pictures that are a pixel wide or high"),
        ((4000, 1), r"a\.mp4: H\.264 has no pictures that are a pixel wide or high"),
        ((2, 40000), r"a\.mp4: the encoder does not take pictures of 40000 x 2: "),
        (None, r"a\.mp4: no picture was written"),
    ],
)
def test_what_cannot_be_written_leaves_what_was_there(tmp_path, size, message):
    (tmp_path / "a.mp4").write_text("older")

    def write():
        with open_video_writer(str(tmp_path / "a.mp4")) as writer:
            if size:
                writer.write(np.zeros((*size, 3), np.uint8))

    with pytest.raises(ValueError, match=message):
        write()
    assert names(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "older"


def test_errors_of_the_block_the_disk_and_the_encoder(tmp_path):

    def write(error, path="a.mp4"):
        with open_video_writer(str(tmp_path / path)) as writer:
            writer.write(np.zeros((20, 20, 3), np.uint8))
            raise error

    with pytest.raises(KeyboardInterrupt):
        write(KeyboardInterrupt())
    with pytest.raises(WriteError, match=r"a\.mp4 cannot be written: No space left"):
        write(av.error.OSError(28, "No space left on device"))
    with pytest.raises(VideoEncodeError, match=r"a\.mp4: cannot be encoded: ExternalError: .*x264"):
        write(av.error.ExternalError(-542398533, "x264"))
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        write(AssertionError("not reached"), "file/a.mp4")
    assert names(tmp_path) == ["file"]
