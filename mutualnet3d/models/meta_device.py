"""Runs on torch's meta device without the operations that cost time there: some of torch's are Python on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

# Functions whose result has shape, type and memory format of their first argument.
_LIKE_THEIR_INPUT = {F.batch_norm, F.relu, F.relu6, F.hardtanh, torch.relu, torch.Tensor.relu, F.hardswish}


def result_like_input(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the result of a call on the meta device whose shape is known without the call.

    Args:
        function: function of torch, as a `TorchFunctionMode` gets it.
        args: its arguments.
        kwargs: its keyword arguments.

    Returns:
        An empty tensor, or the first argument of a call in place; None for a function that has to be called, among them
        those whose gradients are recorded.
    """
    if function not in _LIKE_THEIR_INPUT or not args or torch.is_grad_enabled():
        return None
    x = args[0]
    if not isinstance(x, torch.Tensor) or not x.is_meta:
        return None
    return x if kwargs.get("inplace") or (len(args) > 1 and args[-1] is True) else torch.empty_like(x)


class ShapesAlone(TorchFunctionMode):
    """Mode in which calls on the meta device are skipped where the result's shape is known.

    A dry run of X3D or a ResNet spends most of its time in torch's batch norm and ReLU otherwise.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the result of a call, see `result_like_input`."""
        kwargs = kwargs or {}
        result = result_like_input(func, args, kwargs)
        return func(*args, **kwargs) if result is None else result
