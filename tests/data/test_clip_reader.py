from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.data.clip_samplers import ClipSpan, RandomSpans
from mutualnet3d.data.dataset import VideoDataset
from mutualnet3d.data.lists import Video
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.reader import VideoReader
from tests.conftest import numbered_frames, write_video
from tests.video.encoded import write_numbered_at

HOW = Preprocessing(
    num_frames=8, sampling_rate=4, target_fps=24.0, scale=40, crop_size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)
)
SHAPES = (ClipShape(8, 32), ClipShape(5, 24))


@pytest.fixture(scope="module")
def noisy_frames():
    return np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def noisy_video(noisy_frames, tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("reader") / "noisy.mp4", noisy_frames))


@pytest.mark.parametrize(
    ("how", "num_spans", "num_crops"),
    [
        (HOW, 1, 1),
        (HOW, 3, 1),
        (HOW, 2, 3),
        (Preprocessing(**{**HOW.to_json(), "among_full": True}), 1, 1),
        (Preprocessing(**{**HOW.to_json(), "segments": True}), 2, 1),
    ],
)
def test_clips_are_those_of_testing(how, num_spans, num_crops, noisy_video):
    dataset = VideoDataset(
        [Video(noisy_video, 0, "list:1")],
        how.frame_sampler(num_spans),
        how.crop_sampler(num_crops),
        num_crops=num_crops,
    )
    read = ClipReader(how).read(noisy_video, SHAPES, num_spans, num_crops)
    for view in range(num_spans * num_crops):
        expected = dataset[ClipRequest(0, SHAPES, view=view)].clips
        for shape in SHAPES:
            assert read.clips[shape].shape == (num_spans * num_crops, shape.frames, shape.size, shape.size, 3)
            assert torch.equal(read.clips[shape][view], expected[shape])


def test_the_place_of_the_first_view_is_told(numbered_video):
    """Frame i of the video is the grey level 2 * i."""
    read = ClipReader(HOW).read(str(numbered_video), SHAPES, 3, 3)
    for shape in SHAPES:
        levels = read.clips[shape][0, :, 16, 16, 0].numpy()
        assert read.place.indices_of[shape.frames].tolist() == (levels // 2).tolist()
        assert read.place.seconds_of[shape.frames] == pytest.approx(levels / 48)
    assert read.place.box == pytest.approx((0.0, 0.0, 1.0, 0.75))  # the left one of three squares
    of_one = ClipReader(HOW).read(str(numbered_video), SHAPES[:1]).place.box
    assert of_one == pytest.approx((5 / 48, 13 / 64, 43 / 48, 51 / 64))  # 32 of 40, in the middle


def test_training_and_prediction_go_by_the_time_of_a_paused_video(tmp_path):
    """60 numbered frames at 24 a second, 1.25 s after the half of them."""
    places = [number + (30 if number >= 30 else 0) for number in range(60)]
    path = str(write_numbered_at(tmp_path / "paused.mp4", places, 24, "libx264rgb", qp="0", preset="ultrafast"))
    seconds = np.array(places) / 24

    def shown_from(start: float) -> list[int]:
        times = start + np.linspace(0, 31 / 24, 8)  # the clip's first frame to its last
        return [int(np.flatnonzero(seconds <= time + 0.05 / 24)[-1]) for time in times]

    def numbers(clip_THWC: torch.Tensor) -> list[int]:
        return [round(int(picture[16, 16, 0]) / 2) for picture in clip_THWC]

    slack = 90 / 24 - 32 / 24
    predicted = ClipReader(HOW).read(path, SHAPES[:1], num_spans=3).clips[SHAPES[0]]
    assert [numbers(clip) for clip in predicted] == [shown_from(slack * view / 3) for view in range(3)]
    assert 29 in shown_from(slack / 3)[2:]
    spans = RandomSpans(ClipSpan(HOW.num_frames, HOW.sampling_rate, HOW.target_fps))
    dataset = VideoDataset([Video(path, 0, "list:1")], spans, HOW.crop_sampler(1))
    for epoch in range(5):
        start = np.random.default_rng((0, epoch, 0)).uniform(0, 24 * slack) / 24
        trained = dataset[ClipRequest(0, SHAPES[:1], epoch=epoch)].clips[SHAPES[0]]
        assert numbers(trained) == shown_from(start)


@pytest.mark.parametrize("kind", ["array", "tensor", "list", "list of tensors"])
def test_frames_in_memory_give_the_clips_of_their_file(kind, noisy_frames, noisy_video):
    frames = torch.from_numpy(noisy_frames) if "tensor" in kind else noisy_frames
    frames = list(frames) if "list" in kind else frames
    reader = ClipReader(HOW)
    of_file = reader.read(noisy_video, SHAPES, num_spans=2).clips
    of_memory = reader.read(frames, SHAPES, num_spans=2, fps=24.0).clips
    for shape in SHAPES:
        assert torch.equal(of_file[shape], of_memory[shape])


def test_frames_without_a_rate_are_of_the_rate_that_the_network_is_for():
    frames = numbered_frames(60)
    reader = ClipReader(HOW)
    default, same, slower = (reader.read(frames, SHAPES[:1], fps=fps).clips[SHAPES[0]] for fps in (None, 24.0, 12.0))
    assert torch.equal(default, same)
    # 8 frames, every 4th of 24 per second: 32 frames from frame 14 on, ends included; at 12 per second 16 from 22 on.
    assert [int(grey) // 2 for grey in default[0, [0, -1], 0, 0, 0]] == [14, 45]
    assert [int(grey) // 2 for grey in slower[0, [0, -1], 0, 0, 0]] == [22, 37]


def test_a_folder_of_pictures_gives_the_clips_of_its_frames(noisy_frames, tmp_path):
    for number, frame in enumerate(noisy_frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    reader = ClipReader(HOW)
    for fps in (None, 12.0):
        of_folder = reader.read(str(tmp_path), SHAPES, num_spans=2, fps=fps).clips
        of_memory = reader.read(noisy_frames, SHAPES, num_spans=2, fps=fps).clips
        assert all(torch.equal(of_folder[shape], of_memory[shape]) for shape in SHAPES)


def test_a_file_tells_its_own_rate(noisy_video):
    with pytest.raises(ValueError, match="fps is of frames and of folders of pictures; a file tells its own"):
        ClipReader(HOW).read(noisy_video, SHAPES, fps=24.0)


def test_only_frames_of_the_clip_are_decoded(noisy_video, monkeypatch):
    asked = []
    read = VideoReader.read
    monkeypatch.setattr(VideoReader, "read", lambda self, indices: asked.append(indices) or read(self, indices))
    ClipReader(HOW).read(noisy_video, SHAPES[1:])
    assert [len(indices) for indices in asked] == [5]


def test_says_where_the_time_went(noisy_video, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("mutualnet3d.data.clip_reader.time.perf_counter", lambda: next(clock))
    read = ClipReader(HOW).read(noisy_video, SHAPES[1:])
    # The clock goes on by 1 at every look: opening, five frames and the end of them, closing.
    assert read.decode_seconds == 1 + 6 + 1
    assert read.decode_seconds + read.prepare_seconds == 1 + 2 * 6 + 2


def test_a_broken_file_is_a_decode_error(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    with pytest.raises(VideoDecodeError, match=r"broken\.mp4"):
        ClipReader(HOW).read(str(broken), SHAPES)
