from __future__ import annotations

import pytest
import torch

from mutualnet3d.ops import Normalize


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_normalize_by_hand(memory_format):
    clip = torch.randint(0, 256, (2, 4, 3, 8, 8), dtype=torch.uint8)
    before = clip.clone()
    mean, std = [0.45, 0.4, 0.5], [0.225, 0.2, 0.25]
    x = Normalize(mean, std, memory_format)(clip)
    assert torch.equal(clip, before)
    assert x.shape == (2, 3, 4, 8, 8)
    assert x.is_contiguous(memory_format=memory_format)
    for channel in range(3):
        expected = (clip[:, :, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(x[:, channel].double(), expected, rtol=1e-5, atol=1e-5)


def test_channels_may_be_reversed():
    clip = torch.randint(0, 256, (2, 4, 3, 5, 5), dtype=torch.uint8)
    in_order = Normalize([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])(clip)
    assert torch.equal(Normalize([0.4, 0.5, 0.6], [0.2, 0.25, 0.3], reverse_channels=True)(clip), in_order.flip(1))


def test_the_order_in_memory_may_stay():
    """A decoder's clip, channels last, stays so without a copy for the format."""
    clip = torch.randint(0, 256, (2, 4, 8, 8, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    x = Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3), torch.preserve_format)(clip)
    assert x.is_contiguous(memory_format=torch.channels_last_3d)


def test_values_move_with_the_module():
    normalize = Normalize((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)).to("meta")
    assert normalize(torch.zeros(1, 2, 3, 4, 4, dtype=torch.uint8, device="meta")).is_meta
