"""Clips of video files for a process pool: a request crosses the border to a process, pixels or a reason come back.

The pool tells of a process that a broken file has ended, by a crash for example (`process_pool.LostItem`).

Legend: V views, T frames, S side of the square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.check_videos import BAD, MISSING
from mutualnet3d.data.clip_reader import Reader
from mutualnet3d.shapes import ClipShape
from mutualnet3d.video.errors import VideoDecodeError, is_of_memory


@dataclass(frozen=True)
class FileRequest:
    """Request for clips of a file.

    Args:
        path: path of a video file or of a folder of pictures.
        shapes: shapes of the clips.
        num_spans: number of clips spread over the video, 1 or more.
        num_crops: number of crops of each span, 1 or 3.
    """

    path: str
    shapes: tuple[ClipShape, ...]
    num_spans: int = 1
    num_crops: int = 1


@dataclass(frozen=True)
class FileClips:
    """Clips of a file.

    Args:
        views_of: clip shape -> views, uint8 (V, T, S, S, 3). Arrays, since tensors would travel by shared memory,
            which a killed process does not free.
        decode_seconds: time of decoding.
        prepare_seconds: time of cropping and resizing.
        span_times: start and end of each span of the views, seconds since the first frame.
    """

    views_of: dict[ClipShape, np.ndarray]
    decode_seconds: float
    prepare_seconds: float
    span_times: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class UnreadFile:
    """File without clips.

    Args:
        status: "missing" or "bad".
        reason: text of the cause, one line.
    """

    status: str
    reason: str

    @classmethod
    def of(cls, path: str, error: VideoDecodeError) -> UnreadFile:
        """Return the result for a file that cannot be read: it is not there, or bad.

        Args:
            path: path of the file.
            error: cause.
        """
        return cls(BAD if g_pathmgr.exists(path) else MISSING, " ".join(str(error).split()))


@dataclass(frozen=True)
class FileReader:
    """Function of a process pool: request to clips.

    Args:
        reader: reader of the clips; it must pickle.
    """

    reader: Reader

    def __call__(self, request: FileRequest) -> FileClips | UnreadFile:
        """Return the clips of a file, or the reason why there are none.

        Args:
            request: file, and the clips to make of it.

        Raises:
            MemoryError: it needs more memory than this process may take.
        """
        torch.set_num_threads(1)  # there are as many processes as cores
        try:
            read = self.reader.read(request.path, request.shapes, request.num_spans, request.num_crops)
        except VideoDecodeError as error:
            if is_of_memory(error):
                raise MemoryError from error
            return UnreadFile.of(request.path, error)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, one file must not end the work on all others
            return UnreadFile(BAD, f"{request.path}: cannot be read: {type(error).__name__}: {error}")
        views_of = {shape: clips.numpy() for shape, clips in read.clips.items()}
        return FileClips(views_of, read.decode_seconds, read.prepare_seconds, read.span_times)
