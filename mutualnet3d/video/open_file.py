"""Open files as videos: a path by which they are read, though they have no name or a name that is not followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mutualnet3d.video.errors import VideoDecodeError


@contextmanager
def path_of_open_file(fd: int, name: str) -> Iterator[str]:
    """Yield the path by which this process and others of its user open a file that is open here. Linux.

    Args:
        fd: descriptor of the file; one of `O_PATH` will do.
        name: name of the video in errors.

    Raises:
        VideoDecodeError, ValueError: those of the block, with `name` in place of the path.
    """
    path = f"/proc/{os.getpid()}/fd/{fd}"
    try:
        yield path
    except VideoDecodeError as error:
        raise VideoDecodeError(str(error).replace(path, name)) from error
    except ValueError as error:
        raise ValueError(str(error).replace(path, name)) from error
