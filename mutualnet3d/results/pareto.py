"""Pareto front of cost and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from mutualnet3d.results.row import COSTS, Row, Views

Item = TypeVar("Item")


def pareto_front(
    items: Iterable[Item], cost: Callable[[Item], float], accuracy: Callable[[Item], float]
) -> tuple[Item, ...]:
    """Return the items that no other item beats, the cheapest first: none is as accurate or better at less cost.

    Of items of the same cost the most accurate one is on the front; of items of the same cost and accuracy the first.
    """
    front: list[Item] = []
    for item in sorted(items, key=lambda item: (cost(item), -accuracy(item))):  # a stable sort
        if not front or accuracy(item) > accuracy(front[-1]):
            front.append(item)
    return tuple(front)


def front_of_rows(rows: Iterable[Row], cost: str, views: Views | None = None) -> tuple[Row, ...]:
    """Return the rows that no other beats in accuracy over the `cost` of a video, the cheapest first.

    Of rows of the same cost and accuracy the one that is cheaper in the other cost is on the front; of equals in that,
    too, the first by its key.

    Args:
        rows: rows of one back end.
        cost: name of the cost, "gflops" or "milliseconds".
        views: views of the videos; None: those of each row.

    Raises:
        ValueError: the cost is another one.
    """
    other = other_cost(cost)
    in_order = sorted(rows, key=lambda row: (row.cost_of_video(other, views), str(row.config), row.views))
    return pareto_front(in_order, lambda row: row.cost_of_video(cost, views), lambda row: row.accuracy)


def other_cost(cost: str) -> str:
    """Return the other one of the two `COSTS`.

    Args:
        cost: name of a cost.

    Raises:
        ValueError: the cost is not one of them.
    """
    if cost not in COSTS:
        raise ValueError(f"cost must be 'gflops' or 'milliseconds', got {cost!r}")
    return COSTS[1 - COSTS.index(cost)]
