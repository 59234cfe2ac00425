from __future__ import annotations

import math

import pytest

from mutualnet3d.config.rule import Rule


@pytest.mark.parametrize(
    ("rule", "good", "bad", "allowed"),
    [
        (Rule(int, low=1), [1, 5], [0, -3], "at least 1"),
        (Rule(float, above=0), [1e-9, 3], [0, -0.5], "above 0"),
        (Rule(float, low=0, below=1), [0, 0.5], [1, -0.1], "in [0, 1)"),
        (Rule(float, above=0, high=1), [1, 0.5], [0, 1.1], "in (0, 1]"),
        (Rule(str, choices=("a", "b")), ["a"], ["c", ""], "'a' or 'b'"),
        (Rule(str, choices=("a", "b"), ignores_case=True), ["a", "B"], ["C"], "'a' or 'b'"),
        (Rule(str, takes_empty=False), [" ", "a"], [""], "not empty"),
        (Rule(int, low=1, lengths=(), is_distinct=True), [[], [2, 1]], [[1, 1], [0]], "values at least 1, each of"),
        (Rule(float, lengths=(0, 2)), [[], [1, 2]], [[1]], "0 or 2 values"),
        (Rule(int, low=0, lengths=(2,), inner_lengths=(1,)), [[[1], [0]]], [[[1]], [1, 2], [[1], [1, 2]]], "2 values"),
    ],
)
def test_ranges(rule, good, bad, allowed):
    assert [rule.range_problem(value) for value in good] == [None] * len(good)
    for value in bad:
        assert f"it must be {allowed}" in rule.range_problem(value)


@pytest.mark.parametrize(
    ("rule", "value", "problem"),
    [
        (Rule(float), 3, None),
        (Rule(float), math.nan, "its numbers must be finite"),
        (Rule(int), 2**63, "its numbers must have less than 64 bits"),
        (Rule(int), True, "it must be a whole number"),
        (Rule(bool), 1, "it must be True or False"),
        (Rule(str), None, "it must be a value of the type of its default, 7"),
        (Rule(float, takes_none=True), None, None),
        (Rule(int, lengths=()), (1, 2), None),
        (Rule(int, lengths=()), [1, 2.0], "it must be a list of whole numbers"),
        (Rule(str, lengths=()), ["a", 1], "it must be a list of texts"),
        (Rule(float, lengths=()), [[1]], "it must be a list without lists in it"),
        (Rule(float, lengths=()), 1, "it must be a list of numbers"),
    ],
)
def test_types(rule, value, problem):
    assert rule.type_problem(value, 7) == problem
