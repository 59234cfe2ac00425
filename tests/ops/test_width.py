from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mutualnet3d.ops import WidthRule, part_widths, round_channels, select_columns, split_is_in_the_tensor


@pytest.mark.parametrize(
    ("width", "full", "expected"),
    [
        (1.0, 54, 54),  # whatever it was
        (1.0, 3, 3),
        (0.63, 24, 16),
        (0.63, 54, 32),  # 34.02 -> 4.25 eights
        (0.63, 108, 72),  # 68.04 -> 8.5 eights: above the half
        (0.63, 216, 136),
        (0.63, 432, 272),
        (0.73, 54, 40),
        (0.5, 12, 8),  # at least 8
        (0.1, 24, 8),
        (0.5, 4, 4),  # never over the full one
        (0.99, 54, 54),  # 56 would be over
        (0.55, 20, 16),  # 8 would be under 0.9 of 11
    ],
)
def test_round_channels_table(width, full, expected):
    assert round_channels(width, full) == expected


@given(width=st.floats(min_value=0.01, max_value=1.0), full=st.integers(1, 4096))
def test_round_channels_keeps_its_promises(width, full):
    channels = round_channels(width, full)
    assert min(8, full) <= channels <= full
    assert channels == full or channels % 8 == 0
    assert channels >= 0.9 * width * full
    assert channels == full or channels < width * full + 12  # half a step of rounding, and one step up at most


@pytest.mark.parametrize("width", [0.0, 1.5, -1.0, float("nan")])
def test_round_channels_refuses_widths(width):
    with pytest.raises(ValueError, match=r"width must be in \(0, 1\]"):
        round_channels(width, 64)


def test_round_channels_refuses_a_layer_without_channels():
    with pytest.raises(ValueError, match="at least one channel, got 0"):
        round_channels(0.5, 0)


def test_first_part_slims_and_the_others_come_whole():
    assert part_widths((64, 16), 80) == (64, 16)
    assert part_widths((64, 16), 56) == (40, 16)
    assert part_widths((64,), 40) == (40,)


@pytest.mark.parametrize("in_width", [16, 8, 81, 0])
def test_widths_that_no_split_gives_are_refused(in_width):
    with pytest.raises(
        ValueError, match=rf"input has {in_width} channels; a layer with input parts \(64, 16\) takes 17 to 80"
    ):
        part_widths((64, 16), in_width)


def test_columns_of_two_parts_are_two_prefixes():
    weight = torch.arange(10.0).repeat(2, 1)
    assert select_columns(weight, (6, 4), 7)[0].tolist() == [0, 1, 2, 6, 7, 8, 9]
    assert select_columns(weight, (10,), 3)[0].tolist() == [0, 1, 2]
    assert select_columns(weight, (6, 4), 10) is weight


def test_rules_of_runs():
    assert [WidthRule(64).at(width) for width in (1.0, 0.63)] == [64, 40]
    assert WidthRule(64, slims=False).at(0.1) == 64
    # Half as many channels as the run that it follows, which keeps groups of 24.
    assert [WidthRule(48, base=96, divisor=24).at(width) for width in (1.0, 0.7, 0.25)] == [48, 36, 12]


def test_columns_of_parts_that_all_slim():
    weight = torch.arange(10.0).repeat(2, 1)
    assert select_columns(weight, (6, 4), 5, (3, 2))[0].tolist() == [0, 1, 2, 6, 7]
    assert select_columns(weight[0], (6, 4), 5, (3, 2), dim=0).tolist() == [0, 1, 2, 6, 7]
    assert split_is_in_the_tensor((WidthRule(6), WidthRule(4, slims=False)))
    assert not split_is_in_the_tensor((WidthRule(6, slims=False), WidthRule(4)))
    with pytest.raises(ValueError, match=r"input has 6 channels; .* parts \(6, 4\) takes 5 in this sub-network"):
        select_columns(weight, (6, 4), 6, (3, 2))
