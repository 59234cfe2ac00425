"""Predictions drawn into the frames of a video."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from mutualnet3d.deploy.activation_map import ActivationMap
from mutualnet3d.deploy.overlay import draw_overlay
from mutualnet3d.deploy.stream import Window
from mutualnet3d.log import logger, progress
from mutualnet3d.results.query_table import Row
from mutualnet3d.video.frame_stream import FrameStream
from mutualnet3d.video.writer import VideoWriter

# Narrower pictures have no room for letters; they are enlarged to this width at least, if that makes none this high.
_NARROW, _ENLARGED, _HIGH = 160, 320, 2160
_REPORT_SECONDS = 10.0


class Artist:
    """Writer of frames with the current window's prediction drawn into them, and its activation map where it has one.

    Args:
        writer: destination of the frames.
        front: sub-networks that are shown beside the one that ran.
        budget: milliseconds of a window; None: there is none.

    Attributes:
        window: latest window; None: there is none yet, and nothing is drawn.
        num_frames: number of frames written.
    """

    def __init__(self, writer: VideoWriter, front: Sequence[Row], budget: float | None):
        self._writer, self._front, self._budget = writer, front, budget
        self.window: Window | None = None
        self.num_frames = 0

    def draw(self, picture_HWC: np.ndarray, seconds: float, pixel_aspect: Fraction | None = None) -> None:
        """Write a frame with its drawing; `pixel_aspect`: see `VideoWriter.write`."""
        window, factor = self.window, enlargement(*picture_HWC.shape[:2])
        picture_HWC = picture_HWC.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else picture_HWC
        if window is not None:
            if isinstance(window.prediction, ActivationMap):
                picture_HWC = window.prediction.draw_on(picture_HWC, seconds - window.start_seconds)
            picture_HWC = draw_overlay(
                picture_HWC,
                window.prediction,
                milliseconds=window.milliseconds,
                budget=self._budget,
                front=self._front,
            )
        self._writer.write(picture_HWC, seconds, pixel_aspect)
        self.num_frames += 1

    def drawn(self, source: FrameStream, seconds: float) -> Iterator[np.ndarray]:
        """Yield the pictures of a live source for `seconds`; draw and write all of them."""
        try:
            for when, picture_HWC in source:
                if when >= seconds:
                    return
                self.draw(picture_HWC, when, source.pixel_aspect)
                yield picture_HWC
        finally:
            source.close()


def enlargement(height: int, width: int) -> int:
    """Return the factor by which pictures of `height` x `width` pixels are enlarged."""
    return 1 if width >= _NARROW else max(1, min(math.ceil(_ENLARGED / width), _HIGH // height))


def draw_file(artist: Artist, source: FrameStream, windows: Iterator[Window], seconds: float, num_frames: int) -> None:
    """Draw every frame of a file with the window whose middle is the nearest."""
    artist.window, following = next(windows, None), next(windows, None)
    frames = itertools.takewhile(lambda frame: frame[0] < seconds, source)
    try:
        for when, picture_HWC in progress(frames, num_frames, "frames drawn"):
            while following is not None and artist.window and when >= _between(artist.window, following):
                artist.window, following = following, next(windows, None)
            artist.draw(picture_HWC, when, source.pixel_aspect)
    finally:
        source.close()


def _between(window: Window, following: Window) -> float:
    """Return the time that is as near to the middle of one window as to that of the other, seconds."""
    ends = (window.start_seconds, window.end_seconds, following.start_seconds, following.end_seconds)
    return sum(ends) / 4


def draw_camera(artist: Artist, windows: Iterator[Window]) -> None:
    """Draw frames until the camera or Ctrl-C ends, and log the latest prediction now and then.

    Args:
        artist: writer of the frames, which draws them where the stream reads them.
        windows: predicted windows of the camera.

    Raises:
        ValueError: there was nothing to see.
    """
    last_report = time.monotonic()
    try:
        for window in windows:
            artist.window = window
            if time.monotonic() - last_report >= _REPORT_SECONDS:
                last_report = time.monotonic()
                best, config = window.prediction.labels[0], window.prediction.config
                logger.info(
                    "%.0f s: %s %.0f %%; %s, %.1f ms",
                    window.end_seconds,
                    best.name,
                    100 * best.score,
                    config,
                    window.milliseconds,
                )
    except KeyboardInterrupt:  # so is a recording ended
        logger.info("ended by Ctrl-C")
    if not artist.num_frames:
        raise ValueError("the camera gave no picture")
