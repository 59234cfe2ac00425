"""Decoded frames to a network's input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torchvision.transforms.v2 import functional as tv

from mutualnet3d.data.clip_sampling import CropBox

# A buffer is kept from clip to clip up to this many bytes: fresh memory costs more than what is written to it. Large
# pictures get memory of their own.
_MAX_KEPT_BYTES = 32 << 20


class FrameBuffer:
    """Memory for frames that is used for clip after clip: a tensor of it is valid until the next one is asked for."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def __call__(self, *shape: int) -> torch.Tensor:
        """Return an uint8 tensor of any content."""
        size = int(np.prod(shape))
        if size > _MAX_KEPT_BYTES:
            return torch.empty(shape, dtype=torch.uint8)
        if self._bytes.numel() < size:
            self._bytes = torch.empty(size, dtype=torch.uint8)
        return self._bytes[:size].view(shape)


def crop_frames(
    frames: Iterable[np.ndarray], count: int, boxes: Sequence[CropBox], buffers: Sequence[FrameBuffer]
) -> list[torch.Tensor]:
    """Cut each box out of `count` frames (H, W, 3), mirrored if it says so: uint8 (count, height, width, 3).

    One frame is held at a time.

    Args:
        buffers: memory of the results, one for each box.
    """
    crops_NTHWC = [buffer(count, box.height, box.width, 3) for box, buffer in zip(boxes, buffers, strict=False)]
    targets = [(crops_THWC.numpy(), box) for crops_THWC, box in zip(crops_NTHWC, boxes, strict=True)]
    for number, frame_HWC in enumerate(frames):
        for target, box in targets:
            cut = frame_HWC[box.top : box.top + box.height, box.left : box.left + box.width]
            target[number] = cut[:, ::-1] if box.flip else cut
    return crops_NTHWC


def resize_frames(frames_THWC: torch.Tensor, rows: Sequence[int], size: int, buffer: FrameBuffer) -> torch.Tensor:
    """Resize the frames `rows` of uint8 frames to `size` x `size`, bilinear and antialiased: uint8 (T, S, S, C).

    Args:
        buffer: memory for the chosen frames in their own size.
    """
    num_frames, height, width, channels = frames_THWC.shape
    if list(rows) == list(range(num_frames)):
        chosen_THWC = frames_THWC
    else:
        chosen_THWC = buffer(len(rows), height, width, channels)
        torch.index_select(frames_THWC, 0, torch.tensor(rows), out=chosen_THWC)
    if (height, width) == (size, size):
        return chosen_THWC.clone()
    chosen_TCHW = chosen_THWC.permute(0, 3, 1, 2)
    resized_TCHW = tv.resize(chosen_TCHW, [size, size], interpolation=tv.InterpolationMode.BILINEAR, antialias=True)
    return resized_TCHW.permute(0, 2, 3, 1).contiguous()


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
        # Copied to a GPU once: such a copy waits for all that the GPU has to do.
        self._on: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, clip_BTCHW: torch.Tensor) -> torch.Tensor:
        if self.reverse_channels:
            clip_BTCHW = clip_BTCHW.flip(2)
        clip_BCTHW = clip_BTCHW.transpose(1, 2).to(torch.float32, memory_format=self.memory_format)
        device = clip_BCTHW.device
        if device not in self._on:
            self._on[device] = self.shift.to(device), self.scale.to(device)
        shift, scale = self._on[device]
        return clip_BCTHW.sub_(shift).mul_(scale)
