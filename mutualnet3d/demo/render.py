"""Rendering of the demo clips: patches of shapes, background, frames.

Legend: T frames, H height, W width, C colour channels (red, green, blue), S side of a shape's window, P of its patch.
Lengths are in frame heights, x to the right and y downwards from the frame's centre; grey levels run from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from mutualnet3d.demo.motion import (
    CLASSES,
    ShapePath,
    draw_distractor_path,
    draw_main_path,
    draw_smooth_noise,
)
from mutualnet3d.demo.style import DEFAULT_STYLE, MovingShapesStyle, check_allowed

_SUBPIXELS = 3  # background positions per pixel
_REACH = 1.1  # a patch's half side, in shape radii


def check_frame_size(num_frames: int, height: int, width: int, fps: int) -> None:
    """Raise a `ValueError` for frames that no clip can have."""
    for name, value, lowest in (("num_frames", num_frames, 1), ("height", height, 16), ("fps", fps, 1)):
        check_allowed(value >= lowest, name, value, f"{lowest} or more")
    check_allowed(width >= height, "width", width, f"the height ({height}) or more")


@dataclass(frozen=True)
class _Windows:
    """Surroundings of a shape by frame: pictures (T, S, S, C) of `_draw_patch`, top rows and left columns (T)."""

    colour: np.ndarray
    transparency: np.ndarray
    top_T: np.ndarray
    left_T: np.ndarray

    def paste(self, t: int, frame: np.ndarray) -> None:
        """Lay the window of frame t over the frame (H, W, C), as far as they overlap."""
        top, left, side = int(self.top_T[t]), int(self.left_T[t]), self.colour.shape[1]
        y0, y1 = (min(max(y, 0), frame.shape[0]) for y in (top, top + side))
        x0, x1 = (min(max(x, 0), frame.shape[1]) for x in (left, left + side))
        region, inside = frame[y0:y1, x0:x1], np.s_[t, y0 - top : y1 - top, x0 - left : x1 - left]
        region *= self.transparency[inside]
        region += self.colour[inside]


def _box(u: np.ndarray, v: np.ndarray, half_u: float, half_v: float) -> np.ndarray:
    return np.minimum(half_u - np.abs(u), half_v - np.abs(v))


# Distance to the outline (roughly; positive inside) at points (u, v) in units of the radius.
_OUTLINES: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    lambda u, v: 0.6 * (0.95 - np.hypot(u, v / 0.6)),  # ellipse
    lambda u, v: _box(u, v, 0.85, 0.5),  # rectangle
    lambda u, v: np.minimum(0.5 - v, 0.5 + v / 2 - 0.866 * np.abs(u)),  # triangle
    lambda u, v: 0.6 * (0.68 + 0.28 * np.cos(5 * np.arctan2(v, u)) - np.hypot(u, v)),  # star
    lambda u, v: np.maximum(_box(u, v, 0.92, 0.3), _box(u, v, 0.3, 0.92)),  # cross
    lambda u, v: np.maximum(_box(u + 0.32, v, 0.3, 0.75), _box(u, v - 0.48, 0.62, 0.27)),  # L
    lambda u, v: np.minimum(0.95 - np.hypot(u, v), np.hypot(u - 0.5, v) - 0.6),  # crescent
)


def _draw_patch(
    rng: Generator,
    radius_px: float,
    grey: float,
    style: MovingShapesStyle,
    across_stripes: float | None = None,
    radius_heights: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a shape: colour (P, P, C), 0 to 255, weighted by opacity; transparency (P, P, C), 0 to 1.

    Args:
        rng: source of the random stripes and colours.
        radius_px: radius of the shape, pixels.
        grey: grey value of the shape, 0 to 255.
        style: ranges of what is drawn at random.
        across_stripes: direction across a striped class's stripes, radians; None for a shape of another class.
        radius_heights: radius in frame heights, which the period of these stripes refers to.
    """
    side_P = np.linspace(-_REACH, _REACH, 8 * math.ceil(radius_px) + 1, dtype=np.float32)
    u, v = side_P[None, :], side_P[:, None]
    distance = _OUTLINES[rng.integers(len(_OUTLINES))](u, v)
    opacity = np.clip(0.5 + distance * radius_px, 0, 1)[..., None]  # the edge is about one pixel wide
    opacity[[0, -1]] = opacity[:, [0, -1]] = 0  # points beyond the patch take the value of its border
    # The gradient, with broad stripes across it, leaves no outline rotationally symmetric.
    direction, phase, stripes = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 2.0)
    along = (u * math.cos(direction) + v * math.sin(direction))[..., None]
    tint, gradient_tint = rng.uniform(-style.colour, style.colour, (2, 3))
    colour = grey + tint + gradient_tint * along
    if across_stripes is None:
        colour += style.shape_texture * (along + np.sin(2 * np.pi * stripes * along + phase))
    else:
        period = math.exp(rng.uniform(*np.log(style.stripe_period_heights))) / radius_heights  # in radii
        across = (u * math.cos(across_stripes) + v * math.sin(across_stripes))[..., None]
        colour += style.shape_texture * along + style.stripe_texture * np.sin(2 * np.pi / period * across + phase)
    return (255 * opacity * colour.clip(0, 1)).astype(np.float32), np.repeat(1 - opacity, 3, -1)


def _sample_windows(patch: tuple[np.ndarray, np.ndarray], path: ShapePath, height: int, width: int) -> _Windows:
    """Return the patch, moved and turned along its path."""
    y_T, x_T = (path.y_T + 0.5) * height - 0.5, path.x_T * height + width / 2 - 0.5
    half = math.ceil(path.radius_T.max() * height * _REACH) + 1
    top_T, left_T = np.rint(y_T).astype(int) - half, np.rint(x_T).astype(int) - half
    side_S = np.arange(2 * half + 1)
    dy = ((top_T - y_T)[:, None, None] + side_S[:, None]).astype(np.float32)
    dx = ((left_T - x_T)[:, None, None] + side_S).astype(np.float32)
    # Nearest neighbours will do: the patch has several samples per pixel, with soft edges.
    last = len(patch[0]) - 1
    scale_T = last / (2 * _REACH * path.radius_T * height)
    cos_T = (scale_T * np.cos(path.angle_T)).astype(np.float32)[:, None, None]
    sin_T = (scale_T * np.sin(path.angle_T)).astype(np.float32)[:, None, None]
    column = np.clip(cos_T * dx + sin_T * dy + (last / 2 + 0.5), 0, last).astype(np.int32)
    row = np.clip(cos_T * dy - sin_T * dx + (last / 2 + 0.5), 0, last).astype(np.int32)
    colour, transparency = (picture.reshape(-1, 3).take(row * (last + 1) + column, axis=0) for picture in patch)
    return _Windows(colour, transparency, top_T, left_T)


def _background_frames(
    rng: Generator, num_frames: int, height: int, width: int, fps: int, grey: float, style: MovingShapesStyle
) -> Iterator[np.ndarray]:
    """Yield views (H, W, C), 0 to 255, of a textured plane that drifts below the frame."""
    direction, speed_px = rng.uniform(0, 2 * np.pi), rng.uniform(*style.background_heights_per_s) * height / fps
    shift_T2 = np.outer(np.arange(num_frames), [speed_px * math.sin(direction), speed_px * math.cos(direction)])
    shift_T2 = np.rint((shift_T2 - shift_T2.min(0)) * _SUBPIXELS).astype(int)
    rows, columns = np.array([height, width]) + shift_T2.max(0) // _SUBPIXELS + 1
    # All rows of one subpixel position follow one another, so that a frame is one block.
    y = (np.arange(_SUBPIXELS)[:, None] / _SUBPIXELS + np.arange(rows)).astype(np.float32).reshape(-1, 1) / height
    x = (np.arange(_SUBPIXELS)[:, None] / _SUBPIXELS + np.arange(columns)).astype(np.float32).reshape(1, -1) / height
    plane = np.full((y.size, x.size, 3), 255 * (grey + rng.uniform(-style.colour, style.colour, 3)), np.float32)
    for _ in range(3):
        wave, phase = rng.uniform(0.0, np.pi), rng.uniform(0, 2 * np.pi)
        frequency = 2 * np.pi * rng.uniform(1.0, 5.0)  # radians per height
        level = np.sin(frequency * math.cos(wave) * x + (frequency * math.sin(wave) * y + phase))
        for channel, weight in enumerate(rng.uniform(0.1, 0.6, 3)):
            plane[..., channel] += level * np.float32(255 * style.background_texture * weight)
    for (row, subrow), (column, subcolumn) in ((divmod(int(s), _SUBPIXELS) for s in pair) for pair in shift_T2):
        top, left = subrow * rows + row, subcolumn * columns + column
        yield plane[top : top + height, left : left + width]


def render_clip(
    label: int,
    rng: Generator,
    num_frames: int,
    height: int = 72,
    width: int = 96,
    fps: int = 24,
    style: MovingShapesStyle = DEFAULT_STYLE,
) -> np.ndarray:
    """Render a clip of the class `CLASSES[label]`.

    Args:
        label: position of the class in `CLASSES`.
        rng: generator of all draws.
        num_frames: length of the clip, 1 or more.
        height: pixels, 16 or more.
        width: pixels, the height or more.
        fps: frames per second.
        style: appearance and difficulty.

    Returns:
        uint8 frames (T, H, W, 3); they depend on the arguments and on the state of rng alone.

    Raises:
        ValueError: there is no such label or frame size.
    """
    check_allowed(0 <= label < len(CLASSES), "label", label, f"0 to {len(CLASSES) - 1}")
    check_frame_size(num_frames, height, width, fps)
    aspect = width / height
    main = draw_main_path(label, rng, num_frames, aspect, fps, style)
    count = int(rng.integers(style.distractors[0], style.distractors[1] + 1))
    paths = [draw_distractor_path(i % 2 == 1, rng, num_frames, aspect, fps, style) for i in range(count)]

    background_grey = rng.uniform(*style.background_grey)
    side = 1 if background_grey < 0.5 else -1  # the side with more room
    shapes = []
    # The typical radius, not the path's own: else the sharpness of edges would tell growing shapes from still ones.
    large, small = (sum(radii) / 2 for radii in (style.radius_heights, style.distractor_radius_heights))
    across_stripes = CLASSES[label].across_stripes(float(main.angle_T[0]))
    for path, radius, across in [*((path, small, None) for path in paths), (main, large, across_stripes)]:
        grey = min(max(background_grey + side * rng.uniform(*style.contrast), 0.15), 0.85)
        patch = _draw_patch(rng, height * radius, grey, style, across, radius)
        shapes.append(_sample_windows(patch, path, height, width))

    gain_T = 1 + style.flicker * draw_smooth_noise(rng, num_frames, fps)
    grain = rng.standard_normal((height + 16, width + 16, 1), np.float32) * (255 * style.noise) + 0.5  # 0.5: to round
    grain = np.repeat(grain, 3, -1)
    grain_at_T2 = rng.integers(0, 17, (num_frames, 2))
    frames_THWC = np.empty((num_frames, height, width, 3), np.uint8)
    for t, view in enumerate(_background_frames(rng, num_frames, height, width, fps, background_grey, style)):
        frame = view.copy()
        for windows in shapes:
            windows.paste(t, frame)
        frame *= gain_T[t]
        frame += grain[grain_at_T2[t, 0] :, grain_at_T2[t, 1] :][:height, :width]
        frames_THWC[t] = np.clip(frame, 0, 255, out=frame)
    return frames_THWC
