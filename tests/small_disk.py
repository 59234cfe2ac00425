"""Small disks for tests: a file system in memory, in a mount namespace of its own where the machine allows it."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
from pathlib import Path

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 1 << 18


@functools.cache
def why_none() -> str:
    """Return the reason why no small disk can be mounted here; "" if one can."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"no small disk: {error}"
    return f"no small disk can be mounted here: {done.stderr.strip()}" if done.returncode else ""


def mount(folder: str | Path, num_bytes: int) -> None:
    """Mount an empty disk of `num_bytes` at `folder`, for this process and those that it starts alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={num_bytes}".encode()
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "unshare")
    Path(folder).mkdir(parents=True, exist_ok=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options):
        raise OSError(ctypes.get_errno(), "mount")
