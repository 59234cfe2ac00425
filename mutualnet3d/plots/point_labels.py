"""Labels beside points of a matplotlib picture, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

# Where a label may stand: its distance from the point in 1/72 inch, and which of its sides is there. The corners that
# lie off a rising curve come first.
_PLACES = (
    (4, -4, "left", "top"),
    (-4, 4, "right", "bottom"),
    (6, 0, "left", "center"),
    (-6, 0, "right", "center"),
    (0, -7, "center", "top"),
    (0, 7, "center", "bottom"),
    (4, 4, "left", "bottom"),
    (-4, -4, "right", "top"),
)


def place_labels(
    axes: Axes, labels: Iterable[tuple[float, float, str, dict[str, Any]]], occupied: Sequence[Bbox]
) -> None:
    """Put labels beside their points, in their order; leave out labels without a free place.

    No label covers another, a line of `axes` or the pixels `occupied`, and none leaves the frame. Call it after
    everything else has its place, since places are computed in pixels.

    Args:
        axes: axes of the picture.
        labels: labels: x, y (data), text, and style (keywords of `axes.annotate`).
        occupied: pixels that markers and error bars cover.
    """
    occupied = list(occupied)
    frame = axes.get_window_extent()
    drawn = [line for line in axes.lines if line.get_linestyle() != "None"]
    lines = [line.get_transform().transform_path(line.get_path()) for line in drawn]
    for x, y, text, style in labels:
        label = axes.annotate(text, (x, y), xytext=(0, 0), textcoords="offset points", **style)
        for right, up, ha, va in _PLACES:
            label.set(position=(right, up), ha=ha, va=va)
            box = label.get_window_extent().padded(2)  # neighbours without a gap read as one word
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if (
                inside
                and not box.count_overlaps(occupied)
                and not any(path.intersects_bbox(box, False) for path in lines)
            ):
                occupied.append(box)
                break
        else:
            label.remove()
