from __future__ import annotations

from mutualnet3d.plots.curves import Curve, Point
from mutualnet3d.plots.styles import COLORS, GREY, MARKERS, line_styles


def test_seven_curves_look_different():
    curves = [Curve(str(number), (Point(1.0, number),), reference=number > 3) for number in range(7)]
    assert len(set(line_styles(curves))) == 7


def test_references_are_grey_and_others_keep_their_colours_beside_them():
    own, reference = Curve("own", (Point(1.0, 1.0),)), Curve("paper", (Point(1.0, 2.0),), reference=True)
    assert line_styles([reference, own]) == [(GREY, MARKERS[-1]), (COLORS[0], MARKERS[0])]
    assert line_styles([own]) == [(COLORS[0], MARKERS[0])]
    assert len(line_styles([own] * 7)) == 7  # the eighth looks as the first one
