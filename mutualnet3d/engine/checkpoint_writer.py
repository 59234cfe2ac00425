"""Background writing of checkpoints: a training step waits for a copy in memory, not for the disk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from mutualnet3d.log import logger


class BackgroundWriter:
    """Thread that calls `write`, for one file at a time. After a `with` block of it no file is being written.

    Args:
        write: function of the content and the further arguments of `save` that returns the path of the file. The next
            call of a method raises its error.
    """

    def __init__(self, write: Callable[..., str]):
        self.write = write
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[str] | None = None

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self.wait()
        except Exception as second:
            if error is None:
                raise
            # The block's own error is the first cause and goes on; a log that cannot be written may be that cause.
            with contextlib.suppress(OSError):
                logger.warning("the checkpoint that was being written is lost: %s", second)
        finally:
            self._pool.shutdown()

    @property
    def is_busy(self) -> bool:
        """True while a file is being written."""
        return self._pending is not None and not self._pending.done()

    def save(self, content: Mapping[str, Any], *args: Any) -> None:
        """Copy `content` and write the copy in the background, after the file before it.

        Args:
            content: content of the file.
            *args: further arguments of `write`.

        Raises:
            WriteError: the disk was full for the file before. Any other error of `write` comes the same way.
        """
        self.wait()
        self._pending = self._pool.submit(self._write, copied(content), _event(content), args)

    def wait(self) -> str | None:
        """Wait for the file that is being written, and return its path; None if there is none.

        Raises:
            WriteError: the disk was full. Any other error of `write` comes the same way.
        """
        pending, self._pending = self._pending, None
        return None if pending is None else pending.result()

    def _write(self, content: Mapping[str, Any], copies_made: torch.cuda.Event | None, args: tuple[Any, ...]) -> str:
        if copies_made is not None:
            # On a stream of its own, so that the copies to the host do not queue after the next steps.
            with torch.cuda.stream(torch.cuda.Stream()):
                copies_made.wait()
                content = on_host(content)
        return self.write(content, *args)


def copied(value: Any) -> Any:
    """Return `value` with all its tensors cloned on their device, in mappings and lists too."""
    return _with_tensors(value, torch.clone)


def on_host(value: Any) -> Any:
    """Return `value` with all its tensors on the CPU."""
    return _with_tensors(value, torch.Tensor.cpu)


def _with_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value.detach())
    if isinstance(value, Mapping):
        return {key: _with_tensors(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with_tensors(item, change) for item in value)
    return value


def _event(content: Any) -> torch.cuda.Event | None:
    """Return an event after the clones, if any tensor is on a GPU; else None."""
    if not _any_on_gpu(content):
        return None
    event = torch.cuda.Event()
    event.record()
    return event


def _any_on_gpu(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.is_cuda
    if isinstance(value, Mapping):
        return any(map(_any_on_gpu, value.values()))
    return isinstance(value, list | tuple) and any(map(_any_on_gpu, value))
