"""Best row within a budget, arithmetic only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from mutualnet3d.results.row import COSTS, Row, Views


def best_row(rows: Sequence[Row], gflops: float | None, milliseconds: float | None, views: Views | None = None) -> Row:
    """Return the most accurate row within all given bounds of a video.

    Of equals it is the cheaper one, by the given bounds first and then by the other cost; of equals in that, too, the
    first by its key, as on a front.

    Args:
        rows: rows of one back end.
        gflops: largest cost of a video, 1e9 multiply-adds; None: no bound.
        milliseconds: largest time of the network for a video; None: no bound.
        views: views of the video; None: those of each row.

    Raises:
        ValueError: no bound is given, a bound is not above 0, or no row is within the bounds; the message names the
            cheapest rows.
    """
    bounds = checked_bounds(gflops, milliseconds)
    within = [row for row in rows if all(row.cost_of_video(cost, views) <= bound for cost, bound in bounds.items())]
    if not within:
        raise ValueError(_nothing_within(rows, bounds, views))
    costs = [*bounds, *(cost for cost in COSTS if cost not in bounds)]

    def place(row: Row) -> tuple[Any, ...]:
        return -row.accuracy, *(row.cost_of_video(cost, views) for cost in costs), str(row.config), row.views

    return min(within, key=place)


def rows_nearest(rows: Sequence[Row], default_rows: Sequence[Row], views: Views) -> tuple[Row, ...]:
    """Return the rows of `views` if every sub-network of the default rows has one.

    Else they are the rows of one view if every sub-network has one, else the default rows.

    Args:
        rows: rows of a table, of which only those of the default rows' back end count.
        default_rows: rows of the test's own back end and views.
        views: views of a video, the first choice.
    """
    configs = {row.config for row in default_rows}
    for candidate in (views, Views()):
        of_views = tuple(row for row in rows if (row.backend, row.views) == (default_rows[0].backend, candidate))
        if configs <= {row.config for row in of_views}:
            return of_views
    return tuple(default_rows)


def checked_bounds(gflops: float | None, milliseconds: float | None, prefix: str = "") -> dict[str, float]:
    """Return the bounds that are given, by their cost.

    Args:
        gflops: largest 1e9 multiply-adds; None: no bound.
        milliseconds: largest time; None: no bound.
        prefix: start of the bounds' names in errors, such as "mean_".

    Raises:
        ValueError: there is no bound, or a bound is no number above 0.
    """
    bounds = {"gflops": gflops, "milliseconds": milliseconds}
    given = {cost: bound for cost, bound in bounds.items() if bound is not None}
    if not given:
        raise ValueError("a query needs a budget: gflops=..., milliseconds=... or both")
    for cost, bound in given.items():
        if isinstance(bound, bool) or not isinstance(bound, Real) or not bound > 0:  # NaN is not above 0 either
            raise ValueError(f"{prefix}{cost} is {bound!r}; a budget must be a number above 0")
        try:
            given[cost] = float(bound)
        except OverflowError as error:
            raise ValueError(
                f"{prefix}{cost} is beyond any float; a budget must be a number above 0, or inf"
            ) from error
    return given


def _nothing_within(rows: Sequence[Row], bounds: Mapping[str, float], views: Views | None) -> str:
    budget = " and ".join(f"{cost}={bound:g}" for cost, bound in bounds.items())
    cheapest = {cost: min(rows, key=lambda row: row.cost_of_video(cost, views)) for cost in bounds}
    words = {cost: f"the cheapest in {cost} is {_name(row, views or row.views)} with" for cost, row in cheapest.items()}
    if any(row.cost_of_video(cost, views) > bounds[cost] for cost, row in cheapest.items()):
        costs = [f"{words[cost]} {row.cost_of_video(cost, views):.4g}" for cost, row in cheapest.items()]
        return f"no sub-network fits {budget}; {'; '.join(costs)}"
    costs = [
        f"{words[cost]} gflops {row.cost_of_video('gflops', views):.4g} and milliseconds "
        f"{row.cost_of_video('milliseconds', views):.4g}"
        for cost, row in cheapest.items()
    ]
    return f"no sub-network fits {budget} together, though each alone can be met; {'; '.join(costs)}"


def _name(row: Row, views: Views) -> str:
    return str(row.config) if views.count == 1 else f"{row.config} of {views} views"
