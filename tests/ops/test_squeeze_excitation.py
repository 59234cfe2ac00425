from __future__ import annotations

import pytest
import torch
from fvcore.nn.squeeze_excitation import SqueezeExcitation

from mutualnet3d.ops import SlimSqueezeExcitation
from tests.ops.layers import assert_equal


def test_squeeze_excitation():
    slim = SlimSqueezeExcitation.from_squeeze_excitation(SqueezeExcitation(24, 16, is_3d=True))
    slim.block[0].out_width = 8
    small = SqueezeExcitation(16, 8, is_3d=True)
    for mine, other, rows, columns in ((small.block[0], slim.block[0], 8, 16), (small.block[2], slim.block[2], 16, 8)):
        mine.weight.data, mine.bias.data = other.weight.data[:rows, :columns].clone(), other.bias.data[:rows].clone()
    cuts = {
        "block.0.weight": lambda grad: grad[:8, :16],
        "block.0.bias": lambda grad: grad[:8],
        "block.2.weight": lambda grad: grad[:16, :8],
        "block.2.bias": lambda grad: grad[:16],
    }
    assert_equal(slim, small, torch.randn(2, 16, 3, 4, 4), cuts)


def test_a_layer_for_pictures_is_refused():
    with pytest.raises(ValueError, match="must be 3D"):
        SlimSqueezeExcitation.from_squeeze_excitation(SqueezeExcitation(8, 4))
