"""Checkpoints written beside the training: a step waits for a copy in memory, not for the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch


class BackgroundWriter:
    """Calls `write` in a thread, one at a time. Behind a `with` block of it nothing is being written any more.

    Args:
        write: given the content, and whatever else `save` is given; what it raises is raised by the next call here.
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
        except OSError:
            if error is None:
                raise  # otherwise the block's own error is the one to tell
        finally:
            self._pool.shutdown()

    @property
    def is_busy(self) -> bool:
        """Whether a file is being written."""
        return self._pending is not None and not self._pending.done()

    def save(self, content: Mapping[str, Any], *args: Any) -> None:
        """Copy `content` and have the copy written; waits for the one before.

        Raises:
            OSError: the one before could not be written.
        """
        self.wait()
        self._pending = self._pool.submit(self._write, copied(content), _event(content), args)

    def wait(self) -> str | None:
        """Wait for the file that is being written; its path, None if there is none.

        Raises:
            OSError: it could not be written.
        """
        pending, self._pending = self._pending, None
        return None if pending is None else pending.result()

    def _write(self, content: Mapping[str, Any], copies_made: torch.cuda.Event | None, args: tuple[Any, ...]) -> str:
        if copies_made is not None:
            # On a stream of its own, so that the copies to the host do not queue behind the next steps.
            with torch.cuda.stream(torch.cuda.Stream()):
                copies_made.wait()
                content = on_host(content)
        return self.write(content, *args)


def copied(value: Any) -> Any:
    """`value` with all its tensors cloned where they are, in mappings and lists too."""
    return _with_tensors(value, torch.clone)


def on_host(value: Any) -> Any:
    """`value` with all its tensors on the CPU."""
    return _with_tensors(value, torch.Tensor.cpu)


def _with_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value.detach())
    if isinstance(value, Mapping):
        return {key: _with_tensors(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with_tensors(each, change) for each in value)
    return value


def _event(content: Any) -> torch.cuda.Event | None:
    """An event behind the clones, if any tensor is on a GPU."""
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
