"""An H100 that is not there, for what Triton does before it launches: look up, compile."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

# Where kernels are interpreted, none can be compiled: `test_triton_norm_kernels` runs these in a process of their own.
needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1",
    reason="needs Triton, and TRITON_INTERPRET not set",
)


class Hopper:
    """Triton's driver of an H100, as far as Triton asks it before a launch."""

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class Compiled:
    """Stand-in of a kernel that compiles instead of launching.

    Args:
        kernel: kernel of `triton.jit`.

    Attributes:
        kernels: compiled kernels, in turn.
    """

    def __init__(self, kernel: Any):
        self._kernel = kernel
        self.kernels: list[Any] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *args, **kwargs: self.kernels.append(self._kernel.warmup(*args, grid=grid, **kwargs))


def stack_bytes(kernel: Any, folder: Path) -> int:
    """Return the bytes of a thread's stack in a compiled kernel: registers that did not suffice.

    Args:
        kernel: compiled kernel.
        folder: folder for a file.
    """
    import triton

    path = folder / "kernel.cubin"
    path.write_bytes(kernel.asm["cubin"])
    command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
    usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (number,) = [word.partition(":")[2] for word in usage.split() if word.startswith("STACK:")]
    return int(number)
