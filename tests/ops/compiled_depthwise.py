"""Compile the depthwise kernels for an H100, without one, and print registers and spills as JSON.

    python -m tests.ops.compiled_depthwise kernels
    python -m tests.ops.compiled_depthwise stack

`kernels`: the number of kernels that random widths and clips need, per kind of layer. `stack`: bytes of a thread's
stack in each of them, compiled: registers that did not suffice.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.runtime import driver

from mutualnet3d.ops import triton_depthwise, triton_depthwise_kernels, triton_depthwise_weight
from mutualnet3d.ops.triton_depthwise_plan import Geometry
from tests.ops.hopper import Compiled, Hopper, stack_bytes

GEOMETRIES = [
    Geometry((3, 3, 3), (1, 1, 1), (1, 1, 1)),
    Geometry((3, 3, 3), (1, 2, 2), (1, 1, 1)),
    Geometry((5, 1, 1), (1, 1, 1), (2, 0, 0)),
]


def call(geometry: Geometry, shape: tuple[int, int, int, int, int]) -> None:
    """Call the three kernels for an input of that shape."""
    x = torch.empty(shape, dtype=torch.bfloat16).to(memory_format=torch.channels_last_3d)
    weight = torch.empty(shape[1], 1, *geometry.kernel)
    grad = triton_depthwise.output(x, weight, geometry)
    triton_depthwise.input_gradient(grad, x, weight, geometry)
    triton_depthwise.weight_gradient(grad, x, weight, geometry)


def num_kernels() -> list[int]:
    """Return the number of kernels that Triton would compile for each of `GEOMETRIES`, by its own look-up."""
    kernels: set[tuple[str, str]] = set()

    def note(**facts: Any) -> bool:
        kernels.add((facts["fn"].name, facts["key"]))
        return True  # compiled already: Triton goes no further

    triton.knobs.runtime.jit_cache_hook = note
    draw, numbers = random.Random(0), []
    for geometry in GEOMETRIES:
        kernels.clear()
        for channels in (16, 24, 48, 56, 64, 80, 432):
            call(
                geometry, (draw.randint(1, 8), channels, draw.randint(1, 16), draw.randint(1, 40), draw.randint(1, 40))
            )
        numbers.append(len(kernels))
    return numbers


def stacks() -> list[int]:
    """Return the stacks' bytes of the kernels of all `GEOMETRIES`."""
    places = [(triton_depthwise_kernels, "forward"), (triton_depthwise_kernels, "input_gradient")]
    stand_ins = []
    for module, name in [*places, (triton_depthwise_weight, "weight_gradient")]:
        stand_ins.append(Compiled(getattr(module, name)))
        setattr(module, name, stand_ins[-1])
    for geometry in GEOMETRIES:
        call(geometry, (1, 54, 4, 8, 8))
    with tempfile.TemporaryDirectory() as folder:
        return [stack_bytes(kernel, Path(folder)) for stand_in in stand_ins for kernel in stand_in.kernels]


if __name__ == "__main__":
    driver.set_active(Hopper())
    print(json.dumps(num_kernels() if sys.argv[1] == "kernels" else stacks()))
