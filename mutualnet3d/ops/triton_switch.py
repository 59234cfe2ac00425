"""Switch of the Triton kernels (`MODEL.TRITON`), for the whole process; off at first.

The modules with kernels import triton, which takes a second and which installations for CPUs lack: they are imported
where a kernel is about to run. With TRITON_INTERPRET=1 in the environment Triton runs its kernels in Python, on tensors
of the CPU: slow, for tests alone.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# The oldest GPUs that Triton supports, and the first with bfloat16.
LEAST_CAPABILITY = (8, 0)

_is_on = False


def is_on() -> bool:
    """Return whether kernels may be taken."""
    return _is_on


def switch(on: bool, device: torch.device) -> None:
    """Let layers take Triton's kernels from now on, or no longer.

    Args:
        on: True to take them.
        device: device that the networks of this process run on.

    Raises:
        ValueError: they are to be taken, and cannot run on `device`.
    """
    global _is_on
    if on:
        check_available(device)
    _is_on = on


@contextmanager
def switched(on: bool, device: torch.device) -> Iterator[None]:
    """Context in which the switch is `on`; afterwards it is as before.

    Args:
        on: True to take the kernels.
        device: device that the networks of this process run on.

    Raises:
        ValueError: an error of `switch`.
    """
    global _is_on
    before = _is_on
    switch(on, device)
    try:
        yield
    finally:
        _is_on = before


def check_available(device: torch.device) -> None:
    """Refuse a device that the kernels cannot run on.

    Args:
        device: device of the networks.

    Raises:
        ValueError: Triton is not installed, or `device` is no GPU, or an old one.
    """
    reason, place = _obstacle(device)
    if reason:
        raise ValueError(f"MODEL.TRITON is True, and {reason}; allowed: auto, False, or True {place}")


def reason_against(device: torch.device) -> str:
    """Return why the kernels cannot run on a device; "" if they can.

    Args:
        device: device of the networks.
    """
    return _obstacle(device)[0]


def _obstacle(device: torch.device) -> tuple[str, str]:
    """Return why the kernels cannot run on a device, and where they can; "" and "" if they can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed", "with the package triton, which torch for CUDA brings along"
    if is_interpreted():
        return "", ""
    if device.type != "cuda":
        return f"the device is {device}", "on a CUDA device"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        name, (major, minor) = torch.cuda.get_device_name(device), capability
        least = ".".join(map(str, LEAST_CAPABILITY))
        return f"{device} is {name} of compute capability {major}.{minor}", f"on a GPU of {least} or more"
    return "", ""


def is_interpreted() -> bool:
    """Return whether Triton's interpreter runs the kernels."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def takes(x: torch.Tensor) -> bool:
    """Return True if kernels are to be taken for `x`.

    They are on, no compiler or exporter looks on, and `x` lies on the GPU that this thread launches on, or on the CPU
    where the interpreter runs them.
    """
    if not _is_on or torch.compiler.is_compiling():
        return False
    if x.is_cuda:
        return x.device.index == torch.cuda.current_device()
    return x.is_cpu and is_interpreted()
