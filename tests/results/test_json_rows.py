from __future__ import annotations

from dataclasses import replace

import pytest

from mutualnet3d.results.json_rows import build_row, checked_fields, row_from_json, row_to_json
from mutualnet3d.results.row import Row, Views
from mutualnet3d.shapes import SubnetConfig

ROW = Row(SubnetConfig(0.63, 160, 10), 1.25, 3000, 7.5, 70.0, 90.5, "openvino", Views(10, 3))
ENTRY = {
    "config": "w0.63-s160-t10",
    "backend": "openvino",
    "views": "10 x 3",
    "gflops": 1.25,
    "params": 3000,
    "milliseconds": 7.5,
    "top1": 70.0,
    "top5": 90.5,
}


def test_a_row_as_plain_values_and_back():
    of_video = {"gflops_of_video": 37.5, "milliseconds_of_video": 225.0}
    assert row_to_json(ROW) == {**ENTRY, **of_video}
    assert row_from_json(ENTRY, "here") == row_from_json({**ENTRY, **of_video}, "here") == ROW
    unsettled = replace(ROW, settled=False)
    assert row_to_json(unsettled) == {**ENTRY, **of_video, "settled": False}
    assert row_from_json({**ENTRY, "settled": False}, "here") == unsettled
    measured = replace(ROW, pass_milliseconds=100.0)
    entry = {**ENTRY, **of_video, "milliseconds_of_video": 100.0, "pass_milliseconds": 100.0}
    assert row_to_json(measured) == entry
    assert row_from_json(entry, "here") == measured
    several = replace(ROW, mean_ap=33.5)
    assert row_to_json(several) == {**ENTRY, **of_video, "mean_ap": 33.5}
    assert row_from_json({**ENTRY, "mean_ap": 33.5}, "here") == several


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"watts": 3},
            "unknown field 'watts'; a row has config, backend, views, gflops, .*, top5, settled, pass_milliseconds, .*",
        ),
        ({"gflops": ...}, "gflops is missing; a row has config, backend, .*"),
        ({"config": ...}, "config is missing; .*"),
        ({"views": ...}, "views is missing; .*"),
        ({"config": 3}, r"config is 3; it must be a key such as 'w0\.63-s160-t10'"),
        ({"config": "full"}, "config: not a sub-network's key: 'full'; .*"),
        ({"config": "w2.0-s32-t4"}, r"config: SubnetConfig: width must be in \(0, 1\], got 2\.0"),
        ({"views": 3}, "views is 3; it must be clips x crops, such as '10 x 3'"),
        ({"backend": None}, "backend is None; it must be a back end's name, such as 'pytorch'"),
        ({"gflops": "1"}, "gflops is '1'; it must be a number of at least 0"),
        ({"milliseconds": -1.0}, r"milliseconds is -1\.0; it must be a number of at least 0"),
        ({"milliseconds": 10**400}, r"milliseconds is beyond 1\.8e\+308; it must be a number of at least 0"),
        ({"top1": None}, "top1 is None; it must be a number of at least 0"),
        ({"top5": True}, "top5 is True; it must be a number of at least 0"),
        ({"mean_ap": "x"}, "mean_ap is 'x'; it must be a number of at least 0"),
        ({"settled": 0}, r"settled is 0; it must be true or false"),
        ({"gflops_of_video": 37.0}, r"gflops_of_video is 37\.0; by the row's costs and views it is 37\.5"),
        ({"milliseconds_of_video": "1"}, "milliseconds_of_video is '1'; it must be a number of at least 0"),
        ({"pass_milliseconds": -1}, "pass_milliseconds is -1; it must be a number of at least 0"),
        ({"views": "1 x 1", "pass_milliseconds": 1}, "pass_milliseconds is for rows of several views; .*"),
        ({"params": 1.5}, r"params is 1\.5; it must be an integer of at least 0"),
    ],
)
def test_a_wrong_field_is_named(change, message):
    entry = {name: value for name, value in {**ENTRY, **change}.items() if value is not ...}
    with pytest.raises(ValueError, match=f"^a file: row 2: {message}$"):
        row_from_json(entry, "a file: row 2")


def test_what_is_no_object_is_refused():
    with pytest.raises(ValueError, match=r"^a file: row 2 is 7; it must be an object$"):
        checked_fields(7, "a file: row 2", ("config",))


def test_fields_may_be_optional():
    assert checked_fields({"a": 1}, "here", ("a",), ("b",)) == {"a": 1}
    assert checked_fields({"a": 1, "b": None}, "here", ("a",), ("b",)) == {"a": 1, "b": None}
    with pytest.raises(ValueError, match="here: unknown field 'c'; a row has a, b"):
        checked_fields({"a": 1, "c": 2}, "here", ("a",), ("b",))


def test_a_row_of_fields():
    assert build_row(ENTRY, "here") == ROW
