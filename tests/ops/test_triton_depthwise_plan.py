from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.ops import triton_depthwise_plan as plan
from mutualnet3d.ops.triton_depthwise_plan import Blocks, Geometry


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3, 3), (1, 2, 2), (1, 1, 1)), ((5, 1, 1), (1, 1, 1), (2, 0, 0)), ((3, 1, 2), (3, 2, 1), (0, 0, 1))],
)
def test_sizes_of_the_output_are_torchs(kernel, stride, padding):
    x, weight = torch.empty(1, 2, 7, 6, 5, device="meta"), torch.empty(2, 1, *kernel, device="meta")
    expected = F.conv3d(x, weight, None, stride, padding, 1, 2).shape[2:]
    assert Geometry(kernel, stride, padding).out_sizes((7, 6, 5)) == expected


def test_constants_are_the_kernels_arguments():
    constants = Geometry((3, 4, 5), (1, 2, 6), (0, 7, 8)).constants
    assert constants == (3, 4, 5, 1, 2, 6, 0, 7, 8)


@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 1, 1), (1, 3, 3)])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)])
@pytest.mark.parametrize("itemsize", [2, 4, 8])
def test_ways_to_cut_the_work_are_few_powers_of_two(kernel, stride, itemsize):
    geometry = Geometry(kernel, stride, (0, 0, 0))
    for list_blocks in (plan.output_blocks, plan.input_gradient_blocks, plan.weight_gradient_blocks):
        listed = list_blocks(geometry, itemsize)
        assert 2 <= len(set(listed)) == len(listed) <= 6
        for blocks in listed:
            numbers = (blocks.tile_h, blocks.tile_w, blocks.channels, blocks.unit, blocks.num_warps)
            assert all(number > 0 and number & (number - 1) == 0 for number in numbers)
            assert blocks.unit * itemsize <= 32


def test_units_divide_the_channels():
    assert [plan.unit_of(channels, 8) for channels in (43, 54, 108, 216, 432)] == [1, 2, 4, 8, 8]
    assert plan.unit_of(432, 2) == 2


def test_segments_cover_the_frames_once():
    for length, num_programs in itertools.product(range(1, 40), (1, 7, 100, 512, 5000)):
        segment, count = plan.segments(length, num_programs)
        assert (count - 1) * segment < length <= count * segment
        assert count == 1 or (segment >= plan.LEAST_SEGMENT and count * num_programs <= plan.NUM_PROGRAMS)
    assert plan.segments(16, 1) == (4, 4)
    assert plan.segments(16, 512) == (8, 2)
    assert plan.segments(16, 1024) == (16, 1)


def test_tiles_cover_a_picture():
    assert plan.tiles_of(56, 57, Blocks(4, 8, 32, 2)) == (14, 8)
