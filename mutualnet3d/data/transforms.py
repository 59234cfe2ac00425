"""From decoded frames to the bytes of clips."""

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
    """Memory for frames that is used for clip after clip: what it hands out is valid until it is asked again."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def __call__(self, *shape: int) -> torch.Tensor:
        """An uint8 tensor of any content."""
        size = int(np.prod(shape))
        if size > _MAX_KEPT_BYTES:
            return torch.empty(shape, dtype=torch.uint8)
        if self._bytes.numel() < size:
            self._bytes = torch.empty(size, dtype=torch.uint8)
        return self._bytes[:size].view(shape)


def crop_frames(frames: Iterable[np.ndarray], count: int, box: CropBox, room: FrameBuffer) -> torch.Tensor:
    """The rectangle `box` of `count` frames (H, W, 3), mirrored if it says so: uint8 (count, height, width, 3).

    One frame is held at a time.
    """
    crops_THWC = room(count, box.height, box.width, 3)
    target = crops_THWC.numpy()
    for number, frame_HWC in enumerate(frames):
        cut = frame_HWC[box.top : box.top + box.height, box.left : box.left + box.width]
        target[number] = cut[:, ::-1] if box.flip else cut
    return crops_THWC


def resize_frames(frames_THWC: torch.Tensor, rows: Sequence[int], size: int, room: FrameBuffer) -> torch.Tensor:
    """The frames `rows` of uint8 frames, resized to `size` x `size`, bilinear and antialiased: uint8 (T, S, S, C)."""
    num_frames, height, width, channels = frames_THWC.shape
    if list(rows) == list(range(num_frames)):
        chosen_THWC = frames_THWC
    else:
        chosen_THWC = room(len(rows), height, width, channels)
        torch.index_select(frames_THWC, 0, torch.tensor(rows), out=chosen_THWC)
    if (height, width) == (size, size):
        return chosen_THWC.clone()
    chosen_TCHW = chosen_THWC.permute(0, 3, 1, 2)
    resized_TCHW = tv.resize(chosen_TCHW, [size, size], interpolation=tv.InterpolationMode.BILINEAR, antialias=True)
    return resized_TCHW.permute(0, 2, 3, 1).contiguous()
