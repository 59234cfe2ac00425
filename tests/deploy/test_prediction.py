from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from mutualnet3d.deploy.prediction import Label, Prediction, StageRun, Timing, best_labels, score_views
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.deploy.stream import Window
from mutualnet3d.results.cascade import Cascade, Stage
from mutualnet3d.results.query_table import Row, Views
from mutualnet3d.results.view_scores import ViewScores
from tests.deploy.networks import CLASS_NAMES, FULL, SMALL


def test_plain_values():
    row = Row(SMALL, 0.1, 1000, 5.0, 89.0, 99.0)
    labels = (Label("yoga", 3, 0.75), Label("zumba", 1, 0.25))
    frames = np.zeros((2, 48, 48, 3), np.uint8)
    prediction = Prediction("a.mp4", labels, SMALL, 0.1, row, "pytorch", 6, Timing(1.0, 2.0, 4.0), frames)
    assert prediction.to_json() == {
        "source": "a.mp4",
        "labels": [{"name": "yoga", "index": 3, "score": 0.75}, {"name": "zumba", "index": 1, "score": 0.25}],
        "config": "w0.5-s48-t2",
        "gflops": 0.1,
        "gflops_of_video": pytest.approx(0.6),
        "top1": 89.0,
        "backend": "pytorch",
        "views": 6,
        "stages": [{"config": "w0.5-s48-t2", "views": 6, "gflops": pytest.approx(0.6)}],
        "milliseconds": {"decode": 1.0, "prepare": 2.0, "network": 4.0, "total": 7.0},
    }
    assert dataclasses.replace(prediction, row=None).to_json()["top1"] is None


def test_a_cascades_prediction_has_the_cost_of_all_that_ran():
    cascade = Cascade((Stage(SMALL, Views(), 0.5, 1.0), Stage(FULL, Views(2), 0.0, 0.25)), 91.0, 99.0, 92.0)
    stages = (StageRun(SMALL, 1, 0.1), StageRun(FULL, 2, 0.8))
    frames = np.zeros((2, 48, 48, 3), np.uint8)
    timing = Timing(1.0, 2.0, 4.0)
    prediction = Prediction(
        "a.mp4", (Label("yoga", 3, 0.75),), FULL, 0.4, None, "pytorch", 2, timing, frames, cascade, stages
    )
    assert prediction.gflops_of_video == pytest.approx(0.9)
    values = prediction.to_json()
    assert (values["config"], values["gflops"], values["gflops_of_video"]) == (str(FULL), 0.4, pytest.approx(0.9))
    assert [stage["config"] for stage in values["stages"]] == [str(SMALL), str(FULL)]
    assert values["top1"] == 91.0  # of the cascade, over all videos
    assert "; w0.5-s48-t2 > w1.0-s64-t4 on pytorch, 2 views, 7.0 ms>" in repr(prediction)


def test_a_prediction_is_one_short_line(networks, video):
    labels = tuple(Label(f"cl\nass {number}", number, 0.5 - number / 10) for number in range(5))
    frames = np.zeros((16, 224, 224, 3), np.uint8)
    prediction = Prediction("a.mp4", labels, SMALL, 0.1, None, "pytorch", 1, Timing(1.0, 2.0, 4.25), frames)
    assert repr(prediction) == (
        r"<Prediction of a.mp4: cl\nass 0 50.0 %, cl\nass 1 40.0 %; w0.5-s48-t2 on pytorch, one view, 7.2 ms>"
    )
    window = Window(dataclasses.replace(prediction, views=6), 0.0, 1.5, 12.0, 0)
    assert "on pytorch, 6 views, 7.2 ms>, start_seconds=0.0" in repr(window)
    read = Predictor(networks, backend="pytorch").read(video, config=SMALL)
    assert repr(read) == f"<ReadVideo of {video}: w0.5-s48-t2, 1 x 2 x 48 x 48 x 3>"


def test_predictions_can_be_compared(networks, video):
    prediction = Predictor(networks, backend="pytorch").predict(video, config=SMALL)
    assert copy.deepcopy(prediction) == prediction
    assert hash(copy.deepcopy(prediction)) == hash(prediction)
    assert dataclasses.replace(prediction, views=2) != prediction


@pytest.mark.parametrize("ensemble", ["sum", "logits", "max"])
def test_views_are_put_together_as_testing_does(ensemble):
    logits_VK = torch.randn(3, len(CLASS_NAMES))
    scores = ViewScores([0], len(CLASS_NAMES), ensemble)
    scores.add(torch.zeros(3, dtype=torch.long), logits_VK)
    order = scores.whole(1, 3)[0].argsort(descending=True).tolist()
    labels = best_labels(score_views(logits_VK, ensemble), CLASS_NAMES, 7)
    assert [label.index for label in labels] == order


def test_scores_of_logits_are_probabilities_and_equals_come_in_order():
    logits_VK = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(score_views(logits_VK, "logits"), torch.tensor([1.0, 0.0, 0.0]).softmax(0))
    torch.testing.assert_close(score_views(logits_VK, "sum"), logits_VK.softmax(1).mean(0))
    torch.testing.assert_close(score_views(logits_VK, "max"), logits_VK.softmax(1).amax(0))
    labels = best_labels(torch.tensor([0.2, 0.4, 0.4]), ("a", "b", "c"), 2)
    assert [(label.name, label.index) for label in labels] == [("b", 1), ("c", 2)]
