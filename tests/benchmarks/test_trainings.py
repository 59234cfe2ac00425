"""Texts of results over several seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import trainings

    return trainings


@pytest.mark.parametrize(
    ("values", "form", "text"),
    [
        ([], ".2f", "-"),
        ([90.0], ".2f", "90.00"),
        ([2.0], "+.2f", "+2.00"),
        ([1.0, 3.0], ".2f", "2.00 +- 1.41"),
        ([-1.0, -1.0], "+.1f", "-1.0 +- 0.00"),
    ],
)
def test_one_value_has_no_deviation(module, values, form, text):
    assert module.spread(values, form) == text


@pytest.mark.parametrize(("seeds", "text"), [(1, "one seed"), (3, "mean and standard deviation of 3 seeds")])
def test_heading_tells_the_seeds(module, seeds, text):
    assert module.seeds_text(seeds) == text
