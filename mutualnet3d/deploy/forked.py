"""PyTorch in a process that was forked after its use.

The threads among which PyTorch divides its work do not survive a fork, and the new process waits for them for ever.
With one thread it needs none of them. OpenVINO and ONNX Runtime work without theirs.
"""

from __future__ import annotations

import os

import torch

from mutualnet3d.log import logger

_is_forked = False  # True in a process that was forked after this module had been loaded
_is_told = False


def run_in_fork() -> None:
    """Give PyTorch one thread, in this thread of Python's, if this process was forked; log that the first time."""
    global _is_told
    if not _is_forked:
        return
    torch.set_num_threads(1)
    if not _is_told:
        _is_told = True
        logger.warning(
            "this process was forked from one that has PyTorch: PyTorch runs in one thread here. Processes that are "
            "started by spawn have all"
        )


def is_forked() -> bool:
    """Return True for a process that was forked after this module had been loaded."""
    return _is_forked


def _note_fork() -> None:
    global _is_forked
    _is_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
