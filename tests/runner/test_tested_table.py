from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mutualnet3d.engine.evaluate import Evaluation
from mutualnet3d.models import costs
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.results.row import Views
from mutualnet3d.results.view_scores import Accuracy
from mutualnet3d.runner.tested_table import table_of_test
from mutualnet3d.shapes import ClipShape, SubnetConfig
from tests.runner.runs import make_cfg

FULL = SubnetConfig(1.0, 32, 2)


@pytest.fixture(scope="module")
def session():
    model = build_x3d(full_clip=ClipShape(2, 32), num_classes=2, width_factor=1.0, depth_factor=0.3, dim_c5=16)
    model.statistics.set(FULL, model.tracked_statistics())
    cfg = make_cfg(["TEST.NUM_ENSEMBLE_VIEWS", 3, "TEST.NUM_SPATIAL_CROPS", 1, "TEST.LATENCY_RUNS", 1])

    def blank_clips(config, num_clips=1):
        return [torch.zeros(num_clips, 3, config.frames, config.size, config.size)]

    return SimpleNamespace(cfg=cfg, model=model, device=torch.device("cpu"), blank_clips=blank_clips)


def test_a_row_for_each_number_of_views(session):
    accuracies = {
        (FULL, Views(3)): Accuracy(90.0, 100.0, 4),
        (FULL, Views(1)): Accuracy(70.0, 100.0, 4),
        (FULL, Views(2)): Accuracy(80.0, 100.0, 4),
    }
    result = Evaluation(accuracies, {}, Views(3), torch.zeros(4), torch.arange(4))
    split = SimpleNamespace(videos=range(5), num_in_list=7, bad=SimpleNamespace(num_listed=6))
    table = table_of_test(session, result, split, SimpleNamespace(path="a/b.pyth", step=3), "abc")
    assert {str(row.views): row.top1 for row in table.rows} == {"3 x 1": 90.0, "1 x 1": 70.0, "2 x 1": 80.0}
    operations, params = costs(session.model, FULL)
    assert {(row.gflops, row.params) for row in table.rows} == {(operations / 1e9, params)}
    assert table.views == Views(3)
    assert table.context["nearby_views"] == ["1 x 1", "2 x 1"]
    names = ("num_videos", "num_found", "num_listed", "num_in_list", "checkpoint", "weights", "step")
    assert [table.context[name] for name in names] == [4, 5, 6, 7, "abc", "b.pyth", 3]
    passes = {str(row.views): row.pass_milliseconds for row in table.rows}
    assert passes["1 x 1"] is None
    assert 0 < passes["2 x 1"] == table.row(FULL, Views(2)).milliseconds_of_video
    assert 0 < passes["3 x 1"] == table.row(FULL).milliseconds_of_video
