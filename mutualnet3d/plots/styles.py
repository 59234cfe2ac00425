"""Colours and markers of curves."""

from __future__ import annotations

from collections.abc import Sequence

from mutualnet3d.plots.curves import Curve

# Okabe and Ito's colours, which the colour-blind can tell apart, without black and the yellow that white swallows;
# every curve has a marker of its own besides.
BLUE, ORANGE = "#0072B2", "#D55E00"
COLORS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#808080"

# Fonts of a page: the browser takes each character from the first that has it.
WEB_FONTS = "system-ui, 'Noto Sans', 'DejaVu Sans', 'Noto Sans CJK SC', 'WenQuanYi Zen Hei', sans-serif"


def line_styles(curves: Sequence[Curve]) -> list[tuple[str, str]]:
    """Return a colour and a marker (matplotlib's letter) for each curve, the same in every picture of these curves.

    References are grey, and take the markers from the other end of the list.
    """
    styles, numbers = [], {False: 0, True: 0}
    for curve in curves:
        number = numbers[curve.reference] % len(MARKERS)
        numbers[curve.reference] += 1
        styles.append((GREY, MARKERS[-1 - number]) if curve.reference else (COLORS[number], MARKERS[number]))
    return styles
