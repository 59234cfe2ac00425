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
