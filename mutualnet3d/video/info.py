"""Interface of everything that gives a video's frames by their numbers: files, folders of pictures, arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol, Self

import numpy as np

from mutualnet3d.video.frame_rate import choose_frame_rate
from mutualnet3d.video.frame_times import are_even, frame_distances, frame_times, typical_distances


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video that a clip sampler has to know.

    Args:
        num_frames: number of frames.
        fps: frames per second; None: not known. Where `times` are known, the rate at which most frames come.
        times: seconds from the first frame to each, ascending, float64; None: the frames are evenly spaced, or their
            times are not known.
    """

    num_frames: int
    fps: float | None
    times: np.ndarray | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        assert self.times is None or len(self.times) == self.num_frames, "times are of all frames"

    def with_count(self, num_frames: int) -> VideoInfo:
        """Return the properties of the same video with another number of frames.

        It is unknown which frames are missing, so that each gets the time of about its place.
        """
        if self.times is None:
            return replace(self, num_frames=num_frames)
        places = np.linspace(0, self.num_frames - 1, num_frames).round().astype(np.int64)
        return replace(self, num_frames=num_frames, times=self.times[places])


def measure_info(
    num_frames: int,
    timestamps: Sequence[int | None] | None,
    time_base: Fraction | None,
    header_rates: Sequence[float] = (),
    header_seconds: float | None = None,
) -> VideoInfo:
    """Return the properties that the timestamps of a video's frames show, or else its header.

    Args:
        num_frames: number of frames.
        timestamps: time of each frame, in units of `time_base`; those that do not ascend are not believed. None: the
            file has none.
        time_base: seconds of a unit; None: not known.
        header_rates: believable frame rates of the header, the best one first.
        header_seconds: duration that the header states; None: none.
    """
    mean_rate = num_frames / header_seconds if header_seconds else None
    distances = None
    if time_base and timestamps is not None and len(timestamps) == num_frames > 1:
        distances = frame_distances(timestamps, time_base)
    if distances is None or time_base is None or are_even(distances, time_base):
        return VideoInfo(num_frames, choose_frame_rate(header_rates, distances, time_base, mean_rate))
    fps = choose_frame_rate(header_rates, typical_distances(distances), time_base, mean_rate)
    return VideoInfo(num_frames, fps, None if fps is None else frame_times(distances, time_base))


class ReadableVideo(Protocol):
    """A video whose frames can be read by their numbers."""

    @property
    def info(self) -> VideoInfo:
        """Number, rate and times of the video's frames."""

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames at `indices`, upright, RGB, uint8 (H, W, 3), all of one size.

        Args:
            indices: numbers of the frames, from 0, ascending, no repeats.

        Raises:
            FrameCountCorrected: the video has fewer frames than `info` said; `info` has changed.
            VideoDecodeError: the video breaks.
        """
        ...


class OpenVideo(ReadableVideo, Protocol):
    """A readable video that is a context manager, which closes it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
