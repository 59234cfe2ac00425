"""Style of the demo clips: appearance and difficulty."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

Range = tuple[float, float]


def check_allowed(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raise a `ValueError` that names the value and the allowed ones, unless `holds`."""
    if not holds:
        raise ValueError(f"{name} is {value}; allowed: {allowed}")


@dataclass(frozen=True)
class MovingShapesStyle:
    """Appearance and difficulty of the clips; pairs are (lowest, highest) of a uniform draw per clip.

    Raises:
        ValueError: a value is negative, a pair falls, or a growth is below 1.
    """

    speed_heights_per_s: Range = (0.3, 0.45)  # of travel; lowered where max_travel_heights asks for it
    max_travel_heights: float = 0.9  # over the whole clip
    turn_degrees_per_s: Range = (120.0, 200.0)
    growth_per_s: Range = (1.8, 2.4)  # factor; lowered where max_growth asks for it
    max_growth: float = 5.0  # factor over the whole clip
    swing_hz: Range = (0.8, 1.6)
    tremble_hz: Range = (1.8, 2.7)  # of swings in classes that tremble
    swing_heights: Range = (0.14, 0.2)  # amplitude
    radius_heights: Range = (0.19, 0.26)  # main shape, of the circle round it, halfway through its growth
    place_heights: float = 0.05  # the path's middle lies within +- this (x: more in wide frames) of the frame's centre
    distractors: tuple[int, int] = (0, 1)  # number of small shapes without a class motion
    distractor_radius_heights: Range = (0.04, 0.08)
    distractor_heights_per_s: float = 0.04  # root mean square speed of those that wander (every second one)
    contrast: Range = (0.45, 0.65)  # grey levels between a shape and the background
    shape_texture: float = 0.22  # amplitude in grey levels of a shape's gradient, and of its stripes
    stripe_period_heights: Range = (
        0.055,
        0.2,
    )  # of striped classes; its logarithm is uniform
    stripe_texture: float = 0.35  # amplitude in grey levels
    colour: float = 0.08  # largest deviation of a channel from grey, in grey levels
    background_grey: Range = (0.15, 0.3)  # grey level; below 0.5 the shapes are brighter than it, above 0.5 darker
    background_texture: float = 0.04  # amplitude in grey levels
    background_heights_per_s: Range = (0.0, 0.04)  # drift, in a random direction
    noise: float = 0.005  # standard deviation in grey levels
    flicker: float = 0.01  # relative standard deviation of the brightness

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            lowest = 1 if "growth" in item.name else 0
            low, high = value if isinstance(value, tuple) else (value, value)
            check_allowed(
                lowest <= low <= high < math.inf, f"style.{item.name}", value, f"{lowest} or more, rising, finite"
            )


DEFAULT_STYLE = MovingShapesStyle()
# Of the demo: large shapes with clear stripes, and swings that few frames take for slower ones.
STRIPED_STYLE = MovingShapesStyle(
    swing_hz=(0.65, 1.15),
    tremble_hz=(1.9, 2.8),
    radius_heights=(0.28, 0.36),
    contrast=(0.3, 0.45),
    stripe_period_heights=(0.05, 0.22),
    stripe_texture=0.45,
    background_texture=0.02,
)
