"""Map of where a network looks, drawn into pictures as heat.

Legend: T frames, H height, W width, S side of the square.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from mutualnet3d.data.clip_place import Box
from mutualnet3d.video.frames_in_memory import is_picture

# Ten evenly spaced colours of `inferno`, a perceptually uniform colour map (matplotlib, CC0); linear between them.
_INFERNO = (
    (0, 0, 4),
    (27, 12, 65),
    (74, 12, 107),
    (120, 28, 109),
    (165, 44, 96),
    (207, 68, 70),
    (237, 105, 37),
    (251, 155, 6),
    (247, 209, 61),
    (252, 255, 164),
)
_LEVELS = 256
# Opacity of the largest value; that of 0 is 0, so that the picture stays as it is where nothing counts.
_OPACITY = 0.7
_OUTLINE = (255, 255, 255, 110)
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def heat_colours() -> np.ndarray:
    """Return the colours of the values from 0 to 1, uint8 (256, 3), RGB."""
    stops = np.linspace(0.0, 1.0, len(_INFERNO))
    values = np.linspace(0.0, 1.0, _LEVELS)
    channels = [np.interp(values, stops, levels) for levels in np.array(_INFERNO, float).T]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def draw_heat(picture_HWC: np.ndarray, map_SS: np.ndarray, box: Box = _WHOLE) -> np.ndarray:
    """Return a copy of a picture with a map laid over a part of it, and an outline around that part.

    Args:
        picture_HWC: picture, uint8 (H, W, 3), RGB.
        map_SS: map, float (S, S), 0 to 1, with larger values brighter and less transparent.
        box: part of the picture under the map; the whole picture has no outline.

    Raises:
        ValueError: the picture or the map has another shape or type.
    """
    if not is_picture(picture_HWC):
        raise ValueError(f"a picture is uint8 (H, W, 3), RGB; got {picture_HWC.dtype} {picture_HWC.shape}")
    if map_SS.ndim != 2 or not np.issubdtype(map_SS.dtype, np.floating) or 0 in map_SS.shape:
        raise ValueError(f"a map is float (S, S), 0 to 1; got {map_SS.dtype} {map_SS.shape}")
    height, width = picture_HWC.shape[:2]
    top, left = round(box[0] * height), round(box[1] * width)
    bottom, right = max(round(box[2] * height), top + 1), max(round(box[3] * width), left + 1)
    resized = Image.fromarray(map_SS.astype(np.float32)).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    levels_HW = np.rint(np.clip(np.asarray(resized), 0.0, 1.0) * (_LEVELS - 1)).astype(np.uint8)
    opacity_HW1 = (_OPACITY / (_LEVELS - 1)) * levels_HW[..., None].astype(np.float32)
    drawn = np.array(picture_HWC, order="C")
    part_HWC = drawn[top:bottom, left:right].astype(np.float32)
    part_HWC += opacity_HW1 * (heat_colours()[levels_HW] - part_HWC)
    drawn[top:bottom, left:right] = np.rint(part_HWC).astype(np.uint8)
    if (bottom - top, right - left) == (height, width):
        return drawn
    image = Image.fromarray(drawn)
    ImageDraw.Draw(image, "RGBA").rectangle((left, top, right - 1, bottom - 1), outline=_OUTLINE)
    return np.asarray(image)
