"""From decoded frames to a network's input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torchvision.transforms.v2 import functional as tv

from mutualnet3d.data.clip_sampling import CropBox


def crop_frame(frame_HWC: np.ndarray, box: CropBox) -> np.ndarray:
    """The square `box` of a frame (H, W, C), mirrored if it says so; a copy, which keeps nothing of the frame alive."""
    cut = frame_HWC[box.top : box.top + box.side, box.left : box.left + box.side]
    return np.ascontiguousarray(cut[:, ::-1] if box.flip else cut)


def resize_frames(frames_TCHW: torch.Tensor, size: int) -> torch.Tensor:
    """Square uint8 frames to `size` x `size`, bilinear and antialiased; themselves if they are that large already."""
    if frames_TCHW.shape[-1] == size:
        return frames_TCHW
    return tv.resize(frames_TCHW, [size, size], interpolation=tv.InterpolationMode.BILINEAR, antialias=True)


class Normalize:
    """uint8 clips (B, T, C, H, W) to a network's input, float (B, C, T, H, W), where they are: (x / 255 - mean) / std.

    Args:
        mean, std: one value per channel, in units of the full brightness.
        memory_format: of the result; `channels_last_3d` makes X3D nearly twice as fast on a CPU.
        reverse_channels: give blue, green, red instead of red, green, blue.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        memory_format: torch.memory_format = torch.contiguous_format,
        reverse_channels: bool = False,
    ):
        order = slice(None, None, -1) if reverse_channels else slice(None)
        self.shift = 255.0 * torch.tensor(mean[order]).view(1, -1, 1, 1, 1)
        self.scale = 1.0 / (255.0 * torch.tensor(std[order])).view(1, -1, 1, 1, 1)
        self.memory_format, self.reverse_channels = memory_format, reverse_channels

    def __call__(self, clip_BTCHW: torch.Tensor) -> torch.Tensor:
        if self.reverse_channels:
            clip_BTCHW = clip_BTCHW.flip(2)
        clip_BCTHW = clip_BTCHW.transpose(1, 2).to(torch.float32, memory_format=self.memory_format)
        return clip_BCTHW.sub_(self.shift.to(clip_BCTHW.device)).mul_(self.scale.to(clip_BCTHW.device))
