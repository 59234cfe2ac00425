"""Orientation of decoded frames: turns and mirrorings after which they stand upright, by their display matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type

# libav's numbers of further data of a frame that this PyAV has no names for; EXIF is one of them.
_UNNAMED = range(28, 32)


@dataclass(frozen=True)
class Orientation:
    """Way to an upright picture: mirrored top to bottom first, then turned.

    Args:
        turns: quarter turns against the clock, 0 to 3.
        is_mirrored: True to mirror.
    """

    turns: int = 0
    is_mirrored: bool = False

    @property
    def swaps_sides(self) -> bool:
        """True if the upright picture is as wide as the frame is high."""
        return self.turns % 2 == 1

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Return a picture (H, W, ...) upright: a view."""
        mirrored = picture[::-1] if self.is_mirrored else picture
        return np.rot90(mirrored, self.turns) if self.turns else mirrored


UPRIGHT = Orientation()


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """Return the way to an upright frame, by the container's matrix or the frame's own (H.264's, EXIF's)."""
    try:
        matrix = _display_matrix(frame)
    except ValueError:  # PyAV lists nothing of a frame with data that it has no name for
        matrix = _display_matrix(_without_unnamed_data(frame))
    return UPRIGHT if matrix is None else orientation_of_matrix(matrix)


def orientation_of_matrix(matrix: Sequence[int]) -> Orientation:
    """Return the orientation that a display matrix means, as FFmpeg's command turns pictures.

    Args:
        matrix: 9 numbers of libav's AV_FRAME_DATA_DISPLAYMATRIX: a point (x, y) of the frame is shown at
            (m[0] x + m[3] y, m[1] x + m[4] y), but for a constant. Other angles than whole quarters count as the
            nearest one.
    """
    a, b, _, c, d = matrix[:5]
    if not (a or b) or not (c or d):
        return UPRIGHT  # no picture would be left
    turns = round(-math.degrees(math.atan2(b, a)) / 90) % 4
    return Orientation(turns, is_mirrored=a * d - b * c < 0)


def _display_matrix(frame: av.VideoFrame) -> list[int] | None:
    # Not `frame.side_data`: the frame would keep it, and it the frame, until the garbage collector comes by.
    by_type: Mapping[Any, Any] = SideDataContainer(frame)  # type: ignore[call-arg]
    data = by_type.get(Type.DISPLAYMATRIX) if by_type else None
    return None if data is None else np.frombuffer(data, np.int32).tolist()


def _without_unnamed_data(frame: av.VideoFrame) -> av.VideoFrame:
    """Return the frame without its further data that PyAV has no names for."""
    graph = av.filter.Graph()
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    for number in _UNNAMED:
        deleting = graph.add("sidedata", f"mode=delete:type={number}")
        last.link_to(deleting)
        last = deleting
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    named = graph.pull()
    assert isinstance(named, av.VideoFrame)
    return named
