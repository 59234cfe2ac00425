from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.data.file_reader import FileReader, FileRequest, UnreadFile
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import VideoDecodeError

HOW = Preprocessing(
    num_frames=4, sampling_rate=2, target_fps=24.0, scale=32, crop_size=32, mean=(0.45,) * 3, std=(0.225,) * 3
)
SHAPES = (ClipShape(4, 32), ClipShape(2, 24))


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_clips_are_those_of_the_reader(numbered_video):
    reader = pickle.loads(pickle.dumps(FileReader(ClipReader(HOW))))
    read = reader(FileRequest(str(numbered_video), SHAPES, 2, 3))
    expected = ClipReader(HOW).read(str(numbered_video), SHAPES, 2, 3)
    assert list(read.views_of) == list(SHAPES)
    for shape in SHAPES:
        assert read.views_of[shape].shape == (6, shape.frames, shape.size, shape.size, 3)
        assert np.array_equal(read.views_of[shape], expected.clips[shape].numpy())
    assert read.decode_seconds > 0


def test_a_file_that_cannot_be_read_is_a_value(tmp_path):
    reader = FileReader(ClipReader(HOW))
    broken, gone = tmp_path / "broken.mp4", tmp_path / "gone.mp4"
    broken.write_text("no video")
    of_broken, of_gone = (reader(FileRequest(str(path), SHAPES)) for path in (broken, gone))
    assert (of_broken.status, of_gone.status) == ("bad", "missing")
    assert of_broken.reason.startswith(f"{broken}: ")
    assert "\n" not in of_broken.reason


class Raises:
    def __init__(self, error):
        self.error = error

    def read(self, *args, **settings):
        raise self.error


def test_what_else_happens_is_the_files_but_for_a_lack_of_memory():
    request = FileRequest("a.mp4", SHAPES)
    assert FileReader(Raises(KeyError("x")))(request) == UnreadFile("bad", "a.mp4: cannot be read: KeyError: 'x'")
    error = VideoDecodeError("no memory")
    error.__cause__ = MemoryError()
    for lack in (MemoryError(), error):
        with pytest.raises(MemoryError):
            FileReader(Raises(lack))(request)
