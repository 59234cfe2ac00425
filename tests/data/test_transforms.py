from __future__ import annotations

import numpy as np
import pytest
import torch

from mutualnet3d.data.clip_sampling import CropBox
from mutualnet3d.data.transforms import FrameBuffer, Normalize, crop_frames, resize_frames


def test_crop_cuts_and_mirrors():
    frames = np.arange(2 * 6 * 8 * 3, dtype=np.uint8).reshape(2, 6, 8, 3)
    buffers = [FrameBuffer(), FrameBuffer()]
    (cut,) = crop_frames(iter(frames), 2, [CropBox(1, 2, 4)], buffers)
    assert np.array_equal(cut.numpy(), frames[:, 1:5, 2:6])
    cut, mirrored = crop_frames(iter(frames), 2, [CropBox(0, 0, 5), CropBox(1, 2, 4, 3, flip=True)], buffers)
    assert np.array_equal(cut.numpy(), frames[:, :5, :5])
    assert mirrored.shape == (2, 4, 3, 3)
    assert np.array_equal(mirrored.numpy(), frames[:, 1:5, 2:5][:, :, ::-1])


def test_a_buffer_is_used_again_unless_it_would_be_large():
    buffer = FrameBuffer()
    assert buffer(2, 3, 3).data_ptr() == buffer(3, 2).data_ptr()
    assert buffer(5, 5, 5).shape == (5, 5, 5)
    large = buffer(40, 1024, 1024)
    large[0] = 7
    assert buffer(4).data_ptr() != large.data_ptr()


def test_resize_is_antialiased_and_copies_what_has_its_size():
    stripes = torch.zeros(3, 32, 32, 3, dtype=torch.uint8)
    stripes[:, :, ::2] = 200  # plain bilinear would keep stripes or lose them; their mean is 100
    small = resize_frames(stripes, [0, 2], 8, FrameBuffer())
    assert (small.shape, small.dtype) == ((2, 8, 8, 3), torch.uint8)
    assert small.float()[:, :, 1:-1].sub(100).abs().max() <= 3
    same = resize_frames(stripes, [0, 1, 2], 32, FrameBuffer())
    assert torch.equal(same, stripes)
    assert same.data_ptr() != stripes.data_ptr()


def test_resize_takes_the_rows_that_it_is_told():
    frames = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 6, 4, 3).contiguous()
    assert resize_frames(frames, [0, 3, 3], 4, FrameBuffer())[:, 0, 0, 0].tolist() == [0, 3, 3]  # 6 x 4 is not 4 x 4
    assert resize_frames(frames, [4, 1, 0], 2, FrameBuffer())[:, 1, 1, 2].tolist() == [4, 1, 0]


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
