from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mutualnet3d.data.mixup import Mixture, MixUpCutMix
from mutualnet3d.ops import Normalize

# PySlowFast's defaults.
MIXUP = MixUpCutMix(
    alpha=0.8, cutmix_alpha=1.0, probability=1.0, switch_probability=0.5, label_smoothing=0.1, num_classes=5
)


def mixup(**changes):
    values = {field: getattr(MIXUP, field) for field in MIXUP.__dataclass_fields__}
    return MixUpCutMix(**{**values, **changes})


def numbered_batch(num_clips, size=20, frames=2):
    """Row b is b everywhere."""
    return torch.arange(float(num_clips)).view(-1, 1, 1, 1, 1).expand(-1, 3, frames, size, size).clone()


def test_mixup_by_hand():
    clip_BCTHW = torch.randn(3, 3, 2, 4, 4)
    mixed = Mixture(0.7, None, 0.0, 5).clips(clip_BCTHW)
    for row, other in ((0, 2), (1, 1), (2, 0)):
        torch.testing.assert_close(mixed[row], 0.7 * clip_BCTHW[row] + 0.3 * clip_BCTHW[other])


def test_mixup_commutes_with_normalising():
    clip_BTCHW = torch.randint(0, 256, (4, 2, 3, 6, 6), dtype=torch.uint8)
    normalize = Normalize([0.4, 0.45, 0.5], [0.2, 0.225, 0.25])
    mixture = Mixture(0.3, None, 0.0, 5)
    unnormalized_BCTHW = Normalize([0.0] * 3, [1.0 / 255.0] * 3)(clip_BTCHW)
    mean, std = (255 * torch.tensor(v).view(1, 3, 1, 1, 1) for v in ([0.4, 0.45, 0.5], [0.2, 0.225, 0.25]))
    expected = (mixture.clips(unnormalized_BCTHW) - mean) / std
    torch.testing.assert_close(mixture.clips(normalize(clip_BTCHW)), expected, rtol=1e-5, atol=1e-5)


def test_cutmix_by_hand():
    mixture = Mixture(0.88, (0.1, 0.5, 0.5, 0.8), 0.0, 5)
    clip_BCTHW = numbered_batch(4, size=20)
    mixed = mixture.clips(clip_BCTHW)
    for row in range(4):
        expected = torch.full((3, 2, 20, 20), float(row))
        expected[..., 2:10, 10:16] = 3 - row
        assert torch.equal(mixed[row], expected)


@given(seed=st.integers(0, 9), step=st.integers(0, 10**6), size=st.sampled_from([16, 33, 56, 112]))
def test_cutmixs_box_covers_the_same_part_of_every_size(seed, step, size):
    mixture = mixup(alpha=0.0).at_step(seed, step)
    top, left, bottom, right = mixture.box
    assert 0 <= top <= bottom <= 1
    assert 0 <= left <= right <= 1
    assert mixture.weight == pytest.approx(1 - (bottom - top) * (right - left))
    mixed = mixture.clips(numbered_batch(2, size=size))
    foreign_HW = mixed[0, 0, 0] == 1
    share = foreign_HW.float().mean().item()
    # Each edge is at most half a pixel off.
    assert share == pytest.approx(1 - mixture.weight, abs=2.1 / size)
    rows, columns = foreign_HW.any(1).nonzero(), foreign_HW.any(0).nonzero()
    if len(rows):
        assert rows.min().item() == pytest.approx(top * size, abs=0.51)
        assert rows.max().item() + 1 == pytest.approx(bottom * size, abs=0.51)
        assert columns.min().item() == pytest.approx(left * size, abs=0.51)
        assert columns.max().item() + 1 == pytest.approx(right * size, abs=0.51)
    assert torch.equal(mixed[:, :1, :1].expand_as(mixed), mixed)  # all channels and frames alike


@pytest.mark.parametrize("mixture", [Mixture(0.7, None, 0.1, 5), Mixture(0.75, (0.0, 0.0, 0.5, 0.5), 0.1, 5)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_input_stays_and_its_format_too(mixture, memory_format, dtype):
    clip_BCTHW = torch.randn(4, 3, 2, 8, 8, dtype=dtype).to(memory_format=memory_format)
    before = clip_BCTHW.clone()
    mixed = mixture.clips(clip_BCTHW)
    assert torch.equal(clip_BCTHW, before)
    assert mixed.dtype == dtype
    assert mixed.is_contiguous(memory_format=memory_format)
    assert not torch.equal(mixed, before)


def test_targets_by_hand():
    """1 - 0.1 + 0.1 / 5 is a label's own share, 0.1 / 5 what the other classes get."""
    targets_BK = Mixture(0.75, None, 0.1, 5).targets(torch.tensor([0, 1, 4]))
    expected_BK = [
        [0.75 * 0.92 + 0.25 * 0.02, 0.02, 0.02, 0.02, 0.25 * 0.92 + 0.75 * 0.02],
        [0.02, 0.92, 0.02, 0.02, 0.02],
        [0.25 * 0.92 + 0.75 * 0.02, 0.02, 0.02, 0.02, 0.75 * 0.92 + 0.25 * 0.02],
    ]
    torch.testing.assert_close(targets_BK, torch.tensor(expected_BK))


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=9), weight=st.floats(0, 1), smoothing=st.floats(0, 0.99))
def test_targets_sum_to_one(labels, weight, smoothing):
    targets_BK = Mixture(weight, None, smoothing, 5).targets(torch.tensor(labels))
    assert targets_BK.shape == (len(labels), 5)
    assert targets_BK.dtype == torch.float32
    assert targets_BK.min() >= 0
    torch.testing.assert_close(targets_BK.sum(1), torch.ones(len(labels)))


@pytest.mark.parametrize("alphas", [{"alpha": 0.0}, {"cutmix_alpha": 0.0}])
def test_a_batch_of_one_stays_as_it_is(alphas):
    clip_BCTHW = torch.randn(1, 3, 2, 8, 8)
    mixture = mixup(**alphas, label_smoothing=0.0).at_step(0, 0)
    torch.testing.assert_close(mixture.clips(clip_BCTHW), clip_BCTHW)
    torch.testing.assert_close(mixture.targets(torch.tensor([2])), torch.eye(5)[2:3])


def test_without_mixing_labels_are_still_smoothed():
    mixture = mixup(probability=0.0).at_step(3, 4)
    assert mixture == Mixture(1.0, None, 0.1, 5)
    clip_BCTHW = numbered_batch(3)
    assert mixture.clips(clip_BCTHW) is clip_BCTHW
    torch.testing.assert_close(mixture.targets(torch.tensor([1])), torch.tensor([[0.02, 0.92, 0.02, 0.02, 0.02]]))


def test_draws_depend_on_seed_and_step_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    drawn = [MIXUP.at_step(1, step) for step in range(20)]
    assert [MIXUP.at_step(1, step) for step in reversed(range(20))] == drawn[::-1]
    assert len({mixture.weight for mixture in drawn}) == 20
    assert all(MIXUP.at_step(2, step) != mixture for step, mixture in enumerate(drawn))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_draws_are_not_those_of_the_sub_networks():
    """They start from (seed, step) too: whether a step mixes must not go with what it trains."""
    half = mixup(probability=0.5)
    mixed = [half.at_step(0, step).weight < 1.0 for step in range(1000)]
    low = [np.random.default_rng((0, step)).random() < 0.5 for step in range(1000)]
    assert np.equal(mixed, low).mean() == pytest.approx(0.5, abs=0.06)


def test_weights_are_beta_and_both_ways_are_taken():
    drawn = [mixup(probability=0.75, switch_probability=0.25).at_step(0, step) for step in range(4000)]
    unmixed = [mixture for mixture in drawn if mixture.weight == 1.0]
    cut = [mixture for mixture in drawn if mixture.box is not None]
    blended = [mixture.weight for mixture in drawn if mixture.box is None and mixture.weight < 1.0]
    assert len(unmixed) / 4000 == pytest.approx(0.25, abs=0.03)
    assert len(cut) / (4000 - len(unmixed)) == pytest.approx(0.25, abs=0.03)
    assert np.mean(blended) == pytest.approx(0.5, abs=0.02)
    assert np.var(blended) == pytest.approx(1 / (4 * (2 * 0.8 + 1)), rel=0.06)  # of Beta(0.8, 0.8)


def test_cutmixs_boxes_before_they_are_cut_off():
    """Beta(1, 1) is uniform: a box that touches no border has the area 1 - weight, its sides are equal; the centres lie
    anywhere."""
    boxes = np.array([mixup(alpha=0.0).at_step(0, step).box for step in range(4000)])
    heights, widths = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    inside = (boxes.min(1) > 0) & (boxes.max(1) < 1)
    assert 0.05 < inside.mean() < 0.3
    np.testing.assert_allclose(heights[inside], widths[inside], atol=1e-12)
    # For side s, uniform s^2 and a uniform centre, the part inside in one direction has the mean s - s^2 / 4.
    assert heights.mean() == pytest.approx(2 / 3 - 1 / 8, abs=0.015)
    assert widths.mean() == pytest.approx(2 / 3 - 1 / 8, abs=0.015)
    assert ((boxes[:, 0] + boxes[:, 2]) / 2).mean() == pytest.approx(0.5, abs=0.015)


@pytest.mark.parametrize(("off", "box"), [("alpha", True), ("cutmix_alpha", False)])
def test_an_alpha_of_0_turns_its_way_off(off, box):
    drawn = [mixup(**{off: 0.0}, switch_probability=0.5).at_step(0, step) for step in range(50)]
    assert all((mixture.box is not None) == box for mixture in drawn)
    assert all(mixture.weight < 1.0 for mixture in drawn)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": -0.1}, "MixUpCutMix: alpha must be 0 or more and finite, got -0.1"),
        ({"alpha": float("inf")}, "MixUpCutMix: alpha must be 0 or more and finite, got inf"),
        ({"cutmix_alpha": -1.0}, "MixUpCutMix: cutmix_alpha must be 0 or more and finite, got -1.0"),
        ({"probability": 1.5}, r"MixUpCutMix: probability must be in \[0, 1\], got 1.5"),
        ({"switch_probability": float("nan")}, r"MixUpCutMix: switch_probability must be in \[0, 1\], got nan"),
        ({"label_smoothing": 1.0}, r"MixUpCutMix: label_smoothing must be in \[0, 1\), got 1.0"),
        ({"num_classes": 0}, "MixUpCutMix: num_classes must be an integer of at least 1, got 0"),
        ({"num_classes": 2.0}, "MixUpCutMix: num_classes must be an integer of at least 1, got 2.0"),
        (
            {"alpha": 0.0, "cutmix_alpha": 0.0},
            "alpha or cutmix_alpha must be above 0, got 0 for both; to train",
        ),
    ],
)
def test_values_that_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        mixup(**changes)
