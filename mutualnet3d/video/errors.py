"""Errors of reading and writing videos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import av

# Errors that PyAV raises on damaged files: its own and, out of its bindings, Python's.
DECODER_ERRORS = (av.FFmpegError, OSError, ValueError, ArithmeticError, MemoryError, RuntimeError)


class VideoDecodeError(RuntimeError):
    """Error for a video that cannot give the chosen frames. The message names the file and the cause.

    It takes the message alone, so that it crosses a loader worker's border unchanged.
    """


class FrameCountCorrected(VideoDecodeError):
    """Error for a video that has fewer frames than its packets promised.

    The reader's `info` now has their true number. Choose frames among those and ask again.
    """


class VideoEncodeError(RuntimeError):
    """Error for pictures that the encoder does not take. The message names the file and the cause."""


def is_of_memory(error: BaseException | None) -> bool:
    """Return True for an error whose cause, at any depth, is that there is not enough memory."""
    while error is not None:
        # torch's RuntimeError, of which there are two
        if isinstance(error, MemoryError) or re.search("not enough memory|can't allocate memory", str(error)):
            return True
        error = error.__cause__
    return False


def too_late(name: str, timeout: float, problem: str = "not decoded") -> VideoDecodeError:
    """Return the error of a video of which something did not happen within `timeout` seconds."""
    return VideoDecodeError(f"{name}: {problem} within {timeout:g} s")


@contextmanager
def decoder_errors(name: str, timeout: float | None = None, problem: str = "not decoded") -> Iterator[None]:
    """Turn every error of the decoder in the block into a `VideoDecodeError`.

    Args:
        name: name of the file or device, for the message.
        timeout: seconds that libav was given to wait for data; None: any time.
        problem: words for what did not happen in that time.

    Raises:
        VideoDecodeError: the decoder has raised an error.
    """
    try:
        yield
    except VideoDecodeError:
        raise
    except DECODER_ERRORS as error:
        if isinstance(error, av.error.ExitError) and timeout is not None:  # libav was told to stop waiting
            raise too_late(name, timeout, problem) from error
        raise VideoDecodeError(f"{name}: cannot be decoded: {type(error).__name__}: {error}") from error
