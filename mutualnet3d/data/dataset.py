"""Videos to clips for training and testing: each video is decoded once, whatever the number of shapes."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch.utils.data import default_collate

from mutualnet3d.data.augment import Augment
from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.clip_assembly import ClipAssembler, ViewSampler
from mutualnet3d.data.clip_samplers import CropSampler, FrameSampler
from mutualnet3d.data.outage import DataAway, DataDisk
from mutualnet3d.data.shared_facts import SharedFacts
from mutualnet3d.data.video_list import Video, VideoList
from mutualnet3d.shapes import ClipBatch, ClipShape
from mutualnet3d.video import file_facts
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.open import open_video

# Clips after which a worker gives freed memory back to the system. glibc keeps it in pieces that large pictures do not
# fit into: without this two workers grew by 110 MB over 3,000 clips of mixed sizes.
_CLIPS_A_TRIM = 32


@dataclass(frozen=True)
class ClipSample:
    """Clip of a video in several shapes.

    Args:
        request: request for the clip.
        clips: the clip in each shape, uint8 (T, H, W, C).
        label: its class.
        is_damaged: True if the decoder concealed errors in one of its frames.
    """

    request: ClipRequest
    clips: dict[ClipShape, torch.Tensor]
    label: int
    is_damaged: bool = False


@dataclass(frozen=True)
class Failure:
    """Clip that its video could not give.

    Args:
        request: request for the clip.
        reason: text with the file and the cause.
        is_outage: True if the data disk is away, and the video is not known to be bad.
    """

    request: ClipRequest
    reason: str
    is_outage: bool = False


class VideoDataset(torch.utils.data.Dataset["ClipSample | Failure"]):
    """Clips of a list of videos, by request.

    The content of a clip depends on (seed, epoch, index, view) alone: not on the worker, the order or the other shapes.

    Args:
        videos: the list.
        frame_sampler: choice of the frames.
        crop_sampler: choice of the part of the picture.
        num_crops: views that show the same frames: view v is crop v % num_crops of span v // num_crops.
        augment: changes of the pixels; None: none.
        seed: seed of the random choices.
        timeout: seconds that decoding one clip may take; None: any time.
        disk_timeout: seconds for which a data disk that is away is waited for; 0: not at all.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        frame_sampler: FrameSampler,
        crop_sampler: CropSampler,
        *,
        num_crops: int = 1,
        augment: Augment | None = None,
        seed: int = 0,
        timeout: float | None = None,
        disk_timeout: float = 60.0,
    ):
        self.videos, self.frame_sampler, self.crop_sampler = VideoList.of(videos), frame_sampler, crop_sampler
        self.num_crops, self.augment, self.seed, self.timeout = num_crops, augment or Augment(), seed, timeout
        self._assembler = ClipAssembler()
        self._facts = SharedFacts(len(self.videos))
        self._disk = DataDisk(self.videos, disk_timeout)
        self._num_made = 0

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, request: ClipRequest) -> ClipSample | Failure:
        """Return the clip; a `Failure` if the video cannot give it."""
        self._num_made += 1
        if self._num_made % _CLIPS_A_TRIM == 0 and torch.utils.data.get_worker_info() is not None:
            _give_memory_back()
        try:
            return self._disk.read(request.index, partial(self._clip, request), VideoDecodeError)
        except VideoDecodeError as error:
            return Failure(request, str(error))
        except DataAway as error:
            return Failure(request, str(error), is_outage=True)

    def _clip(self, request: ClipRequest) -> ClipSample:
        """Return the clip of a request.

        Raises:
            VideoDecodeError: the video cannot give it.
        """
        video = self.videos[request.index]
        span, crop = divmod(request.view, self.num_crops)
        view_sampler = ViewSampler(self.frame_sampler, self.crop_sampler, (span,), (crop,))
        rng = np.random.default_rng((self.seed, request.epoch, request.index))
        with self._known(request.index, video), open_video(video.path, self.timeout, video.picture_paths) as opened:
            assembled = self._assembler.assemble(opened, request.shapes, view_sampler, rng)
            is_damaged = bool(getattr(opened, "num_damaged_frames", 0))
        clips = self._augmented({shape: clip for shape, (clip,) in assembled.items()}, rng)
        return ClipSample(request, clips, video.label, is_damaged)

    @contextlib.contextmanager
    def _known(self, index: int, video: Video) -> Iterator[None]:
        """Context in which a file is read with the facts that any process has about it; this one adds its own."""
        if video.pictures:
            yield
            return
        num_remembered = file_facts.num_remembered()
        with contextlib.suppress(OSError):  # the file is not there: opening it says so
            self._facts.recall(index, video.path)
        try:
            yield
        finally:
            if file_facts.num_remembered() > num_remembered:
                with contextlib.suppress(OSError):
                    self._facts.note(index, video.path)

    def _augmented(
        self, clips: dict[ClipShape, torch.Tensor], rng: np.random.Generator
    ) -> dict[ClipShape, torch.Tensor]:
        if self.augment.is_identity:
            return clips
        clips_TCHW = {shape: clip_THWC.permute(0, 3, 1, 2) for shape, clip_THWC in clips.items()}
        augmented = self.augment(clips_TCHW, rng)
        return {shape: clip_TCHW.permute(0, 2, 3, 1).contiguous() for shape, clip_TCHW in augmented.items()}


def _give_memory_back() -> None:
    with contextlib.suppress(AttributeError, OSError):  # a C library that is not glibc
        ctypes.CDLL(None).malloc_trim(0)


@dataclass
class Loaded:
    """Result of a list of requests: a batch of the clips that could be read, in their order, and the rest.

    Args:
        batch: the clips; None if there are none.
        requests: the requests of the clips in `batch`.
        failures: the clips that could not be read.
        damaged: numbers of the videos of clips in which the decoder concealed errors.
    """

    batch: ClipBatch | None
    requests: list[ClipRequest]
    failures: list[Failure]
    damaged: list[int] = field(default_factory=list)

    def pin_memory(self) -> Loaded:
        """Pin the batch: torch's DataLoader calls this."""
        return replace(self, batch=self.batch and self.batch.pin_memory())


def collate(items: Sequence[ClipSample | Failure]) -> Loaded:
    """Stack clips (T, H, W, C) to (B, T, C, H, W) for every shape; in memory the channels stay last."""
    samples = [item for item in items if isinstance(item, ClipSample)]
    failures = [item for item in items if isinstance(item, Failure)]
    batch = None
    if samples:
        batch = ClipBatch(
            # default_collate stacks straight into the memory that a worker shares.
            {
                shape: default_collate([sample.clips[shape] for sample in samples]).permute(0, 1, 4, 2, 3)
                for shape in samples[0].clips
            },
            torch.tensor([sample.label for sample in samples]),
            torch.tensor([sample.request.index for sample in samples]),
        )
    damaged = [sample.request.index for sample in samples if sample.is_damaged]
    return Loaded(batch, [sample.request for sample in samples], failures, damaged)
