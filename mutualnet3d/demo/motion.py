"""Classes and motion of the demo clips: clocks and paths.

A main shape has six ways to change: travel along x and along y, growth, turn, and a swing along x and along y. Each has
a clock. The class runs one clock, forwards or backwards; the others stand still at a random time. So a frame taken at a
random time has the same distribution under all motions, and a clip of ``move_left`` played backwards is one of
``move_right``. Travel and growth neither bounce nor wrap round (either would put a contrary motion into some windows of
the clip): their rate is limited so that the whole clip holds one uninterrupted run.

An oscillation is a slow swing, a tremble a fast one: a clip of few frames shows both alike. Striped classes are a
motion of a shape with stripes that stand upright or lie level on the screen: fine ones vanish from a small picture.

Legend: T frames. Lengths are in frame heights, x to the right and y downwards from the frame's centre.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from mutualnet3d.demo.style import MovingShapesStyle, Range

_CLOCK_OF_MOTION = {  # motion -> (the clock that runs, its direction)
    "move_left": ("travel_x", -1),
    "move_right": ("travel_x", 1),
    "move_up": ("travel_y", -1),
    "move_down": ("travel_y", 1),
    "rotate_clockwise": ("turn", 1),
    "rotate_counterclockwise": ("turn", -1),
    "grow": ("growth", 1),
    "shrink": ("growth", -1),
    "oscillate_horizontally": ("swing_x", 1),
    "oscillate_vertically": ("swing_y", 1),
    "tremble_horizontally": ("swing_x", 1),
    "tremble_vertically": ("swing_y", 1),
}
_CLOCKS = ("travel_x", "travel_y", "turn", "growth", "swing_x", "swing_y")
_TREMBLES = ("tremble_horizontally", "tremble_vertically")
_ACROSS_STRIPES = {"upright": 0.0, "level": math.pi / 2}  # direction on the screen that crosses the stripes, radians


@dataclass(frozen=True)
class ShapeClass:
    """Class of a clip: the main shape's motion, and its stripes, "" for none."""

    motion: str
    stripes: str = ""

    @property
    def name(self) -> str:
        """Name of the class, as lists and predictions have it."""
        return f"{self.motion}_{self.stripes}" if self.stripes else self.motion

    @property
    def trembles(self) -> bool:
        """True for a motion to and fro, faster than a few frames show."""
        return self.motion in _TREMBLES

    def across_stripes(self, angle: float) -> float | None:
        """Return the direction across the stripes, in radians of a shape turned by `angle`; None without stripes."""
        return _ACROSS_STRIPES[self.stripes] - angle if self.stripes else None


# Stripes of a shape that turns would neither stay upright nor level.
CLASSES = tuple(ShapeClass(motion) for motion in _CLOCK_OF_MOTION) + tuple(
    ShapeClass(motion, stripes)
    for stripes in _ACROSS_STRIPES
    for motion in _CLOCK_OF_MOTION
    if not motion.startswith("rotate")
)
CLASS_NAMES = tuple(shape_class.name for shape_class in CLASSES)
# The direction of a turn takes a small network longer to learn than all other motions, so a data set has the
# rotations on request only.
DEFAULT_CLASSES = tuple(name for name in _CLOCK_OF_MOTION if not name.startswith("rotate") and name not in _TREMBLES)
# Of the demo: they tell large clips from small ones and many frames from few.
STRIPED_CLASSES = tuple(
    shape_class.name
    for shape_class in CLASSES
    if shape_class.stripes and shape_class.motion.startswith(("move", "oscillate", "tremble"))
)


def unused_of_style(names: Iterable[str]) -> list[str]:
    """Return the fields of the style that clips of these classes do not depend on."""
    classes = [CLASSES[CLASS_NAMES.index(name)] for name in names]
    unused = [] if any(shape_class.trembles for shape_class in classes) else ["tremble_hz"]
    striped = any(shape_class.stripes for shape_class in classes)
    return unused if striped else [*unused, "stripe_period_heights", "stripe_texture"]


@dataclass(frozen=True)
class ShapePath:
    """Centre and radius of a shape in frame heights, and its angle in radians (clockwise on the screen), by frame."""

    x_T: np.ndarray
    y_T: np.ndarray
    radius_T: np.ndarray
    angle_T: np.ndarray


def draw_main_path(
    label: int, rng: Generator, num_frames: int, aspect: float, fps: int, style: MovingShapesStyle
) -> ShapePath:
    """Draw the main shape's path; the draws do not depend on the label.

    Args:
        label: position of the class in `CLASS_NAMES`.
        rng: generator of the draws.
        num_frames: length of the clip.
        aspect: width / height of the frame.
        fps: frames per second.
        style: rates and sizes.
    """
    running, direction = _CLOCK_OF_MOTION[CLASSES[label].motion]
    seconds = num_frames / fps
    clock_T = {name: np.full(num_frames, rng.random()) for name in _CLOCKS}  # 0 to 1 over the clip
    clock_T[running] = ((np.arange(num_frames) + 0.5) / num_frames)[::direction]

    def change(per_second: Range, limit: float = math.inf) -> float:
        highest = min(per_second[1], limit / seconds)
        return seconds * rng.uniform(min(per_second[0], highest), highest)

    swing_hz = style.tremble_hz if CLASSES[label].trembles else style.swing_hz

    def coordinate_T(axis: str, place: float) -> np.ndarray:
        travel_T = change(style.speed_heights_per_s, style.max_travel_heights) * (clock_T[f"travel_{axis}"] - 0.5)
        cycles_T = rng.random() + change(swing_hz) * clock_T[f"swing_{axis}"]
        swing_T = rng.uniform(*style.swing_heights) * np.sin(2 * np.pi * cycles_T)
        return rng.uniform(-place, place) + travel_T + swing_T

    log_growth = change((math.log(style.growth_per_s[0]), math.log(style.growth_per_s[1])), math.log(style.max_growth))
    return ShapePath(
        # In x a quarter of the extra width, so that a central square crop still holds most of the shape.
        x_T=coordinate_T("x", style.place_heights + (aspect - 1) / 4),
        y_T=coordinate_T("y", style.place_heights),
        radius_T=rng.uniform(*style.radius_heights) * np.exp(log_growth * (clock_T["growth"] - 0.5)),
        angle_T=rng.uniform(0, 2 * np.pi) + math.radians(change(style.turn_degrees_per_s)) * clock_T["turn"],
    )


def draw_distractor_path(
    wanders: bool, rng: Generator, num_frames: int, aspect: float, fps: int, style: MovingShapesStyle
) -> ShapePath:
    """Draw the path of a small shape that wanders about or stands still; see `draw_main_path`."""
    step = wanders * style.distractor_heights_per_s / fps
    ones_T = np.ones(num_frames)
    return ShapePath(
        x_T=rng.uniform(-0.45, 0.45) * aspect + step * np.cumsum(draw_smooth_noise(rng, num_frames, fps)),
        y_T=rng.uniform(-0.45, 0.45) + step * np.cumsum(draw_smooth_noise(rng, num_frames, fps)),
        radius_T=rng.uniform(*style.distractor_radius_heights) * ones_T,
        angle_T=rng.uniform(0, 2 * np.pi) * ones_T,
    )


def draw_smooth_noise(rng: Generator, num_frames: int, fps: int) -> np.ndarray:
    """Draw noise (T) of unit variance whose values about half a second apart are independent."""
    span = max(1, fps // 2)
    return np.convolve(rng.standard_normal(num_frames + span - 1), np.full(span, span**-0.5), "valid")
