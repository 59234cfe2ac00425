"""A slimmed layer against a small ordinary layer with copied weights, forward and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import nn


def run(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Output, and the input's gradient of a fixed weighting of it; the parameters' go to their `.grad`."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel()).view_as(y))
    return y.detach(), x.grad


def assert_equal(slim, small, x, slim_to_small):
    """`slim_to_small`: parameter name -> function that cuts the slim layer's gradient to the small layer's."""
    (y, grad), (y_small, grad_small) = run(slim, x), run(small, x)
    torch.testing.assert_close(y, y_small)
    torch.testing.assert_close(grad, grad_small)
    for name, parameter in small.named_parameters():
        whole = slim.get_parameter(name).grad
        torch.testing.assert_close(slim_to_small[name](whole), parameter.grad)
        assert whole.abs().sum() == pytest.approx(parameter.grad.abs().sum().item(), rel=1e-5), (
            f"{name}: outside the cut"
        )
