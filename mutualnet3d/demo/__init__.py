"""Demo data that the project makes itself: short videos of moving shapes.

The class is the motion, which shows in no single frame, and perhaps the direction of the shape's stripes, which shows
in large pictures.
"""

from mutualnet3d.demo.motion import CLASS_NAMES, DEFAULT_CLASSES, STRIPED_CLASSES
from mutualnet3d.demo.render import render_clip
from mutualnet3d.demo.style import DEFAULT_STYLE, STRIPED_STYLE, MovingShapesStyle
from mutualnet3d.demo.write_set import make_data_set, write_clip

__all__ = [
    "CLASS_NAMES",
    "DEFAULT_CLASSES",
    "DEFAULT_STYLE",
    "STRIPED_CLASSES",
    "STRIPED_STYLE",
    "MovingShapesStyle",
    "make_data_set",
    "render_clip",
    "write_clip",
]
