"""Decoded frames to upright pictures: the form of their pixels, their RGB values and size."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from mutualnet3d.video.orientation import UPRIGHT, orientation_of

# libav's number of the range of values that goes without saying in yuv420p.
LIMITED_RANGE = 1


def upright_pixel_aspect(stream: av.VideoStream, frame: av.VideoFrame) -> Fraction | None:
    """Return width over height of the upright picture's pixels; None: the file does not tell."""
    aspect = stream.sample_aspect_ratio
    if not aspect:
        return None
    return 1 / aspect if orientation_of(frame).swaps_sides else aspect


class RgbConverter:
    """Converter of frames to upright RGB pictures of one size: the first frame's, or a smaller one.

    Args:
        max_short_side: pixels; larger pictures are shrunk to it. None: any size.
    """

    def __init__(self, max_short_side: int | None = None):
        self._max_short_side = max_short_side
        self._reformatter = VideoReformatter()
        self._upright_size: tuple[int, int] | None = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Return the picture, uint8 (H, W, 3): a view, whose memory is read backwards where it was turned."""
        orientation = orientation_of(frame)
        if self._upright_size is None:
            size = self.shrunk_size(frame.width, frame.height)
            self._upright_size = size[::-1] if orientation.swaps_sides else size
        # A video may be turned from one frame on.
        width, height = self._upright_size[::-1] if orientation.swaps_sides else self._upright_size
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        plane = rgb.planes[0]
        # A view that keeps libav's memory alive for as long as it is used: nothing is copied.
        picture = np.ndarray((height, width, 3), np.uint8, buffer=plane, strides=(plane.line_size, 3, 1))  # type: ignore[arg-type]
        return orientation.apply(picture)

    def shrink(self, picture_HWC: np.ndarray) -> np.ndarray:
        """Return an upright picture in that size; the picture itself where it is not too large."""
        height, width = picture_HWC.shape[:2]
        if self.shrunk_size(width, height) == (width, height):
            return picture_HWC
        return self(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="rgb24"))

    def shrunk_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (width, height) of pictures that are (width, height) in the file."""
        short_side = min(width, height)
        if self._max_short_side is None or short_side <= self._max_short_side:
            return width, height
        width, height = (max(1, round(side * self._max_short_side / short_side)) for side in (width, height))
        return width, height


def upright_yuv420(frame: av.VideoFrame, size: tuple[int, int]) -> av.VideoFrame:
    """Return the frame in yuv420p, upright, then of `size` (width, height)."""
    orientation = orientation_of(frame)
    width, height = size[::-1] if orientation.swaps_sides else size
    picture = frame.reformat(
        width=width, height=height, format="yuv420p", interpolation="BICUBIC", dst_color_range=LIMITED_RANGE
    )
    if orientation == UPRIGHT:
        return picture
    flat = picture.to_ndarray().ravel()
    luma, chroma = flat[: width * height], flat[width * height :]
    planes = [luma.reshape(height, width), *chroma.reshape(2, height // 2, width // 2)]
    turned = np.concatenate([orientation.apply(plane).ravel() for plane in planes])
    return av.VideoFrame.from_ndarray(turned.reshape(-1, size[0]), format="yuv420p")
