"""Launch kernels compiled for an H100, without one, by Triton's way and directly; print what is handed over, as JSON.

    python -m tests.ops.compiled_launch

`launches`: kernels that the layers launch. `direct`: those started directly when the layers run again. `same`: those
with the arguments of Triton's own launch. `direct, unaligned`: direct ones with parameters at odd places.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import torch
from triton.runtime import driver

from mutualnet3d.ops import triton_depthwise, triton_launch, triton_norm
from tests.ops.hopper import Hopper

LAST = torch.channels_last_3d
# Grid, stream, function, metadata and arguments of every launch; and whether Triton's hooks came with it.
started: list[tuple[tuple[Any, ...], bool]] = []


class Launcher:
    """Launch of a compiled kernel that starts nothing."""

    def __init__(self, src: Any, metadata: Any):
        self._name = metadata.name

    def __call__(self, *arguments: Any) -> None:
        place, (_, enter_hook, _), rest = arguments[:6], arguments[6:9], arguments[9:]
        numbers = (value.data_ptr() if isinstance(value, torch.Tensor) else value for value in rest)
        started.append(((self._name, *place, *numbers), enter_hook is None))


class Utils:
    """Answers to Triton's questions before it loads a kernel."""

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 232448}

    def load_binary(self, name: str, *arguments: Any) -> tuple[int, ...]:
        return 1, zlib.crc32(arguments[0]), 0, 0, 1024

    def unload_module(self, module: int) -> None:
        pass


class Launching(Hopper):
    """H100 that is not there, as far as Triton asks it for a launch."""

    utils, launcher_cls = Utils(), Launcher


def features(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, 8, 2, 4, 4, dtype=dtype).to(memory_format=LAST).requires_grad_()


def run(tensors: dict[str, torch.Tensor]) -> None:
    """Go through three norms and a depthwise layer, forward and backward."""
    x, parameters = tensors["x"], (tensors["weight"], tensors["bias"], 1e-5)
    outputs = [
        triton_norm.normalize_activate(x, *parameters, "relu"),
        triton_norm.normalize_activate(x, *parameters, "relu", tensors["shortcut"]),
        triton_norm.normalize_gate_activate(x, *parameters, torch.sigmoid, "swish"),
        triton_depthwise.depthwise_conv3d(x, tensors["kernel"], (1, 1, 1), (1, 0, 0)),
    ]
    for y in outputs:
        torch.autograd.grad(y, [tensors["kernel"] if y is outputs[-1] else tensors["weight"], x], tensors["grad"])


def recorded(tensors: dict[str, torch.Tensor]) -> list[tuple[tuple[Any, ...], bool]]:
    """Return the launches of a run."""
    started.clear()
    run(tensors)
    return started.copy()


def masked(launch: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hide the addresses: results lie in other places every time."""
    return tuple("address" if isinstance(value, int) and value > 2**32 else value for value in launch)


def main() -> None:
    driver.set_active(Launching())
    tensors = {name: features() for name in ("x", "shortcut", "grad")}
    vectors = torch.rand(64)
    tensors |= {"weight": vectors[:8].requires_grad_(), "bias": vectors[8:16].requires_grad_()}
    tensors["kernel"] = torch.randn(8, 1, 3, 1, 1).requires_grad_()
    is_direct, triton_launch._is_direct = triton_launch._is_direct, lambda kernel: False
    own = recorded(tensors)
    triton_launch._is_direct = is_direct
    recorded(tensors)
    direct = recorded(tensors)
    tensors |= {"weight": vectors[1:9].detach().requires_grad_(), "bias": vectors[17:25].detach().requires_grad_()}
    tensors["kernel"] = torch.randn(25)[1:].view(8, 1, 3, 1, 1).requires_grad_()
    of_parameters = [launch for launch, is_direct in recorded(tensors) if is_direct]
    answer = {
        "launches": sum(not is_direct for _, is_direct in own),
        "direct": sum(is_direct for _, is_direct in direct),
        "same": sum(masked(a[0]) == masked(b[0]) for a, b in zip(own, direct, strict=True)),
        "direct, unaligned": sum(
            launch[0] not in ("partial_statistics", "pooled_statistics", "weight_gradient") for launch in of_parameters
        ),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
