from __future__ import annotations

import numpy as np
import pytest
import torch

from mutualnet3d.deploy import VideoFeatures
from mutualnet3d.deploy.prediction import ReadVideo, Timing
from mutualnet3d.deploy.stages import PlannedStage
from mutualnet3d.deploy.video_features import ClipFeatures
from mutualnet3d.results.row import Views
from tests.deploy.networks import SMALL


def test_each_view_has_the_time_of_its_span_and_their_mean_the_time_of_all():
    video = ReadVideo("a.mp4", SMALL, None, (), 0.002, 0.001, span_times=((0.0, 1.0), (2.0, 3.5)))
    result = ClipFeatures("a.mp4")
    result.add(PlannedStage(SMALL, Views(2, 3), 0.0, 1.0), video, torch.arange(12.0).view(6, 2), 0.5, "sum")
    assert result.is_sure(1.0, "sum")
    assert result.timing == Timing(2.0, 1.0, 500.0)
    per_view = result.arrays(per_clip=True)
    assert per_view["feature_NC"].tolist() == np.arange(12.0).reshape(6, 2).tolist()
    assert per_view["start_N"].tolist() == [0, 0, 0, 2, 2, 2]
    assert per_view["end_N"].tolist() == [1, 1, 1, 3.5, 3.5, 3.5]
    mean = result.arrays(per_clip=False)
    assert mean["feature_NC"].tolist() == [[pytest.approx(5.0), pytest.approx(6.0)]]
    assert (mean["start_N"].tolist(), mean["end_N"].tolist()) == ([0.0], [3.5])
    features = VideoFeatures(
        "a.mp4",
        **per_view,
        config=SMALL,
        gflops=1.0,
        backend="pytorch",
        layer=None,
        num_clips=6,
        num_lost=0,
        timing=result.timing,
    )
    assert (len(features), repr(features)) == (6, "<VideoFeatures of a.mp4: 6 of 2; w0.5-s48-t2 on pytorch>")
