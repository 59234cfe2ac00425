"""Frames in order are those that are asked for by their numbers; what is lost moves no later one."""

from __future__ import annotations

import av
import numpy as np
import pytest

from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_sequence import FrameSequence, place_of
from mutualnet3d.video.reader import VideoReader
from tests.conftest import numbered_frames, write_video
from tests.damages import with_damaged_packets
from tests.video.encoded import moving_noise, write_numbered_at

LOSSLESS = {"qp": "0", "preset": "ultrafast", "g": "10"}


def numbers_and_levels(sequence, numbers):
    """Return the numbers of the frames that come, and those that their grey levels say."""
    got = [(number, round(float(picture.mean()) / 2)) for number, picture in sequence.read(np.array(numbers))]
    return [number for number, _ in got], [level for _, level in got]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"bf": "3", "g": "12"}),
        ("a.mkv", "libx264", {"bf": "3", "g": "12"}),
        ("a.ts", "mpeg2video", {"bf": "2", "g": "12"}),
        ("a.avi", "mpeg4", {"bf": "2", "g": "12"}),
        ("b.avi", "mjpeg", {"strict": "-1"}),
    ],
)
def test_all_frames_and_some(name, codec, options, tmp_path):
    path = write_video(tmp_path / name, moving_noise(48, 64)[:48], codec=codec, **options)
    with VideoReader(str(path)) as reader:
        info = reader.info
        expected = [picture.copy() for picture in reader.read(range(info.num_frames))]
    sequence = FrameSequence(str(path))
    assert sequence.info == info
    for numbers in (range(info.num_frames), [3, 4, 17, 31, info.num_frames - 1]):
        read = [(number, picture.copy()) for number, picture in sequence.read(np.array(numbers))]
        assert [number for number, _ in read] == list(numbers)
        assert all(np.array_equal(picture, expected[number]) for number, picture in read)
    assert sequence.num_damaged == 0


def test_lost_frames_move_no_later_one(tmp_path):
    video = write_video(tmp_path / "whole.mp4", numbered_frames(60), **LOSSLESS)
    path = with_damaged_packets(video, tmp_path / "damaged.mp4", range(23, 27))
    sequence = FrameSequence(str(path))
    numbers, levels = numbers_and_levels(sequence, range(60))
    whole = [*range(23), *range(30, 60)]  # the next keyframe is frame 30
    assert set(whole) <= set(numbers) < set(range(60))
    assert [level for number, level in zip(numbers, levels, strict=True) if number in whole] == whole
    assert sequence.num_damaged == len(set(numbers) - set(whole))


def test_lost_frames_of_avi_move_no_later_one(tmp_path):
    """Its frames have no times; packets are counted where errors are seen."""
    video = write_video(tmp_path / "whole.avi", numbered_frames(40), codec="mjpeg", strict="-1")
    path = with_damaged_packets(video, tmp_path / "damaged.avi", [11, 12, 30])
    numbers, levels = numbers_and_levels(FrameSequence(str(path)), range(40))
    assert numbers == [number for number in range(40) if number not in (11, 12, 30)]
    assert np.abs(np.array(levels) - numbers).max() <= 1


def test_a_file_that_ends_early(tmp_path):
    """Its header promises more; frames before the end are there."""
    video = write_video(tmp_path / "whole.mkv", numbered_frames(60), **LOSSLESS)
    content = video.read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(content[: len(content) // 2])
    sequence = FrameSequence(str(path))
    assert 20 < sequence.info.num_frames < 40
    numbers, levels = numbers_and_levels(sequence, range(sequence.info.num_frames))
    assert numbers == levels == list(range(len(numbers)))
    assert len(numbers) >= sequence.info.num_frames - 1


def test_uneven_times_are_known(tmp_path):
    places = [*range(10), *range(30, 50)]
    path = write_numbered_at(tmp_path / "a.mkv", places, 25, codec="libx264")
    sequence = FrameSequence(str(path))
    assert sequence.info.times == pytest.approx(np.array(places) / 25, abs=2e-3)
    assert [number for number, _ in sequence.read(np.arange(30))] == list(range(30))


def test_nothing_to_decode_and_no_video(tmp_path):
    video = write_video(tmp_path / "whole.mp4", numbered_frames(8), **LOSSLESS)
    path = with_damaged_packets(video, tmp_path / "damaged.mp4", range(8))
    with pytest.raises(VideoDecodeError, match=r"damaged\.mp4"):
        list(FrameSequence(str(path)).read(np.arange(8)))
    with pytest.raises(VideoDecodeError, match=r"nowhere\.mp4"):
        FrameSequence(str(tmp_path / "nowhere.mp4"))
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoDecodeError, match=r"sound\.mp4: the file has no video stream"):
        FrameSequence(str(tmp_path / "sound.mp4"))


def test_place_of_a_key():
    keys = np.array([0, 512, 1024])
    assert [place_of(keys, key) for key in (0, 1024, 513, 800, 2000, -1, None)] == [0, 2, 1, 2, 2, 0, None]
