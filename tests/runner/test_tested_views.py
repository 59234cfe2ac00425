from __future__ import annotations

import pytest

from mutualnet3d.results.row import Views
from mutualnet3d.runner.tested_views import nearby_views, subsets_of, views_of
from tests.runner.runs import make_cfg


@pytest.mark.parametrize(
    ("spans", "crops", "dataset", "keys", "nearby"),
    [
        (10, 1, "kinetics", ["10 x 1", "1 x 1", "2 x 1", "3 x 1", "5 x 1"], ["3 x 1"]),
        (2, 3, "kinetics", ["2 x 3", "1 x 3", "1 x 1", "2 x 1"], ["1 x 1", "2 x 1"]),
        (1, 1, "kinetics", ["1 x 1"], []),
        (2, 1, "ssv2", ["2 x 1", "1 x 1"], ["1 x 1"]),  # no frame of a segment is the middle one of two
    ],
)
def test_the_views_of_a_tests_rows(spans, crops, dataset, keys, nearby):
    cfg = make_cfg(["TEST.NUM_ENSEMBLE_VIEWS", spans, "TEST.NUM_SPATIAL_CROPS", crops, "TEST.DATASET", dataset])
    assert views_of(cfg) == Views(spans, crops)
    assert list(map(str, subsets_of(cfg))) == keys
    assert nearby_views(cfg) == nearby
    assert subsets_of(cfg)[views_of(cfg)] == tuple(range(spans * crops))
