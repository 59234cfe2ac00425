from __future__ import annotations

from dataclasses import replace

import pytest

from mutualnet3d.results.row import Views
from mutualnet3d.results.table_cascades import spread_of
from tests.results.cascades import ALONE, PAIR, with_cascades
from tests.results.tables import TABLE, with_int8


def test_costs_follow_from_the_rows():
    table = with_cascades()
    assert table.spread(PAIR).mean == pytest.approx(0.1 + 0.25 * 1.0)
    times = table.spread(PAIR, "milliseconds")
    assert (times.mean, times.p95, times.worst) == pytest.approx((2.0 + 0.25 * 9.0, 11.0, 11.0))
    slower = table.with_milliseconds({row.config: 2 * row.milliseconds for row in table.rows})
    assert slower.spread(PAIR, "milliseconds").mean == pytest.approx(2 * times.mean)
    with pytest.raises(ValueError, match="cost must be 'gflops' or 'milliseconds', got 'watts'"):
        table.spread(PAIR, "watts")


def test_costs_are_of_all_views():
    first, last = PAIR.stages
    cascade = replace(PAIR, stages=(first, replace(last, views=Views(1, 3))))
    table = with_int8()  # of the most expensive sub-network a row of three views too
    assert spread_of(cascade, table.rows, "pytorch", "gflops").mean == pytest.approx(0.1 + 0.25 * 3 * 1.0)


def test_the_best_cascade_of_a_table():
    table = with_cascades()
    assert table.best_cascade(mean_gflops=0.3) == ALONE
    assert table.best_cascade(mean_gflops=0.36) == PAIR
    assert table.best_cascade(mean_milliseconds=4.3) == PAIR
    assert table.best_cascade(mean_gflops=0.36, mean_milliseconds=4.0) == ALONE
    with pytest.raises(ValueError, match=r"^mean_gflops is -1; a budget must be a number above 0$"):
        table.best_cascade(mean_gflops=-1)
    with pytest.raises(ValueError, match="no cascades"):
        TABLE.best_cascade(mean_gflops=1)


def test_cascades_stay_with_rows_of_the_same_accuracy():
    table = replace(with_int8(), cascades=(ALONE, PAIR))
    assert table.select().cascades == (ALONE, PAIR)
    assert table.of_backend("openvino-int8").cascades == ()  # another accuracy: other scores
    assert with_int8().of_backend("openvino-int8").cascades is None
    same = [replace(row, backend="openvino", milliseconds=1.0) for row in TABLE.rows]
    faster = table.with_rows(same).of_backend("openvino")
    assert faster.cascades == (ALONE, PAIR)
    assert faster.spread(PAIR, "milliseconds").mean == pytest.approx(1.25)
    assert table.select(views="1 x 3").cascades == ()


def test_sub_networks_of_cascades_are_among_those_to_deploy():
    rows = [replace(row, top1=10.0) if str(row.config) == "w0.5-s48-t8" else row for row in TABLE.rows]
    off_front = replace(TABLE, rows=tuple(rows))
    (config,) = (row.config for row in rows if row.top1 == 10.0)
    assert config not in off_front.front_configs()
    cascade = replace(PAIR, stages=(PAIR.stages[0], replace(PAIR.stages[1], config=config)))
    assert config in replace(off_front, cascades=(cascade,)).front_configs()
