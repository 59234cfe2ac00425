"""Files of all container formats, made for tests."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def write_in_format(
    path: Path, frames_THWC: np.ndarray, muxer: str, codec: str, pix_fmt: str = "yuv420p", fps: int = 25, **options: str
) -> Path:
    """Encode RGB frames by libav's names of a container format, whatever the path ends with, and of an encoder.

    Args:
        options: the container's.
    """
    with av.open(str(path), "w", format=muxer, container_options=options) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = pix_fmt
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")))
        container.mux(stream.encode(None))
    return path
