from __future__ import annotations

from dataclasses import replace

import pytest

from mutualnet3d.results.row import Views
from mutualnet3d.results.table_context import backend_facts, check_facts, default_key, key_text, keys_text, with_facts
from tests.results.tables import INT8, TABLE, with_int8

ROWS = TABLE.rows
MIXED = with_int8().rows


def test_the_default_key_is_the_contexts_or_the_only_one():
    assert default_key(ROWS, {}) == ("pytorch", Views(1, 1))
    assert default_key([replace(ROWS[0], backend="openvino", views=Views(10, 3))], {}) == ("openvino", Views(10, 3))
    assert default_key(MIXED, {"backend": INT8, "views": "1 x 1"}) == (INT8, Views(1, 1))
    assert default_key(MIXED, {"backend": "pytorch", "views": "1 x 3"}) == ("pytorch", Views(1, 3))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({}, "context has no 'backend', and rows have several: openvino-int8, pytorch; it must name the one of the te"),
        ({"backend": "pytorch"}, "context has no 'views', and rows have several: 1 x 1, 1 x 3; it must name the one"),
        ({"backend": 3, "views": "1 x 1"}, "context: backend is 3; it must be a back end's name, such as 'pytorch'"),
        ({"backend": "pytorch", "views": "ten"}, "context: views is 'ten'; it must be clips x crops, such as '10 x 3'"),
        (
            {"backend": INT8, "views": "1 x 3"},
            "context names back end openvino-int8 with 1 x 3 views as the test's, and no row is of these; the table "
            "has back end openvino-int8 with 1 x 1 views, back end pytorch with 1 x 1 views, back end pytorch with 1",
        ),
    ],
)
def test_a_context_without_default_rows_is_refused(context, message):
    with pytest.raises(ValueError, match=message):
        default_key(MIXED, context)


def test_facts_of_a_back_end():
    context = {"model": "x3d", "backends": {"pytorch": {"device": "cpu", "threads": 2}}}
    assert backend_facts(context, "pytorch") == {"device": "cpu", "threads": 2}
    assert backend_facts(context, INT8) == backend_facts({}, "pytorch") == {}
    changed = with_facts(context, "pytorch", {"threads": 1})
    assert changed == {"model": "x3d", "backends": {"pytorch": {"device": "cpu", "threads": 1}}}
    assert with_facts(changed, INT8, {"batch_size": 1})["backends"] == {
        "pytorch": {"device": "cpu", "threads": 1},
        INT8: {"batch_size": 1},
    }
    assert context["backends"]["pytorch"]["threads"] == 2  # it stays as it is
    assert with_facts({"model": "x3d"}, "pytorch", {}) == {"model": "x3d"}


@pytest.mark.parametrize("value", [None, "7", -1, 1.5, True, [1]])
@pytest.mark.parametrize("name", ["num_videos", "num_found", "num_listed", "num_in_list"])
def test_numbers_of_videos_that_are_none_are_refused(name, value):
    check_facts({name: 7})
    with pytest.raises(ValueError, match=rf"context: {name} is .*; it must be an integer of at least 0"):
        check_facts({name: value})


@pytest.mark.parametrize(
    ("backends", "message"),
    [
        (["cpu"], r"context: backends is \['cpu'\]; it must be an object"),
        ({"pytorch": "cpu"}, "context: backends: pytorch is 'cpu'; it must be an object"),
    ],
)
def test_facts_that_are_none_are_refused(backends, message):
    with pytest.raises(ValueError, match=message):
        check_facts({"backends": backends})


def test_keys_in_words():
    assert key_text("pytorch", Views(10, 3)) == "back end pytorch with 10 x 3 views"
    assert keys_text(ROWS) == "the table has back end pytorch with 1 x 1 views"
