"""Evaluation: a case checked by hand, and the same numbers from any number of processes."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from mutualnet3d import distributed
from mutualnet3d.data.batch_sampler import TestBatchSampler
from mutualnet3d.engine.evaluate import evaluate, evaluation_forward
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import calibrate
from mutualnet3d.results.row import Views
from mutualnet3d.shapes import ClipBatch, ClipShape, Shard, SubnetConfig
from tests.gloo import in_processes

CPU = torch.device("cpu")
CONFIG = SubnetConfig(1.0, 1, 1)

# Five videos, two views each, three classes: logits of every view. Softmax grows with the logit, so sums of softmax can
# be compared by hand where one view is nearly certain (a difference of 9: 0.9998 and less than 0.0002).
VIEWS = {
    0: ([9, 0, 0], [9, 0, 0]),  # both views say 0
    1: ([0, 9, 0], [0, 9, 0]),  # both say 1
    2: ([0, 0, 9], [1, 0, 0]),  # the certain one wins: 2; logits too: (1, 0, 9)
    3: ([1, 0, 0], [0, 0, 9]),  # the certain one wins: 2
    4: ([2, 0, 0], [2, 4, 0]),  # softmax .787 .107 .107 + .117 .867 .016 = .904 .974: 1; logits 4, 4, 0: a tie
}
LABELS = [0, 1, 2, 0, 1]


def told_logits(config, clips):
    """Logits by clips that say which view they are: pixel (video * 2 + view)."""
    assert config == CONFIG
    assert not torch.is_grad_enabled()
    return torch.tensor([VIEWS[number // 2][number % 2] for number in clips[0].flatten().int().tolist()]).float()


def told_batches(batch_size, skip=()):
    views = [(video, view) for video in VIEWS for view in (0, 1) if (video, view) not in skip]
    for start in range(0, len(views), batch_size):
        rows = views[start : start + batch_size]
        pixels = torch.tensor([2 * video + view for video, view in rows], dtype=torch.uint8).view(-1, 1, 1, 1, 1)
        video_B = torch.tensor([video for video, _ in rows])
        yield ClipBatch({CONFIG.clip_shape: pixels}, torch.tensor(LABELS)[video_B], video_B)


def told(batches, **changes):
    settings = {"videos": range(5), "num_videos": 5, "num_views": 2, "num_classes": 3, "keep_scores": True, **changes}
    clips = lambda batch, config: [batch.clips[config.clip_shape]]  # noqa: E731
    return evaluate(told_logits, [CONFIG], batches, clips, CPU, **settings)


@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_five_videos_by_hand(batch_size):
    result = told(told_batches(batch_size))
    accuracy = result.accuracies[CONFIG]
    assert result.scores[CONFIG].argmax(dim=1).tolist() == [0, 1, 2, 2, 1]
    assert accuracy.top1 == 80.0  # video 3 is taken for 2
    assert accuracy.top5 == 100.0  # of three classes all
    assert accuracy.num_videos == 5
    assert result.label_V.tolist() == LABELS
    assert result.video_V.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_fewer_views_are_scored_beside_all(batch_size):
    first, second = Views(1), Views(1, 3)  # which is which, the caller knows
    result = told(told_batches(batch_size), subsets={Views(2): (0, 1), first: (0,), second: (1,)})
    assert result.views == Views(2)
    assert {str(views): accuracy.top1 for views, accuracy in result.accuracies_of(CONFIG).items()} == {
        "2 x 1": 80.0,
        "1 x 1": 80.0,  # of all but video 4
        "1 x 3": 60.0,  # of 0, 1 and 4
    }
    assert result.row_scores[CONFIG, first].argmax(dim=1).tolist() == [0, 1, 2, 0, 0]
    assert result.row_scores[CONFIG, second].argmax(dim=1).tolist() == [0, 1, 0, 2, 1]
    assert torch.equal(result.scores[CONFIG], told(told_batches(batch_size)).scores[CONFIG])
    assert result.row_scores[CONFIG, Views(2)] is result.scores[CONFIG]


def test_ensembles_may_disagree():
    """The largest softmax of each class: video 4 has .787 for class 0 and .867 for class 1."""
    by_max = told(told_batches(4), ensemble="max")
    torch.testing.assert_close(by_max.scores[CONFIG][4], torch.tensor([0.787, 0.867, 0.107]), atol=1e-3, rtol=0)
    by_logits = told(told_batches(4), ensemble="logits")
    assert by_logits.scores[CONFIG][2].tolist() == [0.5, 0.0, 4.5]


def test_a_video_without_all_its_views_does_not_count():
    result = told(told_batches(3, skip={(3, 1)}), failed_videos={3})
    assert result.accuracies[CONFIG].top1 == 100.0
    assert result.video_V.tolist() == [0, 1, 2, 4]
    with pytest.raises(ValueError, match="video 3 came with 1 views, expected 2"):
        told(told_batches(3, skip={(3, 1)}))
    with pytest.raises(ValueError, match="none of 5 videos could be decoded"):
        told([], failed_videos=range(5))


def test_the_forwards_of_a_batch_have_a_context():
    events = []

    @contextmanager
    def batch_context():
        events.append("begin")
        yield
        events.append("end")

    def clips(batch, config):
        events.append(len(batch))
        return [batch.clips[config.clip_shape]]

    settings = {"videos": range(5), "num_videos": 5, "num_views": 2, "num_classes": 3}
    evaluate(told_logits, [CONFIG], told_batches(6), clips, CPU, **settings, batch_context=batch_context)
    assert events == ["begin", 6, "end", "begin", 4, "end"]


class Switched:
    """Network that remembers its mode and the sub-network that it is."""

    training = True

    def train(self, mode=True):
        self.training = mode

    @contextmanager
    def active(self, config):
        self.config = config
        yield
        self.config = None

    def __call__(self, clips):
        return self.config, self.training, clips


def test_a_model_is_run_in_evaluation_mode_and_its_mode_comes_back():
    model = Switched()
    with evaluation_forward(model) as forward:
        assert forward(CONFIG, ["clips"]) == (CONFIG, False, ["clips"])
        assert model.config is None
    assert model.training
    with pytest.raises(RuntimeError, match="out of memory"), evaluation_forward(model):
        raise RuntimeError("out of memory")
    assert model.training
    model.train(False)
    with evaluation_forward(model):
        pass
    assert not model.training


FULL_CLIP, NUM_VIDEOS, NUM_VIEWS = ClipShape(4, 32), 7, 3
SUBSETS = {Views(3): (0, 1, 2), Views(): (1,)}
CONFIGS = (SubnetConfig(1.0, 32, 4), SubnetConfig(0.5, 32, 2))


def clip_of(video: int, view: int, shape: ClipShape) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 * video + 10 * view + shape.frames)
    return torch.randint(0, 256, (shape.frames, 3, shape.size, shape.size), dtype=torch.uint8, generator=generator)


def prepare(batch: ClipBatch, config: SubnetConfig) -> list[torch.Tensor]:
    return [batch.clips[config.clip_shape].transpose(1, 2).float() / 128 - 1]


def batch_of(clips: list[tuple[int, int]]) -> ClipBatch:
    shapes = [config.clip_shape for config in CONFIGS]
    video_B = torch.tensor([video for video, _ in clips])
    return ClipBatch(
        {shape: torch.stack([clip_of(*clip, shape) for clip in clips]) for shape in shapes}, video_B % 5, video_B
    )


def shard_of_a_test() -> tuple[dict, dict]:
    """Accuracies and calibrated statistics of a small network: this process's shard of seven videos, three views each,
    and of two calibration batches of 6 and 4 clips."""
    shard = Shard(distributed.rank(), distributed.world_size())
    torch.manual_seed(0)
    model = build_x3d(full_clip=FULL_CLIP, num_classes=5, width_factor=1.0, depth_factor=0.3, dim_c5=32)
    batches = [[(20 + clip, 0) for clip in clips] for clips in (range(6), range(6, 10))]
    mine = [batch_of(clips) for clips in batches[shard.rank :: shard.world_size]]
    assert calibrate(model, CONFIGS, mine, prepare, distributed.sum_over_ranks) == 10
    batch_sampler = TestBatchSampler(NUM_VIDEOS, NUM_VIEWS, batch_size=4, shapes=[], shard=shard)
    with evaluation_forward(model) as forward:
        result = evaluate(
            forward,
            CONFIGS,
            (batch_of([(request.index, request.view) for request in batch]) for batch in batch_sampler),
            prepare,
            CPU,
            videos=batch_sampler.videos,
            num_videos=NUM_VIDEOS,
            num_views=NUM_VIEWS,
            num_classes=5,
            subsets=SUBSETS,
            batch_context=model.shared_fast_features,
        )
    return result.row_accuracies, model.statistics


@pytest.mark.parametrize("world_size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_any_number_of_processes_calibrates_and_evaluates_alike(world_size):
    """Seven videos divide by neither; of three processes one has no calibration batch."""
    accuracies, statistics = shard_of_a_test()
    assert len({accuracy.top1 for accuracy in accuracies.values()}) > 1
    for of_each, statistics_of_each in in_processes("tests.engine.test_evaluate", "shard_of_a_test", world_size):
        assert of_each == accuracies  # to the last digit
        for config, of_norm in statistics.items():
            for name, pair in of_norm.items():
                for expected, got in zip(pair, statistics_of_each[config][name], strict=True):
                    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)
