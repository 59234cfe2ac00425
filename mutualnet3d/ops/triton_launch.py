"""Launch of Triton's kernels in a fraction of the host's time that Triton's own launch takes.

`kernel[grid](...)` binds names and looks at the type, value and alignment of every argument, each time: for small
features the host takes longer than the GPU. Here a compiled kernel is found by the few things that our kernels are
compiled for, and started directly. Everything unusual goes Triton's own way.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import torch

# Alignment in bytes that Triton compiles kernels for, where all pointers have it.
ALIGNMENT = 16
MOST = 2**31 - 1  # of the integers that Triton passes in 32 bits


class Work:
    """Arguments of a kernel beside its tensors, to be made once for all launches on tensors of the same shapes.

    Args:
        grid: number of programs along the three axes of a grid.
        numbers: arguments that no kernel is compiled for, in the kernel's order; real numbers as float.
        constants: arguments that are compiled in, in the kernel's order.
        num_warps: warps of a program.
    """

    __slots__ = ("constants", "grid", "is_plain", "num_warps", "numbers", "tail", "variant")

    def __init__(
        self,
        grid: tuple[int, int, int],
        numbers: tuple[float, ...],
        constants: tuple[int, ...],
        num_warps: int = 4,
    ):
        self.grid, self.numbers, self.constants, self.num_warps = grid, numbers, constants, num_warps
        self.tail = (*numbers, *constants)
        # Integers and real numbers are of different types to a kernel.
        self.variant = (num_warps, constants, tuple(type(number) for number in numbers))
        self.is_plain = all(-MOST <= number <= MOST for number in numbers if isinstance(number, int))


class _Compiled(NamedTuple):
    kernel: Any  # it unloads its code with its end
    run: Any
    function: Any
    metadata: Any
    device: int
    driver: Any
    hooks: Any


class Kernel:
    """Kernel of `triton.jit`, whose arguments are tensors, then numbers, then constants.

    None of its numbers may be specialised (`do_not_specialize`), and all of its pointers are. In Triton's interpreter
    it is interpreted.

    Args:
        module: name of its module, which is imported at the first launch.
        name: its name.
    """

    def __init__(self, module: str, name: str):
        self._module, self._name = module, name
        self._compiled: dict[tuple[Any, ...], _Compiled] = {}

    def __call__(self, work: Work, *tensors: torch.Tensor) -> None:
        """Launch the kernel on the current device's current stream.

        Args:
            work: its other arguments.
            *tensors: its tensors, all on the current device: a direct start does not check it.
        """
        pointers = [tensor.data_ptr() for tensor in tensors]
        bits = 0
        for pointer in pointers:
            bits |= pointer
        if bits % ALIGNMENT or not work.is_plain:
            self.by_triton(work, *tensors)
            return
        key = (work.variant, *[tensor.dtype for tensor in tensors])
        compiled = self._compiled.get(key)
        if compiled is not None:
            _, run, function, metadata, device, driver, hooks = compiled
            is_hooked = hooks.launch_enter_hook.calls or hooks.launch_exit_hook.calls
            if driver.get_current_device() == device and not is_hooked:
                stream = driver.get_current_stream(device)
                run(*work.grid, stream, function, metadata, None, None, None, *pointers, *work.tail)
                return
        kernel = self.by_triton(work, *tensors)
        if compiled is None and _is_direct(kernel):
            self._compiled[key] = _entry(kernel)

    def by_triton(self, work: Work, *tensors: torch.Tensor) -> Any:
        """Launch the kernel by Triton's own means; return what it compiled, or None in its interpreter."""
        kernel = getattr(importlib.import_module(self._module), self._name)
        options = {"num_warps": work.num_warps, "enable_fp_fusion": True}
        return kernel[work.grid](*tensors, *work.tail, **options)


def _is_direct(kernel: Any) -> bool:
    """Return whether `kernel` is a compiled one that may be started directly.

    Triton's versions before 3.5 have other hooks. On AMD's GPUs pointers have another property than their alignment:
    less than 2 GiB after them.
    """
    import triton
    from triton.compiler import CompiledKernel

    runtime = getattr(getattr(triton, "knobs", None), "runtime", None)
    has_hooks = all(hasattr(getattr(runtime, f"launch_{when}_hook", None), "calls") for when in ("enter", "exit"))
    return has_hooks and isinstance(kernel, CompiledKernel) and kernel.metadata.target.backend == "cuda"


def _entry(kernel: Any) -> _Compiled:
    from triton import knobs
    from triton.runtime import driver

    active = driver.active
    device = active.get_current_device()
    return _Compiled(kernel, kernel.run, kernel.function, kernel.packed_metadata, device, active, knobs.runtime)
