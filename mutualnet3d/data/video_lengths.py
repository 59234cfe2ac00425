"""Lengths of some videos of a list, against the time that a clip spans: would most clips repeat a last frame?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from mutualnet3d.data.video_list import Video
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.info import VideoInfo
from mutualnet3d.video.open import open_video

# Videos that are opened, and seconds that this may take.
NUM_SAMPLED, MAX_SECONDS = 16, 5.0


def seconds_of(info: VideoInfo, usual_fps: float) -> float:
    """Return the seconds that a video lasts.

    Args:
        info: properties of the video.
        usual_fps: rate of a video that tells none, frames per second.
    """
    fps = usual_fps if info.fps is None else info.fps
    return info.num_frames / fps if info.times is None else float(info.times[-1]) + 1 / fps


def sampled_seconds(
    videos: Sequence[Video], usual_fps: float, clock: Callable[[], float] = time.monotonic
) -> list[float]:
    """Return the seconds that some videos of a list last, evenly chosen; those that cannot be read are left out.

    Args:
        videos: the list.
        usual_fps: see `seconds_of`.
        clock: time in seconds.
    """
    end = clock() + MAX_SECONDS
    seconds = []
    for place in np.unique(np.linspace(0, len(videos) - 1, min(NUM_SAMPLED, len(videos))).astype(np.int64)).tolist():
        remaining = end - clock()
        if remaining <= 0:
            break
        video = videos[place]
        try:
            with open_video(video.path, remaining, video.picture_paths) as opened:
                seconds.append(seconds_of(opened.info, usual_fps))
        except (VideoDecodeError, OSError):
            continue  # the run tells of bad videos when it needs them
    return seconds


def shorter_than_clips(seconds: Sequence[float], clip_seconds: float, frame_seconds: float) -> str | None:
    """Return a text with both numbers, if most videos are shorter than a clip; None: they are not.

    Args:
        seconds: seconds that some videos last.
        clip_seconds: time that a clip spans.
        frame_seconds: usual time of a frame: half of it does not count.
    """
    num_short = sum(length + 0.5 * frame_seconds < clip_seconds for length in seconds)
    if 2 * num_short <= len(seconds):
        return None
    return (
        f"a clip spans {clip_seconds:.2f} s, but {num_short} of {len(seconds)} videos that were looked at are shorter, "
        f"their median is {np.median(seconds):.2f} s: past the end of a video its last frame is repeated"
    )
