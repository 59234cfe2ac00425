from __future__ import annotations

from dataclasses import replace

import torch

from mutualnet3d.deploy.backends import PyTorch
from mutualnet3d.deploy.measured_table import MeasuredTable
from mutualnet3d.results.query_table import QueryTable, Views
from tests.deploy.networks import FULL, SMALL

CPU = torch.device("cpu")


def test_times_that_did_not_settle_are_marked(networks, told_times):
    table = MeasuredTable(networks, PyTorch(networks, CPU, 1), networks.table, [FULL, SMALL]).table
    assert [(row.milliseconds, row.settled) for row in table.rows] == [(60.0, False), (10.0, True)]


def test_measured_rows_are_the_back_ends_and_say_whose_accuracy_they_have(networks):
    class Other(PyTorch):
        name = "other"

    measured = MeasuredTable(networks, Other(networks, CPU, 1), networks.table, [FULL, SMALL]).table
    assert {row.backend for row in measured.rows} == {measured.backend} == {"other"}
    assert [(row.config, row.top1) for row in measured.rows] == [(FULL, 90.0), (SMALL, 89.0)]
    facts = dict(measured.facts)
    assert 3 <= facts.pop("latency_runs") <= 25
    assert facts.pop("device")
    assert facts == {"accuracy_of": "pytorch", "batch_size": 1, "threads": 1}
    assert measured.context["backends"] == {"other": measured.facts}


def test_videos_are_measured_where_they_may_be_chosen(networks, told_times):
    """A clip takes 60 and 10 ms here. In the test a pass of ten took twice a clip's time by the large network; that of
    the small one was not measured, so that it is forecast to take ten times a clip's."""
    full, small = networks.table.rows
    ten = [
        replace(full, views=Views(10), top1=95.0, pass_milliseconds=2 * full.milliseconds),
        replace(small, views=Views(10)),
    ]
    tested = QueryTable((full, small, *ten), {"views": "10 x 1"})
    measured = MeasuredTable(networks, PyTorch(networks, CPU, 1), tested, [FULL, SMALL])
    times = {(row.config, row.views.count): row.milliseconds_of_video for row in measured.table.rows}
    assert times == {(FULL, 1): 60.0, (SMALL, 1): 10.0, (FULL, 10): 600.0, (SMALL, 10): 100.0}
    measured.measure_videos(measured.table.query_rows, None, budget=59.0)
    measured.measure_videos(measured.table.query_rows, Views(), budget=1e6)
    assert told_times == []  # 120 ms are forecast, and ten views of the small network are no better than one
    measured.measure_videos(measured.table.query_rows, None, budget=60.0)
    assert told_times == [[(FULL, 10)]]
    assert measured.table.row(FULL).milliseconds_of_video == 50.0
    measured.measure_videos(measured.table.select(views=Views(10)).rows, Views(10))
    assert told_times == [[(FULL, 10)]]  # it is faster and better than the small one's 100 ms
    assert measured.table.row(SMALL).pass_milliseconds is None
