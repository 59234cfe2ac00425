from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.results.cascade import Cascade, Stage, confidence
from mutualnet3d.results.row import Views
from mutualnet3d.video.errors import VideoDecodeError
from tests.deploy.networks import FULL, SMALL

NUM_VIDEOS = 6


@pytest.fixture(scope="module")
def videos():
    """Frames of noise, brighter from video to video."""
    rng = np.random.default_rng(4)
    return [rng.integers(0, 40 * number + 50, (12, 64, 80, 3), dtype=np.uint8) for number in range(NUM_VIDEOS)]


@pytest.fixture(scope="module")
def predictor(networks, videos):
    """One whose table has a cascade that half of the videos go on in."""
    alone = Predictor(networks, backend="pytorch")
    threshold = float(np.median([margin(alone.predict(frames, config=SMALL, top=100)) for frames in videos]))
    first, last = (networks.table.row(config) for config in (SMALL, FULL))
    cascades = (
        Cascade((Stage(SMALL, Views(), 0.0, 1.0),), 88.0, 99.0, 88.0),
        Cascade((Stage(SMALL, Views(), threshold, 1.0), Stage(FULL, Views(), 0.0, 0.5)), 89.5, 99.0, 91.0),
    )
    table = replace(networks.table, cascades=cascades)
    assert table.spread(cascades[1]).mean == pytest.approx(first.gflops + 0.5 * last.gflops)
    return Predictor(with_table(networks, table), backend="pytorch")


def with_table(networks, table):
    return CheckpointNetworks(networks.path, networks.network(), networks.preprocessing, networks.class_names, table)


def margin(prediction):
    score_K = torch.tensor([label.score for label in prediction.labels])
    return float(confidence(score_K[None]))


def mean_budget(predictor):
    return predictor.table.spread(predictor.table.cascades[1]).mean


def test_a_mean_budget_runs_the_dear_row_on_unsure_videos(predictor, videos):
    cascade = predictor.choose_cascade(mean_gflops=mean_budget(predictor))
    predictions = [predictor.predict(frames, mean_gflops=mean_budget(predictor), top=100) for frames in videos]
    gflops = {config: predictor.table.row(config).gflops for config in (SMALL, FULL)}
    for frames, prediction in zip(videos, predictions, strict=True):
        small = predictor.predict(frames, config=SMALL, top=100)
        is_sure = margin(small) >= cascade.stages[0].threshold
        expected = small if is_sure else predictor.predict(frames, config=FULL, top=100)
        assert (prediction.config, prediction.labels) == (expected.config, expected.labels)
        ran = [SMALL] if is_sure else [SMALL, FULL]
        assert [stage.config for stage in prediction.stages] == ran
        assert prediction.gflops_of_video == pytest.approx(sum(gflops[config] for config in ran))
        assert (prediction.cascade, prediction.row, prediction.top1) == (cascade, None, 89.5)
    assert len({prediction.config for prediction in predictions}) == 2
    spent = np.mean([prediction.gflops_of_video for prediction in predictions])
    assert spent == pytest.approx(mean_budget(predictor))  # half of these went on


def test_many_videos_get_what_each_gets_alone(predictor, videos, video):
    budget = mean_budget(predictor)
    alone = [predictor.predict(source, mean_gflops=budget) for source in [*videos, video]]
    together = list(predictor.predict_many([*videos, video], mean_gflops=budget, batch_size=4))
    assert [prediction.stages for prediction in together] == [prediction.stages for prediction in alone]
    assert [prediction.source for prediction in together] == ["frames"] * NUM_VIDEOS + [video]
    for prediction, expected in zip(together, alone, strict=True):
        assert [label.index for label in prediction.labels] == [label.index for label in expected.labels]
        assert [label.score for label in prediction.labels] == pytest.approx(
            [label.score for label in expected.labels], abs=1e-5
        )


def test_many_videos_of_one_sub_network(predictor, videos, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    first, error, last = predictor.predict_many([videos[0], broken, videos[1]], config=SMALL, views=2, batch_size=3)
    assert isinstance(error, VideoDecodeError)
    assert str(broken) in str(error)
    assert [(prediction.config, prediction.views, prediction.cascade) for prediction in (first, last)] == [
        (SMALL, 2, None)
    ] * 2
    assert last.labels[0].index == predictor.predict(videos[1], config=SMALL, views=2).labels[0].index
    with pytest.raises(VideoDecodeError, match=re.escape(str(broken))):
        predictor.predict(broken)


def test_a_mean_time_is_measured_here(predictor, videos):
    measured = predictor.measure()
    assert measured.cascades == predictor.table.cascades
    cheap, pair = (measured.spread(cascade, "milliseconds").mean for cascade in measured.cascades)
    assert cheap < pair
    assert predictor.choose_cascade(mean_milliseconds=pair).stages[-1].config == FULL
    assert predictor.predict(videos[0], mean_milliseconds=0.999 * pair).stages[-1].config == SMALL


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"mean_gflops": 1e-9}, "no cascade fits mean_gflops=1e-09; the cheapest in gflops is w0.5-s48-t2 with"),
        ({"mean_gflops": 0}, "mean_gflops is 0; a budget must be a number above 0"),
        ({"mean_gflops": 1, "gflops": 1}, "give a mean budget (mean_gflops, mean_milliseconds) or else a budget of"),
        ({"mean_gflops": 1, "views": 2}, "give a mean budget (mean_gflops, mean_milliseconds) or else a budget of"),
        ({"mean_milliseconds": 1, "config": SMALL}, "give a mean budget (mean_gflops, mean_milliseconds) or else"),
        ({"batch_size": 0}, "batch_size is 0; it must be an integer of at least 1"),
        ({"top": 0}, "top is 0; it must be an integer of at least 1"),
    ],
)
def test_wrong_budgets_are_errors_at_once(predictor, videos, budget, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        predictor.predict_many(videos, **budget)


def test_a_table_without_cascades_says_how_to_make_them(networks, videos):
    predictor = Predictor(networks, backend="pytorch")
    message = (
        f"{networks.path}: its query table has no cascades of pytorch, which a mean budget needs; a test (`mutualnet3d "
        "test`) with TEST.CASCADES True makes them, on 100 videos or more"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        predictor.predict(videos[0], mean_gflops=1)
