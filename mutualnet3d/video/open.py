"""Opening of a video, whatever its path stands for: a file or a folder of pictures."""

from __future__ import annotations

from collections.abc import Sequence

from mutualnet3d.video.frame_folder import FrameFolder, open_frame_folder
from mutualnet3d.video.info import OpenVideo
from mutualnet3d.video.paths import is_folder
from mutualnet3d.video.reader import VideoReader


def open_video(
    path: str, timeout: float | None = None, frame_paths: Sequence[str] = (), fps: float | None = None
) -> OpenVideo:
    """Open a video file, or a folder of pictures.

    Args:
        path: path of the file or folder; any that iopath can open.
        timeout: seconds that opening and all reading of a file may take together; None: any time.
        frame_paths: the pictures in order, where a list names them; then `path` is not looked at.
        fps: frames per second of a folder, which tells none; None: not known.

    Raises:
        VideoDecodeError: the video cannot be read; the folder has no picture.
        ValueError: `fps` is no number above 0, or is given for a file.
    """
    if frame_paths:
        return FrameFolder(frame_paths, fps)
    if is_folder(path):
        return open_frame_folder(path, fps)
    refuse_fps_of_file(fps)
    return VideoReader(path, timeout)


def refuse_fps_of_file(fps: float | None) -> None:
    """Refuse a frame rate that was given for a video file.

    Args:
        fps: frames per second that the user gave; None, which alone is allowed: none.

    Raises:
        ValueError: there is one.
    """
    if fps is not None:
        raise ValueError("fps is of frames and of folders of pictures; a file tells its own")
