from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from mutualnet3d.results.row import Views
from mutualnet3d.serving.service import BudgetError, PredictionService
from mutualnet3d.video.errors import VideoDecodeError
from tests.serving.servers import LARGE, SMALL, HeldPredictor


@pytest.fixture
def service():
    service = PredictionService(HeldPredictor(), most_clips=4, hidden="/secret/model")
    service.prepare()
    return service


def predicted(service, content, **budget):
    with open(os.memfd_create("video"), "r+b") as file:
        file.write(content)
        file.flush()
        return service.predict(file.fileno(), "a.mp4", budget, top=1)


def test_a_video_is_called_by_its_name(service):
    prediction = predicted(service, b"video", gflops=1.0)
    assert (prediction.source, prediction.labels[0].name, prediction.config) == ("a.mp4", "video", SMALL)
    with pytest.raises(VideoDecodeError, match=r"^a\.mp4: cannot be decoded$"):
        predicted(service, b"bad")


def test_what_a_request_may_ask_for_is_bounded(service):
    assert predicted(service, b"video", config=str(LARGE), views=Views(4)).config == LARGE
    assert predicted(service, b"video", milliseconds=9.0, views=Views(4)).config == LARGE
    for budget, message in (
        ({"views": Views(5)}, "views: 5 clips of a video; this server takes up to 4"),
        ({"views": Views(2, 3)}, "views: 6 clips"),
        (
            {"milliseconds": 9.0, "views": Views(3)},
            "milliseconds: a video of 3 x 1 views was not measured; measured: 1",
        ),
        ({"config": "w0.7-s32-t4"}, r"subnet is 'w0\.7-s32-t4'; allowed: w1\.0-s32-t4, w0\.5-s32-t2"),
        ({"config": "nonsense"}, "nonsense"),
        ({"gflops": 1e-3}, r"^the model: no sub-network fits gflops=0\.001$"),
    ):
        with pytest.raises(BudgetError, match=message):
            predicted(service, b"video", **budget)
    # A cascade whose stages have more clips together.
    service.predictor.plan = lambda **budget: SimpleNamespace(stages=[SimpleNamespace(views=Views(3))] * 2)
    with pytest.raises(BudgetError, match="views: 6 clips"):
        predicted(service, b"video", mean_gflops=1.0)


def test_without_a_table_the_largest_is_made_ready():
    predictor = HeldPredictor()
    predictor.table = SimpleNamespace(rows=())
    service = PredictionService(predictor, most_clips=4)
    service.prepare()
    assert (predictor.prepared, service.points) == ((LARGE,), ())
