from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from mutualnet3d.results.row import Row, Views, finite_number
from mutualnet3d.shapes import SubnetConfig

CONFIG = SubnetConfig(0.63, 160, 10)
NUMBERS = {"gflops": 1.0, "params": 3, "milliseconds": 2.0, "top1": 70.0, "top5": 90.0}


def test_views_have_a_key_a_count_and_an_order():
    views = Views(10, 3)
    assert (str(views), views.count) == ("10 x 3", 30)
    assert Views.parse("10 x 3") == views
    assert (Views(), Views(2)) == (Views(1, 1), Views(2, 1))
    assert sorted([Views(10, 3), Views(2, 1), Views(10, 1)]) == [Views(2, 1), Views(10, 1), Views(10, 3)]


@pytest.mark.parametrize("key", ["10", "10x3", "10 x 3 views", "-1 x 1", "", None, 10, ["10 x 3"]])
def test_other_keys_of_views_are_refused(key):
    with pytest.raises(ValueError, match=r"views is .*; it must be clips x crops, such as '10 x 3'"):
        Views.parse(key)


@pytest.mark.parametrize(("spans", "crops", "field"), [(0, 1, "spans"), (1, -1, "crops"), (True, 1, "spans")])
def test_views_are_positive_integers(spans, crops, field):
    with pytest.raises(ValueError, match=f"Views: {field} must be an integer of at least 1, got (0|-1|True)"):
        Views(spans, crops)
    with pytest.raises(ValueError, match="Views: spans must be an integer of at least 1, got 0"):
        Views.parse("0 x 1")


def test_a_row_is_of_a_sub_network_a_back_end_and_views():
    row = Row(CONFIG, **NUMBERS)
    assert row.key == (CONFIG, "pytorch", Views(1, 1))
    other = Row(CONFIG, **NUMBERS, backend="openvino", views=Views(10, 3))
    assert other.key == (CONFIG, "openvino", Views(10, 3))
    numpy_row = Row(CONFIG, np.float32(1), np.int64(3), np.float64(2), 70, 90)
    assert numpy_row == row
    assert type(numpy_row.gflops) is float
    assert type(numpy_row.params) is int
    assert (row.gflops_of_video, other.gflops_of_video) == (1.0, 30.0)
    assert other.milliseconds_of_video == 30 * other.milliseconds  # not measured: each view on its own
    measured = replace(other, pass_milliseconds=45)
    assert (measured.milliseconds_of_video, measured.cost_of_video("milliseconds")) == (45.0, 45.0)
    # Of other views than it was measured with.
    assert measured.cost_of_video("milliseconds", Views(2)) == 2 * other.milliseconds
    assert measured.cost_of_video("gflops", Views(2)) == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gflops": "1"}, "gflops is '1'; it must be a number of at least 0"),
        ({"milliseconds": -1.0}, r"milliseconds is -1\.0; it must be a number of at least 0"),
        ({"milliseconds": float("nan")}, "milliseconds is nan; it must be a number of at least 0"),
        ({"top1": None}, "top1 is None; it must be a number of at least 0"),
        ({"top5": True}, "top5 is True; it must be a number of at least 0"),
        ({"top5": 10**400}, r"top5 is beyond 1\.8e\+308; it must be a number of at least 0"),
        ({"params": 1.5}, r"params is 1\.5; it must be an integer of at least 0"),
        ({"params": 10**400}, f"params is too large; it must be an integer of 0 to {sys.maxsize}"),
        ({"backend": ""}, "backend is ''; it must be a back end's name, such as 'pytorch'"),
        ({"settled": 1}, "settled is 1; it must be true or false"),
        ({"backend": 3}, "backend is 3; it must be a back end's name, such as 'pytorch'"),
    ],
)
def test_numbers_that_no_row_has_are_named(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Row(CONFIG, **{**NUMBERS, **change})


def test_a_finite_number():
    assert finite_number("x", 10**300) == 1e300
    with pytest.raises(ValueError, match=r"x is beyond 1\.8e\+308"):
        finite_number("x", -(10**400))
    with pytest.raises(ValueError, match="x is inf; it must be"):
        finite_number("x", float("inf"))
