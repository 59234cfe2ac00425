"""Videos that are folders of pictures, read as `reader.VideoReader` reads files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from iopath.common.file_io import g_pathmgr
from PIL import Image

from mutualnet3d.files.regular import check_regular
from mutualnet3d.video.container import MAX_PIXELS
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.frame_rate import check_fps
from mutualnet3d.video.info import VideoInfo
from mutualnet3d.video.paths import PICTURE_EXTENSIONS, picture_paths

# PIL's names of the formats that are read, whatever a picture's name says: it has others, and runs programs for some.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")


class FrameFolder:
    """A video whose frames are pictures, one file each: an `OpenVideo`.

    Args:
        frame_paths: the pictures in order; any path that iopath can open.
        fps: frames per second; None: not known.

    Raises:
        ValueError: `fps` is no number above 0.
    """

    def __init__(self, frame_paths: Sequence[str], fps: float | None = None):
        self._frame_paths = frame_paths
        self.info = VideoInfo(num_frames=len(frame_paths), fps=check_fps(fps))

    def __enter__(self) -> FrameFolder:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames at `indices`, RGB, uint8 (H, W, 3).

        All have the size of the first, to which others are scaled.

        Args:
            indices: numbers of the frames, from 0.

        Raises:
            VideoDecodeError: a picture is missing or damaged; it names the picture.
        """
        size: tuple[int, int] | None = None
        for index in indices:
            path = self._frame_paths[index]
            try:
                check_regular(path, "a picture")
            except ValueError as error:
                raise VideoDecodeError(str(error)) from error
            try:
                with g_pathmgr.open(path, "rb") as file, Image.open(file, formats=_FORMATS) as picture:
                    if picture.width * picture.height > MAX_PIXELS:
                        text = f"it has {picture.width} x {picture.height} pixels; allowed: {MAX_PIXELS} in all"
                        raise ValueError(text)
                    rgb = picture.convert("RGB")
            # SyntaxError is PIL's on damaged PNG files.
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                raise VideoDecodeError(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
            size = size or rgb.size
            yield np.asarray(rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BILINEAR))


def open_frame_folder(folder: str, fps: float | None = None) -> FrameFolder:
    """Open the pictures of a folder, in the natural order of their names.

    Args:
        folder: path of the folder; any that iopath can open.
        fps: frames per second; None: not known.

    Raises:
        VideoDecodeError: the folder cannot be listed, or has no picture.
        ValueError: `fps` is no number above 0.
    """
    try:
        frame_paths = picture_paths(folder)
    except OSError as error:
        raise VideoDecodeError(f"{folder}: cannot be read: {type(error).__name__}: {error}") from error
    if not frame_paths:
        raise VideoDecodeError(f"{folder}: the folder has no picture; looked for {' '.join(PICTURE_EXTENSIONS)}")
    return FrameFolder(frame_paths, fps)


def is_moving_picture(path: str) -> bool:
    """Tell whether a picture file of this machine has more than one frame, as a GIF may."""
    try:
        with Image.open(path) as picture:
            return bool(getattr(picture, "is_animated", False))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
