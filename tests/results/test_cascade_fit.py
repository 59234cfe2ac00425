from __future__ import annotations

import pytest
import torch

from mutualnet3d.results.cascade_fit import MAX_CASCADES, fit_cascades, split_videos
from mutualnet3d.results.row import Views
from mutualnet3d.shapes import SubnetConfig

CHEAP, DEAR, POOR = ((SubnetConfig.parse(key), Views()) for key in ("w0.5-s32-t4", "w1.0-s48-t8", "w0.8-s32-t4"))
GFLOPS = {CHEAP: 1.0, DEAR: 10.0, POOR: 2.0}
NUM_VIDEOS, NUM_CLASSES = 400, 4


def made(num_videos=NUM_VIDEOS):
    """Scores of three rows and the labels: the cheap one errs on the fifth of the videos that it is least sure of, the
    dear one on a tenth of all, the poor one on half."""
    generator = torch.Generator().manual_seed(3)
    label_V = torch.randint(NUM_CLASSES, (num_videos,), generator=generator)
    sure_V = torch.rand(num_videos, generator=generator)

    def scores(wrong_V, margin_V):
        best_V = torch.where(wrong_V, (label_V + 1) % NUM_CLASSES, label_V)
        rest = (1 - margin_V[:, None]) / NUM_CLASSES
        return torch.nn.functional.one_hot(best_V, NUM_CLASSES) * margin_V[:, None] + rest

    wrong_V = torch.rand(num_videos, generator=generator) < 0.1
    half_V = torch.rand(num_videos, generator=generator) < 0.5
    return {
        CHEAP: scores(sure_V < 0.2, sure_V),
        DEAR: scores(wrong_V, torch.full((num_videos,), 0.9)),
        POOR: scores(half_V, torch.full((num_videos,), 0.5)),
    }, label_V


def test_halves_are_drawn_by_the_seed():
    fit_V, report_V = split_videos(11, 0)
    assert (len(fit_V), len(report_V)) == (5, 6)
    assert sorted([*fit_V.tolist(), *report_V.tolist()]) == list(range(11))
    assert fit_V.tolist() == sorted(fit_V.tolist())
    assert torch.equal(split_videos(11, 0)[0], fit_V)
    assert not torch.equal(split_videos(11, 1)[0], fit_V)


def test_the_dear_row_runs_where_the_cheap_one_is_not_sure():
    scores, label_V = made()
    cascades = fit_cascades(scores, GFLOPS, label_V, 5)
    assert [stage.key for stage in cascades[0].stages] == [CHEAP]
    pair = max(cascades, key=lambda cascade: cascade.fit_top1)
    assert [stage.key for stage in pair.stages] == [CHEAP, DEAR]
    assert 0.15 < pair.stages[1].share < 0.3  # a fifth is wrong
    assert pair.top1 > 95  # either row alone has 80 and 90
    fit_top1 = [cascade.fit_top1 for cascade in cascades]
    assert fit_top1 == sorted(fit_top1)  # the dearer the better


def test_what_is_stored_is_of_the_reporting_videos():
    """Against a loop over single videos."""
    scores, label_V = made()
    cascades = fit_cascades(scores, GFLOPS, label_V, 5)
    parts = dict(zip(("fit", "report"), split_videos(NUM_VIDEOS, 5), strict=True))
    assert any(len(cascade.stages) == 2 for cascade in cascades)
    for cascade in cascades:
        top1, ran = {}, dict.fromkeys(cascade.stages, 0)
        for name, videos in parts.items():
            right = 0
            for video in videos.tolist():
                for stage in cascade.stages:
                    ran[stage] += name == "report"
                    ordered = sorted(scores[stage.key][video].tolist())
                    answer = int(scores[stage.key][video].argmax())
                    if ordered[-1] - ordered[-2] >= stage.threshold:
                        break
                right += answer == int(label_V[video])
            top1[name] = 100 * right / len(videos)
        assert (cascade.fit_top1, cascade.top1) == pytest.approx((top1["fit"], top1["report"]))
        assert [stage.share for stage in cascade.stages] == [count / len(parts["report"]) for count in ran.values()]
        assert cascade.top5 == 100.0  # of four classes


def test_labels_of_the_reporting_videos_choose_nothing():
    scores, label_V = made()
    others_V = label_V.clone()
    report_V = split_videos(NUM_VIDEOS, 5)[1]
    others_V[report_V] = (label_V[report_V] + 2) % NUM_CLASSES
    chosen, again = (fit_cascades(scores, GFLOPS, labels_V, 5) for labels_V in (label_V, others_V))
    assert [cascade.stages for cascade in chosen] == [cascade.stages for cascade in again]
    assert [cascade.fit_top1 for cascade in chosen] == [cascade.fit_top1 for cascade in again]
    assert max(cascade.top1 for cascade in again) < 20


def test_rows_that_no_cascade_beats_stand_alone():
    scores, label_V = made()
    flat = {CHEAP: scores[DEAR], DEAR: scores[DEAR]}  # the dear row knows nothing more
    (alone,) = fit_cascades(flat, GFLOPS, label_V)
    assert [stage.key for stage in alone.stages] == [CHEAP]


def test_few_videos_and_many_cascades():
    scores, label_V = made(99)
    with pytest.raises(ValueError, match=r"^cascades are fitted on 100 videos or more; there are 99$"):
        fit_cascades(scores, GFLOPS, label_V)
    scores, label_V = made(4000)
    assert 5 < len(fit_cascades(scores, GFLOPS, label_V)) <= MAX_CASCADES
