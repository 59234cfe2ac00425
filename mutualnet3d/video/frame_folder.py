"""Videos that are folders of pictures, read as `decode.VideoReader` reads files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType

import numpy as np
from iopath.common.file_io import g_pathmgr
from PIL import Image

from mutualnet3d.video.reader import VideoDecodeError, VideoInfo


class FrameFolder:
    """A video whose frames are pictures, one file each, of any format that PIL reads.

    Args:
        frame_paths: the pictures in order; any path that iopath can open.
    """

    def __init__(self, frame_paths: Sequence[str]):
        self._frame_paths = frame_paths
        self.info = VideoInfo(num_frames=len(frame_paths), fps=None)

    def __enter__(self) -> FrameFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames at `indices`, RGB uint8 (H, W, 3), one at a time; all have the size of the first, to which others
        are scaled.

        Raises:
            VideoDecodeError: a picture is missing or damaged; it names the picture.
        """
        size: tuple[int, int] | None = None
        for index in indices:
            path = self._frame_paths[index]
            try:
                with g_pathmgr.open(path, "rb") as file, Image.open(file) as picture:
                    rgb = picture.convert("RGB")
            # SyntaxError is what PIL raises on damaged PNG files.
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                raise VideoDecodeError(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
            size = size or rgb.size
            yield np.asarray(rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BILINEAR))
