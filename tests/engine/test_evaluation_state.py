from __future__ import annotations

import pytest
import torch

from mutualnet3d.engine.evaluation_state import EvaluationState
from mutualnet3d.results.row import Views
from mutualnet3d.shapes import SubnetConfig
from tests.engine.test_evaluate import CONFIG, told, told_batches

OTHER = SubnetConfig(0.5, 1, 1)


SUBSETS = {Views(2): (0, 1), Views(): (1,)}


def state_of(configs=(CONFIG,), num_videos=5, subsets=SUBSETS):
    return EvaluationState(configs, range(num_videos), num_videos, 3, subsets=list(subsets.values()))


@pytest.mark.parametrize("subsets", [SUBSETS, {Views(2): (0, 1)}])
@pytest.mark.parametrize("num_done", [0, 1, 2, 4])
def test_an_evaluation_goes_on_with_the_same_bits(num_done, subsets):
    """Batches of three views: the second and the third end within a video."""
    batches = list(told_batches(3))
    first = state_of(subsets=subsets)

    def stop(state):
        state.num_batches += 1
        if state.num_batches == num_done:
            raise KeyboardInterrupt

    if num_done:
        with pytest.raises(KeyboardInterrupt):
            told(batches, state=first, after_batch=stop, subsets=subsets)
    stored = {name: value.clone() if torch.is_tensor(value) else value for name, value in first.state_dict().items()}
    second = state_of(subsets=subsets)
    second.load_state_dict(stored)
    assert second.num_batches == num_done
    result = told(batches[num_done:], state=second, subsets=subsets)
    whole = told(batches, subsets=subsets)
    for key, score_VK in whole.row_scores.items():
        assert torch.equal(result.row_scores[key], score_VK)
    assert result.row_accuracies == whole.row_accuracies
    assert torch.equal(result.label_V, whole.label_V)


def test_a_video_that_failed_before_does_not_count_after():
    state = state_of()
    state.failed_videos.add(3)
    stored = state.state_dict()
    again = state_of()
    again.load_state_dict(stored)
    result = told(told_batches(3, skip=[(3, 1)]), state=again, failed_videos=[], subsets=SUBSETS)
    assert result.video_V.tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize("other", [state_of([OTHER]), state_of(num_videos=4), state_of(subsets={Views(2): (0, 1)})])
def test_results_of_another_test_are_refused(other):
    state = state_of()
    with pytest.raises(ValueError, match="is not that of this test"):
        state.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match="num_batches or failed_videos is missing"):
        state.load_state_dict({**state.state_dict(), "num_batches": None})
    assert state.num_batches == 0


def in_file(folder, configs=(CONFIG,)):
    path = str(folder / "scores_0_of_1.scores")
    return EvaluationState(configs, range(5), 5, 3, subsets=list(SUBSETS.values()), scores_path=path)


def stopped(state, batches, at):
    """Add batches; return what is stored after `at` of them. All later ones are added too, as before a kill."""
    stored = {}

    def after_batch(current):
        current.num_batches += 1
        if current.num_batches == at:
            stored.update({name: v.clone() if torch.is_tensor(v) else v for name, v in current.state_dict().items()})

    told(batches, state=state, after_batch=after_batch, subsets=SUBSETS)
    return stored


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_scores_in_a_file_are_those_in_memory_to_the_last_bit_also_after_a_kill(tmp_path, at):
    """Batches of three views of two a video. What came after the last stored state is in the file, and comes again."""
    batches = list(told_batches(3))
    whole = told(batches, subsets=SUBSETS)
    stored = stopped(in_file(tmp_path), batches, at)
    assert not any(name.endswith(": scores") for name in stored)
    assert len(stored["begun_rows"]) == 3 * at % 2
    again = in_file(tmp_path)
    again.load_state_dict(stored)
    assert again.num_batches == at
    result = told(batches[at:], state=again, subsets=SUBSETS, score_folder=str(tmp_path))
    assert list(result.row_scores) == list(whole.row_scores)
    for key, score_VK in whole.row_scores.items():
        assert torch.equal(result.row_scores[key], score_VK)
    assert result.row_accuracies == whole.row_accuracies
    assert torch.equal(result.label_V, whole.label_V)


def test_an_evaluation_that_begins_anew_takes_nothing_of_the_file(tmp_path):
    batches = list(told_batches(3))
    whole = told(batches, subsets=SUBSETS)
    in_file(tmp_path)._mapped.tensor.fill_(float("nan"))
    result = told(batches, state=in_file(tmp_path), subsets=SUBSETS)
    for key, score_VK in whole.row_scores.items():
        assert torch.equal(result.row_scores[key], score_VK)


def test_a_state_without_its_scores_is_refused(tmp_path):
    batches = list(told_batches(3))
    stored = stopped(in_file(tmp_path), batches, 3)
    (tmp_path / "scores_0_of_1.scores").unlink()
    with pytest.raises(ValueError, match=r"the scores are not in .*scores_0_of_1\.scores"):
        in_file(tmp_path).load_state_dict(stored)
    again = in_file(tmp_path)
    for name, value in (
        ("begun_rows", torch.tensor([5])),
        ("begun_rows", None),
        ("begun_scores", torch.zeros(2, 2, 3, 3)),
        ("begun_scores", stored["begun_scores"].double()),
    ):
        with pytest.raises(ValueError, match="begun_scores is not that of this test"):
            again.load_state_dict({**stored, name: value})
    assert again.num_batches == 0
    assert not again.views_V.any()


def test_videos_that_failed_are_not_stored(tmp_path):
    state = in_file(tmp_path)
    state.views_V[2], state.views_V[4] = 1, 1
    state.failed_videos.add(2)
    assert state.state_dict()["begun_rows"].tolist() == [4]


def test_a_process_without_videos_has_no_file(tmp_path):
    path = tmp_path / "empty.scores"
    state = EvaluationState([CONFIG], range(0), 5, 3, subsets=[(0,)], scores_path=str(path))
    state.release()
    assert not path.exists()
    again = EvaluationState([CONFIG], range(0), 5, 3, subsets=[(0,)], scores_path=str(path))
    again.load_state_dict(state.state_dict())
