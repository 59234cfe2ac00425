from __future__ import annotations

import json
from dataclasses import replace

import pytest

import mutualnet3d as m3
from mutualnet3d.results.query_table import QueryTable, checked_bounds
from mutualnet3d.results.row import Views
from mutualnet3d.shapes import SubnetConfig
from tests.results.tables import CONTEXT, FACTS, INT8, TABLE, row, with_int8


@pytest.mark.parametrize(
    ("budget", "key"),
    [
        ({"gflops": 2.0}, "w1.0-s48-t8"),
        ({"gflops": 1.0}, "w1.0-s48-t8"),
        ({"gflops": 0.99}, "w1.0-s32-t8"),
        ({"gflops": 0.55}, "w0.5-s48-t8"),
        ({"milliseconds": 4.0}, "w1.0-s32-t4"),
        ({"gflops": 0.65, "milliseconds": 4.0}, "w0.5-s32-t4"),
    ],
)
def test_best_within_a_budget(budget, key):
    assert str(TABLE.best(**budget).config) == key


@pytest.mark.parametrize(
    ("budget", "key"),
    [
        ({"gflops": 5}, "w0.8-s48-t8"),  # the cheapest in GFLOPs, and of the two the one that is faster
        ({"milliseconds": 50}, "w1.0-s48-t8"),  # the fastest, and of the two the one with fewer GFLOPs
        ({"gflops": 5, "milliseconds": 50}, "w0.8-s48-t8"),
    ],
)
def test_of_equals_the_cheaper_is_best(budget, key):
    table = QueryTable(
        (
            row("w1.0-s48-t8", 1.0, 4.0, 90.0),
            row("w0.9-s48-t8", 1.1, 4.0, 90.0),
            row("w0.8-s48-t8", 0.8, 8.0, 90.0),
            row("w0.7-s48-t8", 0.8, 9.0, 90.0),
            row("w0.6-s48-t8", 0.1, 1.0, 10.0),
        )
    )
    assert str(table.best(**budget).config) == key


def test_a_budget_that_nothing_meets_names_the_cheapest():
    with pytest.raises(ValueError, match=r"fits gflops=0\.05; the cheapest in gflops is w0\.5-s32-t4 with 0\.1$"):
        TABLE.best(gflops=0.05)
    with pytest.raises(ValueError, match="a query needs a budget"):
        TABLE.best()


def test_budgets_that_can_be_met_but_not_together():
    table = QueryTable((row("w1.0-s48-t4", 1.0, 3.0, 80.0), row("w0.5-s48-t8", 0.5, 8.0, 70.0)))
    assert str(table.best(gflops=0.6).config) == "w0.5-s48-t8"
    assert str(table.best(milliseconds=4).config) == "w1.0-s48-t4"
    with pytest.raises(ValueError) as error:
        table.best(gflops=0.6, milliseconds=4)
    assert str(error.value) == (
        "no sub-network fits gflops=0.6 and milliseconds=4 together, though each alone can be met; "
        "the cheapest in gflops is w0.5-s48-t8 with gflops 0.5 and milliseconds 8; "
        "the cheapest in milliseconds is w1.0-s48-t4 with gflops 1 and milliseconds 3"
    )
    with pytest.raises(ValueError, match=r"fits gflops=0\.6 and milliseconds=1; the cheapest in gflops is w0\.5-.*"):
        table.best(gflops=0.6, milliseconds=1)


@pytest.mark.parametrize("cost", ["gflops", "milliseconds"])
@pytest.mark.parametrize("bound", [0, -1.0, float("nan"), float("-inf"), True, "1"])
def test_a_budget_is_a_number_above_0(cost, bound):
    with pytest.raises(ValueError, match=rf"^{cost} is {bound!r}; a budget must be a number above 0"):
        TABLE.best(**{cost: bound})


def test_no_bound_is_too_large():
    assert TABLE.best(gflops=float("inf")).top1 == 90.0


def test_pareto_front():
    assert [str(row.config) for row in TABLE.pareto()] == ["w0.5-s32-t4", "w0.5-s48-t8", "w1.0-s32-t8", "w1.0-s48-t8"]
    assert [str(row.config) for row in TABLE.pareto("milliseconds")] == [
        "w0.5-s32-t4", "w1.0-s32-t4", "w1.0-s32-t8", "w1.0-s48-t8",
    ]  # fmt: skip
    assert TABLE.fronts() == {
        cost: frozenset(row.config for row in TABLE.pareto(cost)) for cost in ("gflops", "milliseconds")
    }
    assert [str(config) for config in TABLE.front_configs()] == [str(row.config) for row in TABLE.rows]
    worse = QueryTable((*TABLE.rows, row("w0.9-s48-t8", 0.9, 8.5, 60.0)), CONTEXT)
    assert worse.front_configs() == TABLE.front_configs()
    with pytest.raises(ValueError, match="cost must be 'gflops' or 'milliseconds', got 'watts'"):
        TABLE.pareto("watts")


def test_no_bound_is_beyond_a_float():
    with pytest.raises(ValueError, match=r"^gflops is beyond any float; a budget must be a number above 0, or inf$"):
        checked_bounds(10**400, None)
    assert checked_bounds(1, 2.5) == {"gflops": 1.0, "milliseconds": 2.5}


# ---- back ends and views ---------------------------------------------------------------------------------------------


def test_queries_are_answered_from_the_rows_of_the_tests_back_end():
    """Rows of another back end are faster, and change nothing; those of other views count with the cost of all."""
    table = with_int8()
    assert len(table.rows) == 8
    assert table.default_rows == TABLE.rows
    assert (table.backend, table.views, table.facts) == ("pytorch", Views(1, 1), FACTS)
    assert table.best(milliseconds=2.5) == TABLE.best(milliseconds=2.5)
    assert table.best(gflops=2.99).top1 == 90.0
    assert (table.best(gflops=3.0).top1, table.best(gflops=3.0).views) == (91.0, Views(1, 3))
    three_crops = table.row(SubnetConfig(1.0, 48, 8), Views(1, 3))
    assert table.pareto("milliseconds") == (*TABLE.pareto("milliseconds"), three_crops)
    assert table.fronts() == TABLE.fronts()
    assert table.row(SubnetConfig(1.0, 48, 8)) == TABLE.rows[0]
    assert table.row(SubnetConfig(0.9, 48, 8)) is None


# A test of 10 views: the wide network gains much by several views, the others nothing. Of one view it is no better than
# a cheaper one.
TOP1_OF_ONE = {"w1.0-s48-t8": 72.0}
TEN_VIEWS = QueryTable(
    (
        *(replace(row, views=Views(10, 1)) for row in TABLE.rows),
        *(replace(row, top1=TOP1_OF_ONE.get(str(row.config), row.top1)) for row in TABLE.rows),
    ),
    {**CONTEXT, "views": "10 x 1"},
)


@pytest.mark.parametrize(
    ("gflops", "key", "top1", "views"),
    [
        (1.0, "w1.0-s32-t8", 80.0, Views()),
        (9.99, "w1.0-s32-t8", 80.0, Views()),  # ten views of it are no better
        (10.0, "w1.0-s48-t8", 90.0, Views(10, 1)),
    ],
)
def test_accuracy_and_cost_of_a_query_are_of_one_video(gflops, key, top1, views):
    """90 % of ten clips is to be had for ten clips' cost, not for one's."""
    best = TEN_VIEWS.best(gflops=gflops)
    assert (str(best.config), best.top1, best.views) == (key, top1, views)
    assert best.gflops_of_video <= gflops


def test_the_front_is_over_sub_networks_and_views():
    keys = [(str(row.config), row.views, row.gflops_of_video) for row in TEN_VIEWS.pareto()]
    assert keys == [
        ("w0.5-s32-t4", Views(), 0.1),
        ("w0.5-s48-t8", Views(), 0.5),
        ("w1.0-s32-t8", Views(), 0.6),
        ("w1.0-s48-t8", Views(10, 1), 10.0),
    ]
    assert {row.views for row in TEN_VIEWS.query_rows} == {Views(), Views(10, 1)}
    assert {row.views for row in TEN_VIEWS.default_rows} == {Views(10, 1)}
    of_ten = TEN_VIEWS.select(views="10 x 1").best(gflops=7.0)
    assert (str(of_ten.config), of_ten.top1, of_ten.gflops_of_video) == ("w1.0-s32-t8", 80.0, 6.0)
    # Whoever exports or measures the front needs the networks of each.
    assert TEN_VIEWS.front_configs() == TABLE.front_configs()


def test_a_measured_pass_of_all_views_is_their_time():
    """Ten clips in one pass take six times one's time; of the widest network it was not measured: ten times."""
    passes = {(row.config, 10): 6 * row.milliseconds for row in TABLE.rows[1:]}
    times = {row.config: row.milliseconds for row in TABLE.rows}
    table = TEN_VIEWS.with_milliseconds(times, passes=passes, unsettled=[(TABLE.rows[1].config, 10)])
    of_ten = table.select(views="10 x 1").rows
    assert [row.milliseconds_of_video for row in of_ten] == [90.0, *(6 * row.milliseconds for row in TABLE.rows[1:])]
    assert [row.settled for row in of_ten] == [True, False, True, True, True]
    assert all(row.settled for row in table.select(views="1 x 1").rows)
    assert [row.milliseconds for row in of_ten] == [row.milliseconds for row in TABLE.rows]
    assert table.best(milliseconds=89).top1 == 80.0
    assert table.best(milliseconds=90).top1 == 90.0
    assert TEN_VIEWS.select(views="10 x 1").best(milliseconds=30).milliseconds_of_video == 30.0
    assert str(table.select(views="10 x 1").best(milliseconds=30).config) == "w1.0-s32-t8"


def test_accuracy_of_several_views_says_so_where_that_of_one_is_not_known():
    table = QueryTable(TEN_VIEWS.default_rows, TEN_VIEWS.context)
    assert (table.best(gflops=10.0).top1, table.best(gflops=10.0).views) == (90.0, Views(10, 1))
    with pytest.raises(ValueError, match=r"the cheapest in gflops is w0\.5-s32-t4 of 10 x 1 views with 1$"):
        table.best(gflops=0.9)


def test_the_table_of_a_back_end_keeps_all_views():
    int8 = [replace(row, backend=INT8) for row in TEN_VIEWS.rows[:4]]
    table = TEN_VIEWS.with_rows(int8, device="another cpu").of_backend(INT8)
    assert table.rows == tuple(int8)
    assert (table.backend, table.views, table.facts) == (INT8, Views(10, 1), {"device": "another cpu"})
    assert table.row(table.rows[0].config).views == Views(10, 1)
    assert table.row(table.rows[0].config, Views()).views == Views()
    assert table.row(table.rows[0].config, Views(3, 1)) is None
    with pytest.raises(ValueError, match="has no rows of back end openvino-int8 with 10 x 1 views"):
        TEN_VIEWS.of_backend(INT8)


def test_a_table_is_one_line():
    assert repr(TEN_VIEWS) == (
        "<QueryTable: 10 rows; on pytorch 0.1 to 10 GFLOPs and 2 to 90 ms per video, top-1 50.00 to 90.00 % "
        "(one view or 10 x 1 views)>"
    )
    alone = QueryTable(TEN_VIEWS.default_rows[:1], {"model": "x3d\n"})
    assert repr(alone) == (
        r"<QueryTable: x3d\n, 1 row; on pytorch 10 GFLOPs and 90 ms per video, top-1 90.00 % (10 x 1 views)>"
    )


def test_the_table_of_another_back_end():
    table = with_int8().select(backend=INT8)
    assert [(str(row.config), row.milliseconds, row.top1, row.top5, row.backend) for row in table.rows] == [
        ("w1.0-s48-t8", 1.5, 89.5, 94.25, INT8),
        ("w1.0-s32-t4", 2.0, 76.0, 79.0, INT8),
    ]
    assert [row.gflops for row in table.rows] == [1.0, 0.7]
    assert str(table.best(milliseconds=4).config) == "w1.0-s48-t8"
    assert table.facts == {"device": "another cpu", "batch_size": 1, "calibration_clips": 160}
    assert table.context == {**CONTEXT, "backend": INT8, "backends": {INT8: dict(table.facts)}}
    assert table.select() == table
    with pytest.raises(
        ValueError, match=r"the query table has no rows of back end openvino-int8 with 1 x 1 views; the "
    ):
        TABLE.select(backend=INT8)


def test_the_table_of_other_views():
    table = with_int8().select(views=Views(1, 3))
    assert [(row.views, row.top1) for row in table.rows] == [(Views(1, 3), 91.0)]
    assert (table.backend, table.views, table.facts) == ("pytorch", Views(1, 3), FACTS)
    assert with_int8().select(views="1 x 3") == table
    with pytest.raises(
        ValueError, match="has no rows of back end pytorch with 2 x 1 views; the table has back end open"
    ):
        with_int8().select(views=Views(2, 1))


def test_rows_are_in_order_of_cost_and_the_tests_own_come_first():
    keys = [(str(row.config), row.backend, str(row.views)) for row in with_int8().rows]
    assert keys[:5] == [
        ("w1.0-s48-t8", "pytorch", "1 x 1"),
        ("w1.0-s48-t8", INT8, "1 x 1"),
        ("w1.0-s48-t8", "pytorch", "1 x 3"),
        ("w1.0-s32-t4", "pytorch", "1 x 1"),
        ("w1.0-s32-t4", INT8, "1 x 1"),
    ]


def test_rows_that_are_added_replace_those_of_their_keys():
    first = TABLE.rows[0]
    faster = replace(first, backend="openvino", milliseconds=4.0)
    table = TABLE.with_rows([faster], device="cpu", threads=1)
    assert table.default_rows == TABLE.rows
    assert table.select(backend="openvino").rows == (faster,)
    again = table.with_rows([replace(faster, milliseconds=3.0)], threads=2)
    assert again.select(backend="openvino").rows[0].milliseconds == 3.0
    assert again.select(backend="openvino").facts == {"device": "cpu", "threads": 2}
    assert len(again.rows) == 6


def test_with_milliseconds():
    times = {row.config: 2 * row.milliseconds for row in TABLE.rows}
    new = TABLE.with_milliseconds({**times, SubnetConfig(0.9, 16, 2): 1.0}, device="another", latency_runs=3)
    assert new.rows == tuple(replace(row, milliseconds=2 * row.milliseconds) for row in TABLE.rows)
    assert new.facts == {**FACTS, "device": "another", "latency_runs": 3}
    assert {name: value for name, value in new.context.items() if name not in ("backend", "backends")} == {
        name: value for name, value in CONTEXT.items() if name != "backends"
    }
    assert TABLE.facts["device"] == "cpu"
    configs = [row.config for row in TABLE.rows]
    busy = TABLE.with_milliseconds(times, configs[:2])
    assert [row.settled for row in busy.rows] == [False, False, True, True, True]
    assert all(row.settled for row in busy.with_milliseconds(times).rows)
    del times[TABLE.rows[0].config]
    with pytest.raises(ValueError, match=r"no milliseconds of w1\.0-s48-t8; every row of the table needs some"):
        TABLE.with_milliseconds(times)


def test_milliseconds_are_of_one_back_end_with_any_views():
    table = with_int8().with_milliseconds({row.config: 7.0 for row in TABLE.rows}, device="another")
    assert {row.milliseconds for row in table.rows if row.backend == "pytorch"} == {7.0}
    assert table.select(views=Views(1, 3)).rows[0].milliseconds == 7.0
    assert [row.milliseconds for row in table.select(backend=INT8).rows] == [1.5, 2.0]
    assert table.select(backend=INT8).facts["device"] == "another cpu"


def test_rows_that_are_no_table():
    with pytest.raises(ValueError, match="a query table needs at least one row"):
        QueryTable(())
    message = (
        r"one row of each sub-network, back end and number of views; w1\.0-s48-t8 on back end pytorch with 1 x 1 views "
        "has 2"
    )
    with pytest.raises(ValueError, match=message):
        QueryTable((TABLE.rows[0], *TABLE.rows))
    with pytest.raises(ValueError, match="context has no 'backend', and rows have several: openvino-int8, pytorch"):
        QueryTable(with_int8().rows)
    with pytest.raises(ValueError, match="context: backends is 3; it must be an object"):
        QueryTable(TABLE.rows, {"backends": 3})


# ---- files and text --------------------------------------------------------------------------------------------------


def test_json_and_back(tmp_path):
    path = str(tmp_path / "table.json")
    for table in (TABLE, with_int8()):
        table.save(path)
        assert m3.QueryTable.load(path) == table


def test_a_file_without_default_rows_is_named(tmp_path):
    path = tmp_path / "table.json"
    TABLE.save(str(path))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "context": {"backend": "openvino"}}))
    with pytest.raises(
        ValueError, match=r"table\.json: context names back end openvino with 1 x 1 views as the test's"
    ):
        QueryTable.load(str(path))
    path.write_text(json.dumps({**content, "rows": []}))
    with pytest.raises(ValueError, match=r"table\.json: a query table needs at least one row"):
        QueryTable.load(str(path))


def test_text_csv_and_markdown_are_those_of_the_rows(tmp_path):
    assert len(TABLE.to_text().splitlines()) == 6
    assert TABLE.to_markdown().endswith(TABLE.legend())
    TABLE.save_markdown(str(tmp_path / "table.md"))
    assert (tmp_path / "table.md").read_text() == TABLE.to_markdown() + "\n"
    TABLE.save_csv(str(tmp_path / "table.csv"))
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 6


def test_rows_of_several_labels_a_video_are_compared_by_their_mean_average_precision():
    mean_aps = {"w0.5-s32-t4": 60.0, "w1.0-s48-t8": 40.0, "w0.5-s48-t8": 30.0, "w1.0-s32-t8": 20.0, "w1.0-s32-t4": 10.0}
    rows = tuple(replace(row, mean_ap=mean_aps[str(row.config)]) for row in TABLE.rows)
    table = QueryTable(rows, CONTEXT)
    assert str(table.best(gflops=2.0).config) == "w0.5-s32-t4"  # the cheapest, whose top-1 is the lowest
    assert [str(row.config) for row in table.pareto()] == ["w0.5-s32-t4"]
    assert (table.rows[0].accuracy, table.rows[0].measure, TABLE.rows[0].measure) == (40.0, "mAP", "top-1")
    assert "mAP 10.00 to 60.00 %" in repr(table)
    text = table.to_text()
    assert text.splitlines()[0].split()[-6:] == ["mAP", "%", "top-1", "%", "top-5", "%"]
    assert "40.00   90.00" in text
    assert "on the Pareto front of mAP over GFLOPs" in table.to_markdown()
