from __future__ import annotations

from dataclasses import replace

import pytest

from mutualnet3d.results.budget_query import best_row, checked_bounds, rows_nearest
from mutualnet3d.results.row import Views
from tests.results.tables import INT8, TABLE

TEN = tuple(replace(row, views=Views(10, 3), top1=row.top1 + 2) for row in TABLE.rows)
SINGLE = TABLE.rows


@pytest.mark.parametrize(
    ("views", "expected"),
    [(Views(), SINGLE), (Views(10, 3), TEN), (Views(5, 1), SINGLE)],
)
def test_the_rows_of_as_many_views_or_else_of_one(views, expected):
    assert rows_nearest((*SINGLE, *TEN), TEN, views) == expected


def test_the_default_rows_stay_where_single_views_are_not_known_of_all():
    assert rows_nearest((*SINGLE[:-1], *TEN), TEN, Views()) == TEN
    int8 = [replace(row, backend=INT8) for row in SINGLE]
    assert rows_nearest((*int8, *TEN), TEN, Views()) == TEN


def test_the_best_row_is_of_the_given_ones():
    assert best_row(TEN, 30.0, None).top1 == 92.0
    assert best_row(TEN, 29.9, None).top1 == 82.0
    assert best_row(TEN, 1.0, None, Views()).top1 == 92.0  # of videos of one view, by the accuracy that is known
    assert best_row(SINGLE, None, 4.0).top1 == 75.0
    with pytest.raises(ValueError, match=r"no sub-network fits gflops=0\.05"):
        best_row(TEN, 0.05, None)
    with pytest.raises(ValueError, match="a query needs a budget"):
        checked_bounds(None, None)
