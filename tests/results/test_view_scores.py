from __future__ import annotations

import numpy as np
import pytest
import torch

from mutualnet3d.results.view_scores import (
    ENSEMBLES,
    ViewScores,
    accuracy,
    class_accuracy,
    confusion_matrix,
    ensemble_views,
    hits,
    save_scores,
)


def filled(ensemble: str, views: list[tuple[int, list[float]]], videos=(0, 1)) -> ViewScores:
    """Views (video, logits), each a batch of its own."""
    scores = ViewScores(videos, len(views[0][1]), ensemble)
    for video, logits in views:
        scores.add(torch.tensor([video]), torch.tensor([logits]))
    return scores


# Two views of a video: one very sure of class 0, one fairly sure of class 1; by hand, softmax of (2, 0) is (0.8808,
# 0.1192), of (0, 1) is (0.2689, 0.7311).
VIEWS = [(0, [2.0, 0.0]), (0, [0.0, 1.0])]


@pytest.mark.parametrize(
    ("ensemble", "expected"),
    [
        ("sum", [(0.8808 + 0.2689) / 2, (0.1192 + 0.7311) / 2]),
        ("logits", [1.0, 0.5]),
        ("max", [0.8808, 0.7311]),
        ("sigmoid_sum", [(0.8808 + 0.5) / 2, (0.5 + 0.7311) / 2]),
        ("sigmoid_logits", [1.0, 0.5]),
        ("sigmoid_max", [0.8808, 0.7311]),
    ],
)
def test_views_are_put_together(ensemble, expected):
    score_VK = filled(ensemble, VIEWS).whole(num_videos=3, num_views=2)
    torch.testing.assert_close(score_VK, torch.tensor([expected, [0.0, 0.0], [0.0, 0.0]]), atol=1e-4, rtol=0)


def test_batches_may_cut_a_video_anywhere():
    """To the last bit: the views of a video come in their order, wherever a batch ends."""
    torch.manual_seed(0)
    logits_BK, video_B = torch.randn(12, 7), torch.arange(12) // 4
    for ensemble in ("sum", "logits", "max"):
        results = []
        for size in (1, 5, 12):
            scores = ViewScores(range(3), 7, ensemble)
            for rows in torch.arange(12).split(size):
                scores.add(video_B[rows], logits_BK[rows])
            results.append(scores.whole(3, 4))
        for score_VK in results[1:]:
            assert torch.equal(score_VK, results[0])


@pytest.mark.parametrize("ensemble", ["sum", "logits", "max"])
def test_some_of_the_views_are_put_together_as_if_there_were_no_others(ensemble):
    """To the last bit, wherever a batch ends; two views of each video, one, and all."""
    torch.manual_seed(0)
    logits_BK, video_B = torch.randn(12, 7), torch.arange(12) // 4
    subsets = [(0, 1, 2, 3), (1, 3), (2,)]
    for size in (1, 5, 12):
        scores = ViewScores(range(3), 7, ensemble, subsets)
        for rows in torch.arange(12).split(size):
            scores.add(video_B[rows], logits_BK[rows])
        for number, subset in enumerate(subsets):
            alone = ViewScores(range(3), 7, ensemble)
            of_subset = [4 * video + view for video in range(3) for view in subset]
            alone.add(video_B[of_subset], logits_BK[of_subset])
            assert torch.equal(scores.whole(3, len(subset), number), alone.whole(3, len(subset)))


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_one_video_is_put_together_as_in_a_test(ensemble):
    """To the last bit."""
    logits_VK = torch.randn(5, 7)
    scores = ViewScores([0], 7, ensemble)
    scores.add(torch.zeros(5, dtype=torch.int64), logits_VK)
    assert torch.equal(ensemble_views(logits_VK, ensemble), scores.whole(1, 5)[0])


def test_another_ensemble_is_refused():
    with pytest.raises(ValueError, match=r"put together by sum, logits, max, sigmoid_sum, .*max; got 'median'"):
        ViewScores([0], 2, "median")


def test_accuracy_counts_labels_among_the_best():
    score_VK = torch.tensor(
        [
            [0.6, 0.1, 0.1, 0.1, 0.05, 0.05, 0.0],  # label 0: first
            [0.3, 0.25, 0.2, 0.1, 0.09, 0.06, 0.0],  # label 4: fifth
            [0.3, 0.25, 0.2, 0.1, 0.09, 0.06, 0.0],  # label 5: sixth
        ]
    )
    label_V = torch.tensor([0, 4, 5])
    assert hits(score_VK, label_V).tolist() == [[True, True], [False, True], [False, False]]
    result = accuracy(score_VK, label_V)
    assert (result.top1, result.top5) == (100 / 3, 200 / 3)
    assert result.num_videos == 3


def test_confusion_and_classes():
    score_VK = torch.eye(3)[[0, 1, 1, 2, 0]]
    label_V = torch.tensor([0, 0, 1, 2, 2])
    confusion_KK = confusion_matrix(score_VK, label_V)
    assert confusion_KK.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert class_accuracy(confusion_KK).tolist() == [50.0, 100.0, 50.0]
    assert class_accuracy(torch.tensor([[2, 0], [0, 0]]))[1].isnan()  # a class without videos


def test_scores_are_read_back_by_numpy(tmp_path):
    path = str(tmp_path / "scores.npz")
    scores = {"w1.0-s48-t8": torch.rand(2, 3), "w0.63-s32-t6": torch.rand(2, 3)}
    save_scores(path, scores, torch.tensor([2, 0]), ["a.mp4", "ordner/ä b.mp4"], "sum")
    with np.load(path) as file:
        assert sorted(file) == ["ensemble", "labels", "paths", "w0.63-s32-t6", "w1.0-s48-t8"]
        assert file["labels"].tolist() == [2, 0]
        assert file["paths"].tolist() == ["a.mp4", "ordner/ä b.mp4"]
        assert str(file["ensemble"]) == "sum"
        for key, score_VK in scores.items():
            assert np.array_equal(file[key], score_VK.numpy())


def test_the_file_of_scores_is_what_numpy_writes_byte_for_byte(tmp_path):
    scores = {"w1.0-s48-t8": torch.rand(2, 3), "w0.63-s32-t6": torch.rand(2, 3)}
    save_scores(str(tmp_path / "ours.npz"), scores, torch.tensor([2, 0]), ["a.mp4", "ä.mp4"], "sum")
    arrays = {"labels": np.array([2, 0]), "paths": np.array(["a.mp4", "ä.mp4"]), "ensemble": np.array("sum")}
    np.savez(tmp_path / "numpy.npz", **arrays, **{key: score_VK.numpy() for key, score_VK in scores.items()})
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()


def test_memory_that_scores_are_given_may_hold_anything():
    logits_BK, video_B = torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    for ensemble in ENSEMBLES:
        own = ViewScores(range(3), 4, ensemble)
        given = ViewScores(range(3), 4, ensemble, memory_SVK=torch.full((1, 3, 4), float("nan")))
        for rows in torch.arange(6).split(4):
            own.add(video_B[rows], logits_BK[rows])
            given.add(video_B[rows], logits_BK[rows])
        assert torch.equal(given.whole(3, 2), own.whole(3, 2))
