from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mutualnet3d.deploy import measured_table, subnet_choice
from mutualnet3d.deploy.backends import OpenVINO, PyTorch
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.deploy.subnet_choice import SubnetChoice
from mutualnet3d.results.latency import Latencies
from mutualnet3d.results.query_table import QueryTable, Views
from tests.deploy.networks import CLASS_NAMES, FULL, HOW, SMALL

CPU = torch.device("cpu")


@pytest.fixture
def predictor(networks):
    return Predictor(networks, backend="pytorch")


def test_a_budget_chooses_the_sub_network(predictor, networks, video):
    large, small = (networks.gflops(config) for config in (FULL, SMALL))
    assert predictor.predict(video, gflops=large).config == FULL
    assert predictor.predict(video, gflops=0.99 * large).config == SMALL
    assert predictor.predict(video).config == FULL
    assert predictor.predict(video, config="w0.5-s48-t2").config == SMALL
    with pytest.raises(ValueError, match=r"no sub-network fits gflops=.*the cheapest in gflops is w0\.5-s48-t2"):
        predictor.predict(video, gflops=0.5 * small)


def test_milliseconds_are_those_of_here(predictor, video, monkeypatch):
    assert predictor.table.rows[0].milliseconds == 10.0  # the test run's
    points = predictor.points()
    assert predictor.table.backend == "pytorch"
    assert predictor.table.facts["threads"] == torch.get_num_threads()
    assert all(row.milliseconds != 10.0 for row in predictor.table.rows)
    assert points[-1].top1 == 90.0
    assert predictor.predict(video, milliseconds=1e6).config == FULL
    monkeypatch.setattr(subnet_choice, "MeasuredTable", None)  # once is enough
    with pytest.raises(ValueError, match=r"no sub-network fits milliseconds=0\.001"):
        predictor.predict(video, milliseconds=1e-3)


@pytest.mark.slow
def test_threads_are_said_where_they_are_known(networks):
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    assert "threads" not in Predictor(networks, backend="openvino").measure().facts
    assert Predictor(networks, backend="openvino", threads=1).measure().facts["threads"] == 1


def test_what_is_wrong_with_a_budget_is_said_before_anything_is_measured(predictor, monkeypatch):
    monkeypatch.setattr(subnet_choice, "MeasuredTable", None)
    for budget in (float("nan"), 0, -1.0, "9"):
        with pytest.raises(ValueError, match=r"milliseconds is .*; a budget must be a number above 0"):
            predictor.choose(milliseconds=budget)


def with_table(networks, table):
    return CheckpointNetworks(networks.path, networks.network(), HOW, CLASS_NAMES, table)


def test_rows_of_the_back_end_itself_are_used_where_the_table_has_some(networks):
    """One sub-network is there, and it is said to be worse than on PyTorch."""
    small = networks.table.row(SMALL)
    table = networks.table.with_rows([replace(small, backend="openvino", top1=60.0, milliseconds=1.0)], device="a cpu")
    own = SubnetChoice(with_table(networks, table), OpenVINO(networks, CPU, None))
    assert [(row.config, row.top1, row.backend) for row in own.table.rows] == [(SMALL, 60.0, "openvino")]
    assert own.table.facts == {"device": "a cpu"}
    other = SubnetChoice(with_table(networks, table), PyTorch(networks, CPU, None))
    assert [(row.config, row.top1, row.backend) for row in other.table.rows] == [
        (FULL, 90.0, "pytorch"),
        (SMALL, 89.0, "pytorch"),
    ]


def networks_of_ten_views(networks):
    """Return networks whose test had 10 views; of one view the small network is as good as the large one."""
    ten = [replace(row, views=Views(10, 1)) for row in networks.table.rows]
    single = [replace(row, top1=55.0 if row.config == FULL else 60.0) for row in networks.table.rows]
    return with_table(networks, QueryTable((*ten, *single), {"views": "10 x 1"}))


@pytest.mark.parametrize("backend", ["pytorch", "openvino"])
def test_the_accuracy_is_that_of_the_views_that_are_run(networks, backend):
    """Of a back end without rows of its own too."""
    kind = {"pytorch": PyTorch, "openvino": OpenVINO}[backend]
    choice = SubnetChoice(networks_of_ten_views(networks), kind(networks, CPU, None))
    large = networks.gflops(FULL)
    config, views, row = choice.choose(large, None, None)  # one view: ten of either cost more
    assert (config, views, row.top1, row.views) == (SMALL, Views(), 60.0, Views())
    config, views, row = choice.choose(10 * large, None, None)
    assert (config, views, row.top1, row.views) == (FULL, Views(10, 1), 90.0, Views(10, 1))
    config, views, row = choice.choose(10 * large, None, None, Views())
    assert (config, views, row.top1) == (SMALL, Views(), 60.0)
    config, views, row = choice.choose(9 * large, None, None, Views(10, 1))
    assert (config, views, row.top1, row.views) == (SMALL, Views(10, 1), 89.0, Views(10, 1))
    _, _, row = choice.choose(None, None, FULL, Views(10, 1))
    assert row.top1 == 90.0
    config, views, row = choice.choose(5 * large, None, None, Views(5, 1))  # chosen by one view: nobody knows five
    assert (config, views, row.top1, row.views) == (SMALL, Views(5, 1), 60.0, Views())
    with pytest.raises(ValueError, match=r"the cheapest in gflops is w0\.5-s48-t2 of 5 x 1 views with"):
        choice.choose(4.9 * networks.gflops(SMALL), None, None, Views(5, 1))
    assert choice.choose(None, None, FULL)[1] == choice.choose(None, None, None)[1] == Views()
    assert choice.table.views == Views(10, 1)
    assert choice.front() == (FULL, SMALL)


def test_a_prediction_has_the_accuracy_of_what_was_run_or_none(networks, video, told_times):
    predictor = Predictor(networks_of_ten_views(networks), backend="pytorch")
    top1 = {views: predictor.predict(video, config=FULL, views=views).to_json()["top1"] for views in (1, 10, 2)}
    assert top1 == {1: 55.0, 10: 90.0, 2: None}
    only_ten = with_table(networks, QueryTable(predictor._networks.table.default_rows, {"views": "10 x 1"}))
    assert Predictor(only_ten, backend="pytorch").predict(video, config=FULL).to_json()["top1"] is None
    assert predictor.measure().views == Views(10, 1)
    assert [(row.top1, row.milliseconds_of_video) for row in predictor.points()] == [(60.0, 10.0), (90.0, 50.0)]
    assert {row.top1 for row in predictor.points(views=1)} == {60.0}
    assert [row.top1 for row in predictor.front("gflops", views=10)] == [89.0, 90.0]
    got = predictor.predict(video, milliseconds=1e6)
    assert (got.config, got.views, got.row.top1, got.to_json()["top1"]) == (FULL, 10, 90.0, 90.0)
    assert predictor.predict(video, milliseconds=1e6, views=10).row.top1 == 90.0
    assert predictor.predict(video, config=got.config, views=got.row.views).row == got.row


def test_videos_of_several_views_are_measured_where_a_budget_may_choose_them(networks, told_times):
    """A clip takes 60 and 10 ms, so that ten are forecast to take 600 and 100."""
    choice = SubnetChoice(networks_of_ten_views(networks), PyTorch(networks, CPU, 1))
    assert choice.choose(None, 40.0, None)[:2] == (SMALL, Views())
    assert told_times == []  # above twice the budget
    assert choice.choose(None, 49.0, None, Views())[:2] == (SMALL, Views())
    assert told_times == []  # one view is asked for
    assert choice.choose(None, 50.0, None)[:2] == (SMALL, Views(10, 1))
    assert told_times == [[(SMALL, 10)]]
    assert choice.choose(None, 300.0, None)[:2] == (FULL, Views(10, 1))
    assert told_times == [[(SMALL, 10)], [(FULL, 10)]]
    assert [row.milliseconds_of_video for row in choice.table.rows] == [50.0, 60.0, 50.0, 10.0]
    choice.measure()
    assert len(told_times) == 2
    choice.measure(again=True)
    assert len(told_times) == 3


def test_a_sub_network_that_is_not_measured_keeps_its_accuracy(networks, monkeypatch):
    latencies = Latencies({SMALL: 10.0}, 25)
    monkeypatch.setattr(measured_table, "measure_latencies", lambda *args, **settings: latencies)
    beaten = replace(networks.table.row(FULL), top1=10.0)
    table = QueryTable((beaten, networks.table.row(SMALL)), {"views": "1 x 1"})
    choice = SubnetChoice(with_table(networks, table), PyTorch(networks, CPU, 1))
    assert [row.config for row in choice.measure().rows] == [SMALL]
    _, _, row = choice.choose(None, None, FULL)
    assert (row.top1, row.milliseconds) == (10.0, beaten.milliseconds)


@pytest.mark.slow
def test_times_are_measured_again_when_that_is_asked_for(networks, monkeypatch):
    choice = SubnetChoice(networks, PyTorch(networks, CPU, 1))
    first = choice.measure()
    assert choice.measure() is first
    assert choice.table is first
    assert choice.measure(again=True) is not first


def test_sub_networks_are_named_by_their_keys(networks):
    choice = SubnetChoice(networks, PyTorch(networks, CPU, 1))
    assert choice.runnable("w0.5-s48-t2") == choice.runnable(SMALL) == SMALL
    assert choice.front() == (FULL, SMALL)
    with pytest.raises(ValueError, match=r"has no sub-network w0\.7-s48-t2 that can be run; it has w1\.0-s64-t4, w0"):
        choice.runnable("w0.7-s48-t2")
