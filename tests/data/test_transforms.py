from __future__ import annotations

import numpy as np
import pytest
import torch

from mutualnet3d.data.clip_sampling import CropBox
from mutualnet3d.data.transforms import Normalize, crop_frame, resize_frames


def test_crop_cuts_and_mirrors():
    frame = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert np.array_equal(crop_frame(frame, CropBox(1, 2, 4)), frame[1:5, 2:6])
    mirrored = crop_frame(frame, CropBox(1, 2, 4, flip=True))
    assert np.array_equal(mirrored, frame[1:5, 2:6][:, ::-1])
    assert not np.shares_memory(mirrored, frame)


def test_resize_is_antialiased_and_leaves_its_own_size_alone():
    stripes = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    stripes[..., ::2] = 200  # plain bilinear would keep stripes or lose them; their mean is 100
    small = resize_frames(stripes, 8)
    assert small.dtype == torch.uint8
    assert small.float()[..., 1:-1].sub(100).abs().max() <= 3
    assert resize_frames(stripes, 32) is stripes


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_normalize_by_hand(memory_format):
    clip = torch.randint(0, 256, (2, 4, 3, 8, 8), dtype=torch.uint8)
    mean, std = [0.45, 0.4, 0.5], [0.225, 0.2, 0.25]
    x = Normalize(mean, std, memory_format)(clip)
    assert x.shape == (2, 3, 4, 8, 8)
    assert x.is_contiguous(memory_format=memory_format)
    for channel in range(3):
        expected = (clip[:, :, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(x[:, channel].double(), expected, rtol=1e-5, atol=1e-5)


def test_channels_may_be_reversed():
    clip = torch.randint(0, 256, (2, 4, 3, 5, 5), dtype=torch.uint8)
    plain = Normalize([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])(clip)
    assert torch.equal(Normalize([0.4, 0.5, 0.6], [0.2, 0.25, 0.3], reverse_channels=True)(clip), plain.flip(1))
