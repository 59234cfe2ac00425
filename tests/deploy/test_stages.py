from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mutualnet3d.deploy.prediction import ReadVideo, StageRun
from mutualnet3d.deploy.stages import PlannedStage, run_in_stages
from mutualnet3d.results.row import Views
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.errors import VideoDecodeError

CHEAP, DEAR = SubnetConfig(0.5, 32, 2), SubnetConfig(1.0, 48, 4)
FIRST = PlannedStage(CHEAP, Views(), 0.5, gflops=1.0)
LAST = PlannedStage(DEAR, Views(2), 0.0, gflops=5.0)


class Made:
    """Videos are numbers: the network is the surer the larger the number. Reads and forward passes are noted.

    Args:
        broken: videos that cannot be read, by the sub-network whose clips they are read for.
    """

    def __init__(self, broken=()):
        self.broken, self.read_for, self.batches = dict(broken), [], []

    def read(self, video, stages):
        self.read_for.append((video, [stage.config for stage in stages]))
        if self.broken.get(video) == stages[0].config:
            raise VideoDecodeError(f"{video} is broken")
        read = []
        for stage in stages:
            shape = (stage.views.count, stage.config.frames, stage.config.size, stage.config.size, 3)
            clips = torch.full(shape, video, dtype=torch.uint8)
            read.append(
                ReadVideo(str(video), stage.config, None, (clips,), decode_seconds=0.002, prepare_seconds=0.001)
            )
        return read

    def forward(self, config, clips):
        (clips_BTHWC,) = clips
        self.batches.append((config, len(clips_BTHWC)))
        number_B = clips_BTHWC[:, 0, 0, 0, 0].float()
        margin_B = number_B / 10 if config == CHEAP else torch.full_like(number_B, 0.9)
        p_B = (1 + margin_B) / 2
        return torch.stack([p_B.log(), (1 - p_B).log()], dim=1), 0.012

    def run(self, videos, stages=(FIRST, LAST), batch_size=4):
        return list(run_in_stages(videos, stages, self.read, self.forward, "sum", batch_size))


def test_only_the_unsure_go_on_and_together():
    made = Made()
    results = made.run([9, 1, 8, 2, 3, 7], batch_size=4)
    assert [result.source for result in results] == ["9", "1", "8", "2", "3", "7"]
    first, last = StageRun(CHEAP, 1, 1.0), StageRun(DEAR, 2, 10.0)
    ran = [result.runs for result in results]
    assert ran == [[first], [first, last], [first], [first, last], [first, last], [first]]
    # Four videos of one clip at a time; of these the two unsure ones, of two clips each, in one pass.
    assert made.batches == [(CHEAP, 4), (DEAR, 4), (CHEAP, 2), (DEAR, 2)]
    # Clips of the second stage, of more views, are read for those that run it alone.
    assert [video for video, configs in made.read_for if configs == [DEAR]] == [1, 2, 3]
    assert len(made.read_for) == 9


def test_one_clip_for_each_stage_is_read_once():
    made, of_one_view = Made(), replace(LAST, views=Views())
    results = made.run([9, 1, 8, 2], stages=(FIRST, of_one_view), batch_size=2)
    assert made.read_for == [(video, [CHEAP, DEAR]) for video in (9, 1, 8, 2)]
    assert [len(result.runs) for result in results] == [1, 2, 1, 2]
    assert made.batches == [(CHEAP, 2), (DEAR, 1)] * 2
    assert results[1].frames.shape == (4, 48, 48, 3)
    assert np.all(results[3].frames == 2)


def test_scores_are_those_of_the_last_stage_and_times_of_all():
    (sure, unsure) = Made().run([9, 1], batch_size=2)
    assert sure.score_K.tolist() == pytest.approx([0.95, 0.05])
    assert unsure.score_K.tolist() == pytest.approx([0.95, 0.05])
    assert (unsure.timing.decode, unsure.timing.prepare) == pytest.approx((4.0, 2.0))
    assert unsure.timing.network == pytest.approx(6.0 + 12.0)  # half of the first pass, and the second alone
    assert sure.timing.network == pytest.approx(6.0)
    assert (sure.frames.shape, unsure.frames.shape) == ((2, 32, 32, 3), (4, 48, 48, 3))
    assert np.all(unsure.frames == 1)


def test_results_do_not_depend_on_the_batch():
    videos = [9, 1, 8, 2, 3, 7, 5]
    one_by_one, together = (Made().run(videos, batch_size=size) for size in (1, 7))
    assert [result.runs for result in one_by_one] == [result.runs for result in together]
    assert torch.equal(*(torch.stack([result.score_K for result in results]) for results in (one_by_one, together)))


@pytest.mark.parametrize("config", [CHEAP, DEAR])
def test_a_video_that_cannot_be_read_is_its_error(config):
    results = Made({2: config}).run([1, 2, 9])
    assert isinstance(results[1], VideoDecodeError)
    assert "2 is broken" in str(results[1])
    assert [len(result.runs) for result in (results[0], results[2])] == [2, 1]


def test_videos_are_taken_as_they_are_needed():
    made, taken = Made(), []

    def videos():
        for number in (9, 8, 7):
            taken.append(number)
            yield number

    results = run_in_stages(videos(), (FIRST, LAST), made.read, made.forward, "sum", batch_size=2)
    assert taken == []
    assert next(results).source == "9"
    assert taken == [9, 8]
    assert len(list(results)) == 2
