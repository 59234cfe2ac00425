"""Clips of windows over a whole video, which is decoded once from its start to its end.

A frame is cropped and resized when it comes and is kept until the last window that has it: windows that overlap share
frames, and the memory does not grow with the video. Clips are those of `ClipReader`, of the windows' times.

Legend: T frames, S side of the square, C channels.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mutualnet3d.data.clip_reader import Frames
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.data.transforms import FrameBuffer, crop_frames, resize_frames
from mutualnet3d.data.window_sampling import VideoWindows
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_folder import FrameFolder, open_frame_folder
from mutualnet3d.video.frame_sequence import FrameSequence
from mutualnet3d.video.frames_in_memory import FramesInMemory
from mutualnet3d.video.open import refuse_fps_of_file
from mutualnet3d.video.paths import is_folder


@dataclass(frozen=True)
class WindowClips:
    """Clips of one window.

    Args:
        clips: uint8 (T, S, S, C) for each of the shapes; (): most of its frames are lost.
        num_lost: number of its frames that cannot be decoded; the picture before each stands for it.
    """

    clips: tuple[torch.Tensor, ...]
    num_lost: int


@dataclass(frozen=True)
class _KeptFrame:
    """Frame in the sizes that are needed.

    Args:
        number: number of the frame.
        by_size: side of the square -> uint8 (S, S, C).
    """

    number: int
    by_size: dict[int, torch.Tensor]


class WindowReader:
    """Reader of the clips of all windows of a video, once and in order.

    Args:
        source: path of a file or of a folder of pictures; or frames, uint8 (T, H, W, 3), RGB.
        preprocessing: choice of the clips.
        shapes: frame counts and sizes that are needed.
        every: seconds from the start of a window to that of the next.
        fps: frames per second of frames or of a folder; None: not known, they are taken for a video of the rate that
            the network is meant for.

    Attributes:
        name: path of the video, or "frames".
        windows: times of the windows.
        num_frames: number of the frames that some window has.
        num_lost: number of these so far that cannot be decoded.
        seconds: time that decoding, cropping and resizing took so far.

    Raises:
        VideoDecodeError: the video cannot be read.
        ValueError: see `VideoWindows` and `ClipReader.read`.
    """

    def __init__(
        self,
        source: str | Frames,
        preprocessing: Preprocessing,
        shapes: Sequence[ClipShape],
        every: float,
        fps: float | None = None,
    ):
        self.name = source if isinstance(source, str) else "frames"
        self._video = _open(source, fps)
        self._preprocessing, self._shapes = preprocessing, tuple(shapes)
        self.windows = VideoWindows(preprocessing, self._video.info, every)
        is_needed = np.zeros(self._video.info.num_frames, bool)
        for number in range(len(self.windows)):
            is_needed[self._indices(number)] = True
        self._needed = np.flatnonzero(is_needed)
        self.num_frames, self.num_lost, self.seconds = len(self._needed), 0, 0.0
        self._kept: deque[_KeptFrame] = deque()
        self._buffer = FrameBuffer()

    @property
    def num_damaged(self) -> int:
        """Number of pictures so far in which errors are concealed."""
        return self._video.num_damaged if isinstance(self._video, FrameSequence) else 0

    def check_any(self, num_windows: int) -> None:
        """Refuse a video without a clip that can be made.

        Args:
            num_windows: number of its windows, all of which were read, that have clips.

        Raises:
            VideoDecodeError: none has.
        """
        if not num_windows:
            raise VideoDecodeError(
                f"{self.name}: no window has half of its frames; {self.num_lost} of {self.num_frames} frames cannot be "
                "decoded"
            )

    def __iter__(self) -> Iterator[WindowClips]:
        """Yield the clips of each window, as soon as its last frame is there.

        Raises:
            VideoDecodeError: no frame can be decoded; a picture of a folder is damaged.
        """
        frames = self._frames()
        latest = -1
        for number in range(len(self.windows)):
            started = time.perf_counter()
            indices = self._indices(number)
            while latest < indices[-1] and (frame := next(frames, None)) is not None:
                self._kept.append(frame)
                latest = frame.number
            while len(self._kept) > 1 and self._kept[1].number <= indices[0]:
                self._kept.popleft()
            window = self._window(indices, number)
            self.seconds += time.perf_counter() - started
            yield window
        self.num_lost += int((self._needed > latest).sum())

    def _indices(self, number: int) -> np.ndarray:
        """Return the numbers of the frames that a window has in any shape, ascending, without repeats."""
        choice = self.windows.frames(number)
        counts = {shape.frames for shape in self._shapes}
        return np.unique(np.concatenate([choice.frame_indices(count) for count in counts]))

    def _frames(self) -> Iterator[_KeptFrame]:
        """Yield the frames that some window has, in the sizes that are needed."""
        sizes = {shape.size for shape in self._shapes}
        crop_sampler = self._preprocessing.crop_sampler(1)
        rng = np.random.default_rng(0)  # a uniform sampler draws nothing
        if isinstance(self._video, FrameSequence):
            pictures = self._video.read(self._needed)
        else:
            numbers = self._needed.tolist()
            pictures = zip(numbers, self._video.read(numbers), strict=True)
        before = 0
        for number, picture_HWC in pictures:
            place = int(np.searchsorted(self._needed, number))
            self.num_lost += place - before
            before = place + 1
            box = crop_sampler.box(rng, 0, *picture_HWC.shape[:2])
            (cut_1HWC,) = crop_frames([picture_HWC], 1, [box], [self._buffer])
            yield _KeptFrame(number, {size: resize_frames(cut_1HWC, [0], size, self._buffer)[0] for size in sizes})

    def _window(self, indices: np.ndarray, number: int) -> WindowClips:
        numbers = [frame.number for frame in self._kept]
        num_lost = len(set(indices.tolist()).difference(numbers))
        if 2 * num_lost > len(indices):
            return WindowClips((), num_lost)
        choice = self.windows.frames(number)
        clips = []
        for shape in self._shapes:
            # A lost frame's place has the picture before it, as a pause has.
            places = (max(bisect_right(numbers, index) - 1, 0) for index in choice.frame_indices(shape.frames).tolist())
            clips.append(torch.stack([self._kept[place].by_size[shape.size] for place in places]))
        return WindowClips(tuple(clips), num_lost)


def _open(source: str | Frames, fps: float | None) -> FrameSequence | FramesInMemory | FrameFolder:
    if not isinstance(source, str):
        return FramesInMemory(source, fps)
    if is_folder(source):
        return open_frame_folder(source, fps)
    refuse_fps_of_file(fps)
    return FrameSequence(source)
