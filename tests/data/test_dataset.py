from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from PIL import Image

from mutualnet3d.data.augment import Augment
from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.clip_samplers import ClipSpan, RandomCrops, RandomSpans, UniformCrops, UniformSpans
from mutualnet3d.data.dataset import ClipSample, Failure, Loaded, VideoDataset, collate
from mutualnet3d.data.lists import Video
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video import file_facts
from mutualnet3d.video.errors import FrameCountCorrected
from mutualnet3d.video.info import VideoInfo
from mutualnet3d.video.packet_source import PacketSource
from mutualnet3d.video.reader import VideoReader
from tests.conftest import numbered_frames, write_video
from tests.video.encoded import encode, without_packet


def levels(clip_THWC: torch.Tensor) -> list[int]:
    """The grey level of each frame, halved: the frame's number in a numbered video."""
    assert clip_THWC.flatten(1).float().std(dim=1).max() == 0
    return [int(frame[0, 0, 0]) // 2 for frame in clip_THWC]


def dataset_of(*paths, num_frames=8, sampling_rate=4, among_full=False, **settings):
    videos = [Video(str(path), 1, f"list:{line}") for line, path in enumerate(paths, start=1)]
    crops = RandomCrops(jitter_scales=(40, 48), crop_size=32, flip=True)
    return VideoDataset(videos, RandomSpans(ClipSpan(num_frames, sampling_rate, 24.0, among_full)), crops, **settings)


SHAPES = (ClipShape(8, 32), ClipShape(8, 24), ClipShape(5, 32), ClipShape(2, 16))


@pytest.mark.parametrize("epoch", range(3))
@pytest.mark.parametrize("among_full", [False, True])
def test_every_shape_has_the_frames_of_one_span(numbered_video, epoch, among_full):
    clip = dataset_of(numbered_video, among_full=among_full)[ClipRequest(0, SHAPES, epoch)]
    assert list(clip.clips) == list(SHAPES)
    assert all(tensor.dtype == torch.uint8 for tensor in clip.clips.values())
    assert all(tensor.shape == (shape.frames, shape.size, shape.size, 3) for shape, tensor in clip.clips.items())
    full = levels(clip.clips[SHAPES[0]])
    assert full[-1] - full[0] == 31  # 8 frames at every 4th span 32
    assert np.diff(full).min() >= 4
    assert levels(clip.clips[SHAPES[1]]) == full
    few = levels(clip.clips[SHAPES[2]])
    if among_full:
        assert few == [full[place] for place in (0, 1, 3, 5, 7)]
    else:  # within one frame of the even spacing; the span may start between two frames
        assert np.abs(few - np.linspace(full[0], full[-1], 5)).max() <= 1
    assert levels(clip.clips[SHAPES[3]]) == [full[0], full[-1]]


def test_a_small_shape_alone_has_the_frames_that_it_has_among_others(numbered_video):
    dataset = dataset_of(numbered_video)
    alone = dataset[ClipRequest(0, (SHAPES[2],), 3)]
    among = dataset[ClipRequest(0, SHAPES, 3)]
    assert torch.equal(alone.clips[SHAPES[2]], among.clips[SHAPES[2]])


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
        large, small = (clip.clips[shape].permute(0, 3, 1, 2).float() for shape in (ClipShape(4, 32), ClipShape(2, 16)))
        for channel in (0, 1):  # a ramp keeps its mean under resizing, and its ends to a pixel's share
            assert large[0, channel].mean() == pytest.approx(small[0, channel].mean().item(), abs=1.0)
        flips.add(bool(large[0, 0, 0, 0] > large[0, 0, 0, -1]))
        assert (small[0, 0, 0, 0] > small[0, 0, 0, -1]) == (large[0, 0, 0, 0] > large[0, 0, 0, -1])
        assert large[0, 1, 0, 0] < large[0, 1, -1, 0]
    assert flips == {True, False}


def test_a_clip_depends_on_seed_epoch_and_index_alone(tmp_path):
    path = picture_video(tmp_path)
    augment = Augment(color_jitter=0.4, erase_probability=1.0)
    dataset = dataset_of(path, num_frames=4, sampling_rate=1, augment=augment)
    shape = ClipShape(4, 32)
    alone = dataset[ClipRequest(0, (shape,), 3)].clips[shape]
    torch.manual_seed(99), np.random.seed(99)  # noqa: NPY002
    among = dataset[ClipRequest(0, (ClipShape(3, 24), shape, ClipShape(1, 16)), 3, step=7, position=99)].clips[shape]
    assert torch.equal(alone, among)
    assert not torch.equal(alone, dataset[ClipRequest(0, (shape,), 4)].clips[shape])
    other = dataset_of(path, num_frames=4, sampling_rate=1, augment=augment, seed=1)
    assert not torch.equal(alone, other[ClipRequest(0, (shape,), 3)].clips[shape])


def test_augmentation_is_applied(tmp_path):
    path, shape = picture_video(tmp_path), ClipShape(4, 32)
    plain, grey = (
        dataset_of(path, num_frames=4, sampling_rate=1, augment=augment)[ClipRequest(0, (shape,))].clips[shape]
        for augment in (None, Augment(grayscale_probability=1.0))
    )
    assert not torch.equal(plain[..., 0], plain[..., 1])
    assert torch.equal(grey[..., 0], grey[..., 1])
    assert (grey.shape, grey.is_contiguous()) == (plain.shape, True)


def test_views_are_spans_times_crops(tmp_path):
    frames = numbered_frames(32, 40, 60)
    frames[:, :, :, 1] = np.arange(60) * 4  # green says the column
    path = write_video(tmp_path / "wide.mp4", frames)
    dataset = VideoDataset(
        [Video(str(path), 0, "list:1")], UniformSpans(ClipSpan(4, 2, 24.0), 3), UniformCrops(40, 40, 3), num_crops=3
    )
    shape = ClipShape(4, 40)
    views = [dataset[ClipRequest(0, (shape,), view=view)].clips[shape] for view in range(9)]
    assert [int(view[0, 0, 0, 0]) // 2 for view in views] == [0, 0, 0, 8, 8, 8, 16, 16, 16]
    assert [int(view[0, 0, 0, 1]) // 4 for view in views] == [0, 10, 20] * 3


def test_what_a_video_cannot_give_is_a_failure_with_its_reason(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video at all\n" * 100)
    dataset = dataset_of(text, tmp_path / "none.mp4")
    request = ClipRequest(0, SHAPES, position=5)
    failure = dataset[request]
    assert isinstance(failure, Failure)
    assert failure.request == request
    assert failure.reason.startswith(f"{text}: cannot be decoded: InvalidDataError")
    assert "none.mp4: " in dataset[ClipRequest(1, SHAPES)].reason


def test_a_video_that_takes_too_long_is_a_failure(numbered_video):
    failure = dataset_of(numbered_video, timeout=1e-9)[ClipRequest(0, SHAPES)]
    assert isinstance(failure, Failure)
    assert str(numbered_video) in failure.reason


def test_a_wrong_frame_count_is_corrected_and_the_clip_chosen_anew(numbered_video, monkeypatch):
    """The file promises 100 frames and gives 60: the clip is the one of a video of 60."""
    asked = []

    class Promising(VideoReader):
        def read(self, indices):
            asked.append(list(indices))
            if self.info.num_frames == 100:
                self._source.info = VideoInfo(60, 24.0)
                raise FrameCountCorrected("60, not 100")
            return super().read(indices)

    monkeypatch.setattr("mutualnet3d.video.open.VideoReader", Promising)
    uniform = VideoDataset(
        [Video(str(numbered_video), 0, "list:1")], UniformSpans(ClipSpan(4, 5, 24.0)), UniformCrops(48, 48)
    )
    clip = uniform[ClipRequest(0, (ClipShape(4, 48),))]
    assert asked == [[40, 46, 52, 59], [20, 26, 32, 39]]
    assert levels(clip.clips[ClipShape(4, 48)]) == [20, 26, 32, 39]


def test_a_folder_of_pictures_is_a_video(tmp_path):
    names = [f"{number:03d}.png" for number in range(20)]
    for name, frame in zip(names, numbered_frames(20), strict=True):
        Image.fromarray(frame).save(tmp_path / name)
    video = Video(str(tmp_path), 3, "list:2", pictures="\n".join(names))
    dataset = VideoDataset([video], UniformSpans(ClipSpan(4, 2, 24.0)), UniformCrops(48, 48))
    clip = dataset[ClipRequest(0, (ClipShape(4, 24), ClipShape(2, 48)))]
    assert clip.label == 3
    assert levels(clip.clips[ClipShape(4, 24)]) == [6, 8, 10, 13]
    assert levels(clip.clips[ClipShape(2, 48)]) == [6, 13]
    listed = dataset[ClipRequest(0, (ClipShape(4, 24),))].clips[ClipShape(4, 24)]
    alone = VideoDataset([Video(str(tmp_path), 3, "list:2")], dataset.frame_sampler, dataset.crop_sampler)
    assert torch.equal(alone[ClipRequest(0, (ClipShape(4, 24),))].clips[ClipShape(4, 24)], listed)
    (tmp_path / names[8]).write_bytes(b"no picture")
    assert f"{tmp_path / names[8]}: cannot be read" in dataset[ClipRequest(0, (ClipShape(4, 24),))].reason


def test_collate_stacks_what_is_there_and_keeps_the_order(numbered_video, tmp_path):
    (tmp_path / "other.mp4").touch()  # an empty folder may be a disk that is away, which is waited for
    dataset = dataset_of(numbered_video, tmp_path / "none.mp4")
    items = [dataset[ClipRequest(index, SHAPES[:2], epoch)] for epoch, index in enumerate([0, 1, 0, 0])]
    assert [isinstance(item, ClipSample) for item in items] == [True, False, True, True]
    loaded = collate(items)
    assert loaded.batch.clips[SHAPES[1]].shape == (3, 8, 3, 24, 24)
    assert torch.equal(loaded.batch.clips[SHAPES[0]][2], items[3].clips[SHAPES[0]].permute(0, 3, 1, 2))
    assert loaded.batch.clips[SHAPES[0]].stride()[2] == 1  # channels last in memory
    assert loaded.batch.label_B.tolist() == [1, 1, 1]
    assert [request.epoch for request in loaded.requests] == [0, 2, 3]
    assert [failure.request.epoch for failure in loaded.failures] == [1]
    nothing = collate(items[1:2])
    assert (nothing.batch, nothing.requests, len(nothing.failures)) == (None, [], 1)


def count_corrections(monkeypatch):
    """Return the list of the files whose count of frames is found to be wrong, as it grows: each is decoded twice."""
    corrected = []
    original = PacketSource.from_start

    def counting(self):
        corrected.append(self.container.name)
        return original(self)

    monkeypatch.setattr(PacketSource, "from_start", counting)
    return corrected


def test_a_wrong_count_is_found_once_for_all_workers(numbered_video, tmp_path, monkeypatch):
    """A clip may need the frame that is not there in every epoch; the file is decoded to its end in the first alone."""
    encode(tmp_path / "whole.mov", codec="mjpeg", pixels="yuvj420p")
    path = without_packet(tmp_path / "whole.mov", tmp_path / "59.mov", 58)
    dataset = dataset_of(numbered_video, path, num_frames=60, sampling_rate=1)
    shape = ClipShape(60, 32)
    request = ClipRequest(1, (shape,))
    passes = count_corrections(monkeypatch)
    first = dataset[request].clips[shape]
    assert len(passes) == 2  # the count is found, and the clip is chosen anew
    for _ in range(2):
        file_facts._facts.clear()  # another worker
        passes.clear()
        again = dataset[request]
        assert not isinstance(again, Failure), again
        again = again.clips[shape]
        assert torch.equal(again, first), "a clip depends on what was found out before"
        assert len(passes) == 1


def test_clips_with_errors_that_are_concealed_are_counted(tmp_path):
    whole = tmp_path / "whole.mp4"
    encode(whole, codec="mpeg4", options={"g": "12"})
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
        middle = packet.pos + packet.size // 2
    data[middle : packet.pos + packet.size] = b"\xff" * (packet.pos + packet.size - middle)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    dataset = dataset_of(whole, path, num_frames=15, sampling_rate=4)
    samples = [dataset[ClipRequest(index, (ClipShape(15, 32),))] for index in (0, 1)]
    assert [sample.is_damaged for sample in samples] == [False, True]
    loaded = collate(samples)
    assert loaded.damaged == [1]
    assert Loaded(None, [], [], [3]).pin_memory().damaged == [3]
