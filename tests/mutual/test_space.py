from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from mutualnet3d.mutual import SubnetConfig, SubnetSpace

SPACE = SubnetSpace(width_range=(0.63, 1.0), sizes=(224, 192, 160, 128), frames=(16, 13, 10, 6))


def test_full_and_smallest():
    assert str(SPACE.full) == "w1.0-s224-t16"
    assert str(SPACE.smallest) == "w0.63-s128-t6"


def test_a_step_trains_the_full_the_narrowest_and_two_random_widths():
    for step in range(200):
        full, narrowest, *drawn = SPACE.at_step(seed=3, step=step)
        assert full == SPACE.full
        assert narrowest.width == 0.63
        assert len(drawn) == 2
        assert all(config in SPACE for config in (narrowest, *drawn))


def test_a_step_is_a_pure_function_of_seed_and_step():
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    first = [SPACE.at_step(3, step) for step in range(50)]
    torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
    assert [SPACE.at_step(3, step) for step in range(50)] == first
    assert [SPACE.at_step(3, step) for step in reversed(range(50))] == first[::-1]
    assert [SPACE.at_step(4, step) for step in range(50)] != first
    assert len(set(first)) == 50
    torch.set_rng_state(states[0])
    SPACE.at_step(3, 0)
    assert torch.equal(torch.get_rng_state(), states[0])


def test_draws_are_uniform_over_widths_sizes_and_frames():
    drawn = [config for step in range(2000) for config in SPACE.at_step(0, step)[2:]]
    widths = np.array([config.width for config in drawn])
    assert widths.mean() == pytest.approx((0.63 + 1) / 2, abs=0.01)
    assert widths.std() == pytest.approx(0.37 / 12**0.5, rel=0.05)
    pairs = {(size, frames): 0 for size in SPACE.sizes for frames in SPACE.frames}
    for config in drawn:
        pairs[config.size, config.frames] += 1
    assert sum((count - 250) ** 2 / 250 for count in pairs.values()) < 38  # chi-squared, 15 degrees, p = 0.001


def test_grid_is_the_product_most_expensive_first():
    grid = SPACE.grid([0.63, 1.0])
    assert len(grid) == 2 * 4 * 4
    assert grid[0] == SPACE.full
    assert grid[-1] == SPACE.smallest
    with pytest.raises(ValueError, match=r"width 0\.5 is outside the space's 0\.63 to 1\.0"):
        SPACE.grid([0.5])
    with pytest.raises(ValueError, match="at least one width"):
        SPACE.grid([])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SubnetConfig(0.5, 224, 16), r"w0\.5-s224-t16: width 0\.5 is outside the space's 0\.63 to 1\.0"),
        (SubnetConfig(1.0, 200, 16), "size 200 is none of the space's 224, 192, 160, 128"),
        (SubnetConfig(1.0, 224, 8), "8 frames are none of the space's 16, 13, 10, 6"),
    ],
)
def test_what_the_space_does_not_have_is_refused(config, message):
    assert config not in SPACE
    with pytest.raises(ValueError, match=message):
        SPACE.check(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width_range": (0.0, 1.0)}, "width_range must be"),
        ({"width_range": (0.5, 0.9)}, "width_range must be"),
        ({"width_range": (1.2, 1.0)}, "width_range must be"),
        ({"width_range": (0.5,)}, "width_range must be"),
        ({"sizes": ()}, "sizes must name at least one value"),
        ({"sizes": (64, 64)}, "none twice"),
        ({"frames": (8, 0)}, "frames must be an integer of at least 1, got 0"),
        ({"frames": (8, 2.5)}, "frames must be an integer of at least 1, got 2.5"),
    ],
)
def test_spaces_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        SubnetSpace(**{"width_range": (0.5, 1.0), "sizes": (64,), "frames": (8,), **changes})
