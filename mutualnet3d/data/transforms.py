"""Decoded frames to the bytes of clips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

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
        frames: frames, uint8 (H, W, 3), one after the other.
        count: number of frames.
        boxes: rectangles in the frames.
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
        frames_THWC: frames, uint8.
        rows: numbers of the frames to resize.
        size: side of the new frames, pixels.
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
    # What torchvision's resize calls on CPUs with AVX2 and on ARM; torchvision itself takes seconds to import.
    resized_TCHW = F.interpolate(chosen_TCHW, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return resized_TCHW.permute(0, 2, 3, 1).contiguous()
