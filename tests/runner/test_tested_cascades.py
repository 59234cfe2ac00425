from __future__ import annotations

import torch

import mutualnet3d as m3
from mutualnet3d.engine.evaluate import Evaluation
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.results.row import Row, Views
from mutualnet3d.results.view_scores import accuracy
from mutualnet3d.runner.tested_cascades import cascades_of_test
from tests.results.test_cascade_fit import CHEAP, DEAR, GFLOPS, made


def of_test(num_videos, *words, logits=False):
    """The cascades of a test of so many videos, its facts, and its rows."""
    scores, label_V = made(num_videos)
    if logits:
        scores = {key: score_VK.log() for key, score_VK in scores.items()}
    accuracies = {key: accuracy(score_VK, label_V) for key, score_VK in scores.items()}
    result = Evaluation(accuracies, scores, Views(), label_V, torch.arange(num_videos))
    rows = [
        Row(config, GFLOPS[config, views], 1000, 1.0, accuracies[config, views].top1, 100.0, views=views)
        for config, views in scores
    ]
    overrides = ["RNG_SEED", 5, "DATA.ENSEMBLE_METHOD", "logits" if logits else "sum", *words]
    return *cascades_of_test(m3.load_cfg("X3D_tiny_mutual.yaml", overrides), result, rows), rows


def test_cascades_of_a_test():
    cascades, facts, rows = of_test(400)
    assert facts == {"fit_videos": 200, "report_videos": 200, "seed": 5}
    table = QueryTable(tuple(rows), {"cascades": facts}, cascades)
    best = table.best_cascade(mean_gflops=4.0)
    assert [stage.key for stage in best.stages] == [CHEAP, DEAR]
    assert best.top1 > max(row.top1 for row in rows) + 4  # 95.5 and 91 %
    assert table.spread(best).mean < 4.0


def test_logits_are_taken_for_what_they_are():
    (cascades, *_), (of_logits, *_) = of_test(400), of_test(400, logits=True)
    assert [cascade.top1 for cascade in of_logits] == [cascade.top1 for cascade in cascades]


def test_none_are_made_of_few_videos_or_if_not_asked_for(caplog):
    with caplog.at_level("INFO", logger="mutualnet3d"):
        assert of_test(99)[:2] == (None, {})
    assert "no cascades: 99 videos were tested, and they are fitted on 100 or more" in caplog.text
    assert of_test(400, "TEST.CASCADES", False)[:2] == (None, {})
