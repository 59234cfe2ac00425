from __future__ import annotations

import random

import pytest

from mutualnet3d.results.pareto import front_of_rows, other_cost, pareto_front
from mutualnet3d.results.query_table import QueryTable
from tests.results.tables import TABLE, row


def test_a_front_of_pairs():
    pairs = [(3, 30), (1, 10), (2, 10), (3, 40), (4, 40), (1, 5)]
    assert pareto_front(pairs, lambda pair: pair[0], lambda pair: pair[1]) == ((1, 10), (3, 40))
    assert pareto_front([], float, float) == ()


def test_of_equals_the_first_is_on_the_front():
    items = ["b", "a", "c"]
    assert pareto_front(items, lambda item: 1.0, lambda item: 2.0) == ("b",)


def test_a_front_of_rows():
    fronts = {
        cost: [str(candidate.config) for candidate in front_of_rows(TABLE.rows, cost)]
        for cost in ("gflops", "milliseconds")
    }
    assert fronts == {
        "gflops": ["w0.5-s32-t4", "w0.5-s48-t8", "w1.0-s32-t8", "w1.0-s48-t8"],
        "milliseconds": ["w0.5-s32-t4", "w1.0-s32-t4", "w1.0-s32-t8", "w1.0-s48-t8"],
    }
    with pytest.raises(ValueError, match="cost must be 'gflops' or 'milliseconds', got 'watts'"):
        front_of_rows(TABLE.rows, "watts")


def test_the_other_cost():
    assert (other_cost("gflops"), other_cost("milliseconds")) == ("milliseconds", "gflops")


@pytest.mark.parametrize("cost", ["gflops", "milliseconds"])
def test_the_front_is_what_budgets_give_and_what_nothing_beats(cost):
    """Tables of few values, so that there are many ties."""
    rng = random.Random(0)
    for _ in range(30):
        rows = [
            row(f"w{width}-s32-t4", rng.randint(1, 4), rng.randint(1, 4), rng.randint(1, 4))
            for width in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
        ]
        table = QueryTable(tuple(rows))
        front = table.pareto(cost)
        lowest = int(min(getattr(candidate, cost) for candidate in rows))
        assert set(front) == {table.best(**{cost: bound}) for bound in range(lowest, 5)}
        for candidate in rows:
            spent = getattr(candidate, cost)
            beaten = any(
                other.top1 >= candidate.top1
                and getattr(other, cost) <= spent
                and (other.top1 > candidate.top1 or getattr(other, cost) < spent)
                for other in rows
            )
            if candidate in front:
                assert not beaten
            elif not beaten:  # an equal is there in its place
                assert (spent, candidate.top1) in [(getattr(other, cost), other.top1) for other in front]
