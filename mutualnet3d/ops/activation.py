"""Swish with pytorchvideo's bits, one pass for its gradient, and exportable in evaluation."""

from __future__ import annotations

import torch
from torch import nn


class _SwishFunction(torch.autograd.Function):
    """Saves the input alone and leaves the gradient to torch's fused kernel; pytorchvideo's takes five passes."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return torch.sigmoid(x).mul_(x)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
        return torch.ops.aten.silu_backward(grad, *ctx.saved_tensors)


class Swish(nn.Module):
    """x * sigmoid(x) (Ramachandran et al., arXiv 1710.05941).

    `torch.nn.SiLU` computes x / (1 + exp(-x)), which differs in the last bit: a network of it would not equal
    pytorchvideo's exactly. Where no gradient is asked for it is two plain operators, which any exporter reads.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            return _SwishFunction.apply(x)
        return torch.sigmoid(x).mul_(x)
