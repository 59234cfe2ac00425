from __future__ import annotations

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.build_loaders import build_preprocessing
from mutualnet3d.data.clip_reader import ClipReader, FramesInMemory
from mutualnet3d.data.dataset import VideoDataset
from mutualnet3d.data.lists import Video
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.reader import VideoDecodeError, VideoReader
from tests.conftest import numbered_frames, write_video

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
        wanted = dataset[ClipRequest(0, SHAPES, view=view)].clips
        for shape in SHAPES:
            assert read.clips[shape].shape == (num_spans * num_crops, shape.frames, shape.size, shape.size, 3)
            assert torch.equal(read.clips[shape][view], wanted[shape])


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
    assert [int(each) // 2 for each in default[0, [0, -1], 0, 0, 0]] == [14, 45]
    assert [int(each) // 2 for each in slower[0, [0, -1], 0, 0, 0]] == [22, 37]


def test_only_frames_of_the_clip_are_decoded(noisy_video, monkeypatch):
    asked = []
    frames = VideoReader.frames
    monkeypatch.setattr(VideoReader, "frames", lambda self, indices: asked.append(indices) or frames(self, indices))
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


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (np.zeros((4, 8, 8), np.uint8), r"uint8 \(4, 8, 8\)"),
        (np.zeros((4, 3, 8, 8), np.uint8), r"uint8 \(4, 3, 8, 8\)"),
        (np.zeros((4, 8, 8, 3), np.float32), r"float32 \(4, 8, 8, 3\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"uint8 \(0, 8, 8, 3\)"),
        ([], r"list \[\]"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], r"picture 1 is uint8 \(8, 9, 3\)"),
        ([np.zeros((8, 8), np.uint8)], r"picture 0 is uint8 \(8, 8\)"),
        ([1], "picture 0 is int 1"),
        (7, "int 7"),
    ],
)
def test_other_frames_are_refused(frames, said):
    with pytest.raises(ValueError, match=rf"frames are uint8 \(T, H, W, 3\), RGB.*{said}"):
        FramesInMemory(frames)


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), float("inf"), "24", True])
def test_other_rates_are_refused(fps):
    with pytest.raises(ValueError, match=r"fps is .* it must be a number above 0"):
        FramesInMemory(numbered_frames(2), fps)


def test_preprocessing_travels_as_json():
    assert Preprocessing.from_json(HOW.to_json(), "here") == HOW


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scale": 0}, "here: Preprocessing: scale must be a number above 0, got 0"),
        ({"mean": (0.5,)}, r"here: Preprocessing: mean has a value for each of 3 channels, got \(0.5,\)"),
        ({"colour": 1}, "here: preprocessing has num_frames, .*; missing or unknown: colour"),
    ],
)
def test_other_preprocessing_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        Preprocessing.from_json({**HOW.to_json(), **change}, "here")


def test_preprocessing_of_a_config():
    how = build_preprocessing(m3.load_cfg("SLOWFAST_4x16_R50_mutual.yaml", ["DATA.DECODE_TIMEOUT", 0.0]))
    assert how == Preprocessing(
        num_frames=32, sampling_rate=2, target_fps=30.0, scale=256, crop_size=256, among_full=True,
        mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225),
    )  # fmt: skip
    assert build_preprocessing(m3.load_cfg("SLOW_8x8_R50_ssv2.yaml")).segments
