"""Labels are placed in real pictures; their places are compared in pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.transforms import Bbox

from mutualnet3d.plots.curves import Curve, Point, curve_of_table, curves_of_paper
from mutualnet3d.plots.picture_file import new_figure
from mutualnet3d.plots.point_labels import place_labels
from mutualnet3d.plots.tradeoff_figure import draw
from mutualnet3d.results.paper import paper_results
from tests.plots.test_tradeoff_figure import grid_table, labels_of


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("with_paper", [False, True])
def test_labels_cover_neither_each_other_nor_points_nor_lines(log, with_paper):
    curves = [curve_of_table("mutual", grid_table())]
    if with_paper:
        curves = [
            Curve(name, tuple(Point(row.gflops, row.top1 - 0.5, str(row.config), 0.3) for row in results.rows))
            for name, results in paper_results().items()
        ] + curves_of_paper(paper_results()["slow_8x8"])
    figure = draw(curves, "", log=log)
    axes = figure.axes[0]
    before = labels_of(figure)
    figure.draw_without_rendering()
    labels = labels_of(figure)
    assert all(np.allclose(before[name].extents, labels[name].extents) for name in labels)  # nothing moved since
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) >= (14 if with_paper else 9)
    frame = axes.get_window_extent()
    assert all(frame.containsx(box.x0) and frame.containsx(box.x1) for box in boxes)
    assert all(frame.containsy(box.y0) and frame.containsy(box.y1) for box in boxes)
    assert not any(first.overlaps(other) for first, other in itertools.combinations(boxes, 2))
    points = axes.transData.transform([(point.cost, point.top1) for curve in curves for point in curve.points])
    assert not any(box.contains(*point) for box in boxes for point in points)
    for line in axes.lines:
        if line.get_linestyle() != "None":
            path = line.get_transform().transform_path(line.get_path())
            assert not any(path.intersects_bbox(box, filled=False) for box in boxes)


def test_a_label_without_a_free_place_is_left_out():
    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    left_half = Bbox([[frame.x0, frame.y0], [frame.x0 + 0.5 * frame.width, frame.y1]])
    style = {"fontsize": 7}
    place_labels(axes, [(2, 5, "left", style), (7, 5, "right", style), (7, 5, "again", style)], [left_half])
    assert [text.get_text() for text in axes.texts] == ["right", "again"]  # beside its point there is more than one
    right, again = (text.get_window_extent() for text in axes.texts)
    assert not right.overlaps(again)
