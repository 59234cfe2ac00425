from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from mutualnet3d.data.annotations import Video
from mutualnet3d.data.dataset import RandomClips, VideoDataset, collate
from mutualnet3d.data.decode import VideoDecodeError, VideoFile
from mutualnet3d.data.requests import ClipRequest
from mutualnet3d.shapes import ClipShape
from tests.conftest import SHARED, numbered_frames, write_video


def test_info_is_counted_and_not_believed(numbered_video):
    with VideoFile(str(numbered_video)) as video:
        assert (video.info.num_frames, video.info.fps) == (100, 24.0)


@pytest.mark.parametrize("indices", [[0], [99], [0, 1, 2, 97, 98, 99], list(range(100)), [41, 67], []])
def test_exactly_the_frames_that_were_asked_for(numbered_video, indices):
    with VideoFile(str(numbered_video)) as video:
        frames = list(video.frames(indices))
    assert [np.unique(frame).tolist() for frame in frames] == [[2 * index] for index in indices]
    assert all(frame.shape == (48, 64, 3) for frame in frames)


def test_frames_with_reordering_come_in_order(tmp_path):
    """B-frames leave the file in another order than they are shown in."""
    path = write_video(tmp_path / "b.mp4", numbered_frames(40), qp="0", bf="3", preset="medium")
    with VideoFile(str(path)) as video:
        assert [int(frame[0, 0, 0]) for frame in video.frames([0, 5, 6, 7, 39])] == [0, 10, 12, 14, 78]


def test_past_the_end_is_an_error_with_path_and_count(numbered_video):
    with VideoFile(str(numbered_video)) as video, pytest.raises(VideoDecodeError) as caught:
        list(video.frames([5, 100]))
    assert str(caught.value) == f"{numbered_video}: the video ends after 100 frames; frame 100 was asked for"


def test_missing_and_unreadable_videos_are_named(tmp_path, numbered_video):
    with pytest.raises(VideoDecodeError, match=r"none\.mp4: cannot be decoded: FileNotFoundError"):
        VideoFile(str(tmp_path / "none.mp4"))
    text = tmp_path / "text.mp4"
    text.write_text("not a video at all\n" * 100)
    with pytest.raises(VideoDecodeError, match=r"text\.mp4: cannot be decoded: InvalidDataError"):
        VideoFile(str(text))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(numbered_video.read_bytes()[:300])
    with pytest.raises(VideoDecodeError, match=r"cut\.mp4: cannot be decoded"):
        VideoFile(str(cut))


def test_error_survives_the_border_of_a_worker():
    error = pickle.loads(pickle.dumps(VideoDecodeError("a.mp4: broken")))
    assert isinstance(error, VideoDecodeError)
    assert str(error) == "a.mp4: broken"


def levels(clip_TCHW: torch.Tensor) -> list[int]:
    """The grey level of each frame, halved: the frame's number in a numbered video."""
    assert clip_TCHW.flatten(1).float().std(dim=1).max() == 0
    return [int(frame[0, 0, 0]) // 2 for frame in clip_TCHW]


def dataset_of(path, num_frames=8, sampling_rate=4, **sampler):
    settings = {"jitter_scales": (40, 48), "crop_size": 32, "flip": True, **sampler}
    videos = [Video(str(path), 1, "list:1")]
    return VideoDataset(
        videos, RandomClips(**settings), num_frames=num_frames, sampling_rate=sampling_rate, target_fps=24, seed=0
    )


SHAPES = (ClipShape(8, 32), ClipShape(8, 24), ClipShape(5, 32), ClipShape(2, 16))


@pytest.mark.parametrize("epoch", range(5))
def test_every_shape_has_the_frames_of_one_span(numbered_video, epoch):
    clip = dataset_of(numbered_video)[ClipRequest(0, SHAPES, epoch)]
    assert list(clip.clips) == list(SHAPES)
    assert all(tensor.dtype == torch.uint8 for tensor in clip.clips.values())
    assert all(tensor.shape == (shape.frames, 3, shape.size, shape.size) for shape, tensor in clip.clips.items())
    full = levels(clip.clips[SHAPES[0]])
    first, last = full[0], full[-1]
    assert last - first == 31  # 8 frames at every 4th span 32
    assert levels(clip.clips[SHAPES[1]]) == full
    for shape in SHAPES[2:]:
        mine = levels(clip.clips[shape])
        assert (mine[0], mine[-1]) == (first, last)
        # Within one frame of the even spacing; the span may start between two frames.
        even = np.linspace(first, last, shape.frames)
        assert np.abs(np.array(mine) - even).max() <= 1


def test_slows_frames_are_some_of_fasts(numbered_video):
    """As SlowFast is fed: both clips of one decoding, Slow's frames chosen among Fast's."""
    sampler = RandomClips((40, 48), 32, flip=False)
    settings = {"num_frames": 16, "sampling_rate": 3, "target_fps": 24, "choose_among_full": True}
    dataset = VideoDataset([Video(str(numbered_video), 1, "list:1")], sampler, **settings)
    clip = dataset[ClipRequest(0, (ClipShape(16, 32), ClipShape(4, 32), ClipShape(3, 16)))]
    fast, slow, few = (levels(tensor) for tensor in clip.clips.values())
    assert slow == [fast[index] for index in (0, 5, 10, 15)]
    assert few == [fast[index] for index in (0, 7, 15)]


def picture_video(tmp_path):
    """One picture for 12 frames: a ramp to the right in red, downwards in green."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[..., 0] = np.arange(64) * 4
    frame[..., 1] = (np.arange(48) * 5)[:, None]
    return write_video(tmp_path / "picture.mp4", np.broadcast_to(frame, (12, 48, 64, 3)))


def test_every_shape_has_the_same_crop_and_flip(tmp_path):
    dataset = dataset_of(picture_video(tmp_path), num_frames=4, sampling_rate=1)
    flips = set()
    for epoch in range(12):
        clip = dataset[ClipRequest(0, (ClipShape(4, 32), ClipShape(2, 16)), epoch)]
        large, small = clip.clips[ClipShape(4, 32)].float(), clip.clips[ClipShape(2, 16)].float()
        for channel in (0, 1):  # a ramp keeps its mean under resizing, and its ends to a pixel's share
            assert large[0, channel].mean() == pytest.approx(small[0, channel].mean().item(), abs=1.0)
        flips.add(bool(large[0, 0, 0, 0] > large[0, 0, 0, -1]))
        assert (small[0, 0, 0, 0] > small[0, 0, 0, -1]) == (large[0, 0, 0, 0] > large[0, 0, 0, -1])
        assert large[0, 1, 0, 0] < large[0, 1, -1, 0]
    assert flips == {True, False}


def test_a_clip_depends_on_seed_epoch_and_index_alone(tmp_path):
    path = picture_video(tmp_path)
    dataset = dataset_of(path, num_frames=4, sampling_rate=1)
    shape = ClipShape(4, 32)
    alone = dataset[ClipRequest(0, (shape,), 3)].clips[shape]
    torch.manual_seed(99), np.random.seed(99)  # noqa: NPY002
    among = dataset[ClipRequest(0, (ClipShape(3, 24), shape, ClipShape(1, 16)), 3)].clips[shape]
    assert torch.equal(alone, among)
    assert not torch.equal(alone, dataset[ClipRequest(0, (shape,), 4)].clips[shape])


def test_collate_stacks_and_keeps_the_order(numbered_video):
    dataset = dataset_of(numbered_video)
    items = [dataset[ClipRequest(0, SHAPES[:2], epoch)] for epoch in range(3)]
    batch = collate(items)
    assert len(batch) == 3
    assert batch.clips[SHAPES[1]].shape == (3, 8, 3, 24, 24)
    assert torch.equal(batch.clips[SHAPES[0]][2], items[2].clips[SHAPES[0]])
    assert batch.label_B.tolist() == [1, 1, 1]


@pytest.mark.skipif(not SHARED.exists(), reason=f"the real clips are not at {SHARED}")
def test_real_clips_decode(tmp_path):
    folder = SHARED / "videos" / "surv_fight"
    paths = sorted((folder / "fight").glob("*.mp4"))[:4]
    assert paths
    for path in paths:
        with VideoFile(str(path)) as video:
            count = video.info.num_frames
            assert sum(1 for _ in video.frames(range(count))) == count
