from __future__ import annotations

import pytest

from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.deploy.subnet_predictor import SubnetPredictor, checked_views
from mutualnet3d.results.query_table import Views
from tests.deploy.networks import FULL, HOW, SMALL


def test_it_needs_no_video(networks):
    predictor = SubnetPredictor(networks, backend="pytorch", device="cpu")
    assert predictor.configs == (FULL, SMALL)
    assert predictor.choose(gflops=networks.gflops(SMALL))[0] == SMALL
    assert predictor.preprocessing == HOW
    assert repr(predictor) == f"<SubnetPredictor: {networks.path}: 2 sub-networks, 7 classes, pytorch on cpu>"
    assert {row.config for row in predictor.points()} <= {FULL, SMALL}


def test_its_lock_is_the_models_where_pytorch_runs_it(networks):
    assert SubnetPredictor(networks, backend="pytorch")._lock is networks.network().lock


def test_a_reader_that_is_given_reads(networks, video):
    class Counting(ClipReader):
        def read(self, source, *rest):
            sources.append(source)
            return super().read(source, *rest)

    sources = []
    Predictor(networks, backend="pytorch", reader=Counting(HOW)).predict(video, config=SMALL)
    assert sources == [video]


@pytest.mark.parametrize("views", [0, -1, 1.0, True, "2", (2, 2), (1, 1, 1)])
def test_views_that_are_none_are_refused(views):
    with pytest.raises(
        ValueError, match=r"^views is .*; allowed: clips over the video, 1 or more, or \(clips, crops\)"
    ):
        checked_views(views)
    assert checked_views((2, 3)) == checked_views(Views(2, 3)) == Views(2, 3)
    assert checked_views(None) is None
