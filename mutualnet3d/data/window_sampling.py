"""Windows over a whole video, and the frames of each: arithmetic only.

A window spans the time of a network's clip, and its frames are those that a test's clip of the same time has. Windows
begin every so many seconds, from the first frame on, as long as they fit into the video; a video that is shorter than
one has a single window of all of it.
"""

from __future__ import annotations

import math

import numpy as np

from mutualnet3d.data.clip_samplers import FrameChoice, UniformSpans
from mutualnet3d.data.clip_sampling import FullClip, Span, span_length
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.video.info import VideoInfo

# More windows are taken for a mistake in the distance between them: their scores would need gigabytes.
MAX_WINDOWS = 1_000_000
# Part of a window by which the last one may be longer than the rest of the video: rounding.
_EPSILON = 1e-6


def check_every(every: float) -> None:
    """Refuse a distance of windows that is not allowed.

    Args:
        every: seconds from the start of a window to that of the next.

    Raises:
        ValueError: it is no number above 0.
    """
    if isinstance(every, bool) or not isinstance(every, int | float) or not 0 < every < math.inf:
        raise ValueError(f"every is {every!r}; it must be a number above 0, seconds")


class VideoWindows:
    """Windows of a video.

    Args:
        preprocessing: choice of the clips.
        info: number, rate and times of the video's frames.
        every: seconds from the start of a window to that of the next.

    Attributes:
        every: seconds from the start of a window to that of the next.
        span_seconds: time that a window spans, seconds; in a video that is shorter, the video's.
        duration_seconds: time that the video lasts.
        start_N: start of each window, seconds since the first frame, float64.

    Raises:
        ValueError: `every` is no number above 0, or so small that there are more than `MAX_WINDOWS` windows.
    """

    def __init__(self, preprocessing: Preprocessing, info: VideoInfo, every: float):
        check_every(every)
        how = preprocessing
        self._fps = float(how.target_fps if info.fps is None else info.fps)
        self._info, self._sampler = info, how.frame_sampler(1)
        self.every = float(every)
        last = (info.num_frames - 1) / self._fps if info.times is None else float(info.times[-1])
        self.duration_seconds = last + 1 / self._fps
        span = span_length(how.num_frames, how.sampling_rate, how.target_fps, 1.0)
        more = math.floor((self.duration_seconds - span) / self.every + _EPSILON)
        if more >= MAX_WINDOWS:
            raise ValueError(
                f"every is {every:g} s: {more + 1} windows in a video of {self.duration_seconds:.0f} s; allowed are "
                f"{MAX_WINDOWS}"
            )
        self.start_N = self.every * np.arange(max(0, more) + 1)
        self.span_seconds = min(span, self.duration_seconds)
        self._length = span * self._fps
        self._places = None if info.times is None else info.times * self._fps

    def __len__(self) -> int:
        return len(self.start_N)

    def frames(self, window: int) -> FrameChoice:
        """Return the frames of a window, by its number."""
        start = float(self.start_N[window]) * self._fps
        span = Span(start, self._length, self._info.num_frames, self._places)
        if isinstance(self._sampler, UniformSpans):
            return self._sampler.clip_span.choose(span)
        first, last = span.frame_indices(2).tolist()
        rng = np.random.default_rng(0)  # a uniform sampler draws nothing
        part = self._sampler.sample(rng, 0, VideoInfo(last - first + 1, self._info.fps))
        assert isinstance(part, FullClip)
        return FullClip(part.indices + first)
