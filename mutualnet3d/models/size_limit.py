"""Limit of a network's size while it is built, since arguments from a file may ask for any size."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook


@contextmanager
def limited_size(max_values: int, max_tensors: int) -> Iterator[None]:
    """Refuse parameters beyond a limit inside the block, before memory is filled with them.

    Layers that are replaced while a network is built count too.

    Args:
        max_values: largest number of the parameters' values.
        max_tensors: largest number of parameters.

    Raises:
        ValueError: a module gets a parameter beyond the limit.
    """
    thread = threading.get_ident()
    num_values = num_tensors = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal num_values, num_tensors
        if parameter is None or threading.get_ident() != thread:
            return
        num_values += parameter.numel()
        num_tensors += 1
        if num_values > max_values or num_tensors > max_tensors:
            raise ValueError(f"the network is larger than allowed: {max_values} weights in {max_tensors} tensors")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
