"""Batch norm of a batch's own statistics together with what follows it, by few passes over the features.

    y = activation(norm(x))                 `normalize_activate`, with a shortcut activation(norm(x) + shortcut)
    y = activation(gate(pool(norm(x))) * norm(x))         `normalize_gate_activate`: squeeze-and-excitation

torch computes norm, sum, product and activation one after the other, each a reading and a writing of all features. Here
the forward pass reads x twice and writes y, the backward pass reads x and y's gradient twice and writes x's gradient;
beside x (and y, with a shortcut) nothing as large is kept for it. Within, all numbers are float32, rounded once. The
kernels are in `triton_norm_kernels`, their launch in `triton_norm_launch`; `takes` says which tensors they are for.

There is no second derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mutualnet3d.ops import triton_norm_launch as launch
from mutualnet3d.ops import triton_switch
from mutualnet3d.ops.triton_norm_launch import Tracking

# Kernels by the names of activations; values of the kernels' ACT.
ACTIVATIONS = {"none": 0, "relu": 1, "swish": 2}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def takes(x: torch.Tensor, weight_C: torch.Tensor | None, bias_C: torch.Tensor | None) -> bool:
    """Return whether the kernels are to be taken for x.

    They are on for x, which has several values per channel and lies in channels_last_3d; scale and shift are there,
    float32 (float64 for x of float64).
    """
    return (
        triton_switch.takes(x)
        and weight_C is not None
        and bias_C is not None
        and x.ndim == 5
        and x.dtype in _FLOATS
        and weight_C.dtype == bias_C.dtype == launch.accumulator(x)
        and x.numel() > x.shape[1] > 0
        and x.is_contiguous(memory_format=torch.channels_last_3d)
        and x.device == weight_C.device == bias_C.device
    )


def normalize_activate(
    x: torch.Tensor,
    weight_C: torch.Tensor,
    bias_C: torch.Tensor,
    eps: float,
    activation: str = "none",
    shortcut: torch.Tensor | None = None,
    tracking: Tracking | None = None,
) -> torch.Tensor:
    """Return activation(norm(x) + shortcut), in x's type and memory format.

    Args:
        x: features (B, C, T, H, W) that `takes` accepts.
        weight_C: scale.
        bias_C: shift.
        eps: number added to the variance.
        activation: a name of `ACTIVATIONS`.
        shortcut: features like x, or None. The activation may then not be swish.
        tracking: tracked statistics to move; None: none.
    """
    if shortcut is not None:
        assert activation != "swish"  # its derivative cannot be told from y
        assert shortcut.device == x.device
        shortcut = shortcut.contiguous(memory_format=torch.channels_last_3d)
    return _NormActivation.apply(x, shortcut, weight_C, bias_C, eps, ACTIVATIONS[activation], tracking)


def normalize_gate_activate(
    x: torch.Tensor,
    weight_C: torch.Tensor,
    bias_C: torch.Tensor,
    eps: float,
    gate: Callable[[torch.Tensor], torch.Tensor],
    activation: str = "none",
    tracking: Tracking | None = None,
) -> torch.Tensor:
    """Return activation(gate(mean of norm(x) over T, H, W) * norm(x)), in x's type and memory format.

    The mean needs no pass of its own: the norm is linear in each channel, and the statistics' sums are of one sample
    each.

    Args:
        x: features (B, C, T, H, W) that `takes` accepts.
        weight_C: scale.
        bias_C: shift.
        eps: number added to the variance.
        gate: function of the means, (B, C, 1, 1, 1), float32, to the factors, of the same shape; differentiable.
        activation: a name of `ACTIVATIONS`.
        tracking: tracked statistics to move; None: none.
    """
    batch, channels = x.shape[:2]
    link = _Link(ACTIVATIONS[activation])
    means_BC = _PooledNorm.apply(link, x, weight_C, bias_C, eps, tracking)
    factors_BC = gate(means_BC.view(batch, channels, 1, 1, 1)).reshape(batch, channels)
    return _GatedNorm.apply(link, x.detach(), factors_BC, weight_C.detach(), bias_C.detach())


# ---- autograd --------------------------------------------------------------------------------------------------------


def _once(gradients: Callable[..., Any]) -> Callable[..., Any]:
    """Return a backward pass that is differentiable once.

    torch's decorator takes a good part of a small norm's time on the host, and is needed for gradients of gradients
    alone: to refuse them.
    """
    refusing = torch.autograd.function.once_differentiable(gradients)

    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return refusing(ctx, grad) if torch.is_grad_enabled() else gradients(ctx, grad)

    return backward


class _NormActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, shortcut, weight, bias, eps, activation, tracking):  # type: ignore[no-untyped-def]
        layout = launch.layout_of(x, by_sample=False)
        _, statistics = launch.statistics(x, layout, eps, tracking)
        y = launch.normalized(x, layout, (statistics, weight, bias), activation, shortcut)
        ctx.save_for_backward(x, None if shortcut is None else y, statistics, weight, bias)
        ctx.layout, ctx.activation = layout, activation
        return y

    @staticmethod
    @_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, y, *parameters = ctx.saved_tensors
        layout, activation = ctx.layout, ctx.activation
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        grad_shortcut = None if y is None else torch.empty_like(y)
        sums = launch.partial_gradients(grad, x, layout, parameters, activation, y, grad_shortcut).sum(1)
        grad_x = None
        if ctx.needs_input_grad[0]:
            if grad_shortcut is not None:
                grad, activation = grad_shortcut, ACTIVATIONS["none"]  # it is the gradient before the activation
            grad_x = launch.input_gradient(grad, x, layout, parameters, activation, sums)
        grad_bias, grad_weight = sums.unbind()
        return grad_x, grad_shortcut, grad_weight, grad_bias, None, None, None


class _Link:
    """Connection of the two halves of a norm with a gate: the second's backward leaves here what the first's needs."""

    def __init__(self, activation: int):
        self.activation = activation
        self.layout: launch.Layout | None = None
        self.statistics_2C: torch.Tensor | None = None
        self.gradients: tuple[torch.Tensor, ...] | None = None


class _PooledNorm(torch.autograd.Function):
    """First half: statistics and means of norm(x).

    Its backward comes last and gives the whole gradients of x, weight and bias, those by way of the second half too.
    """

    @staticmethod
    def forward(ctx, link, x, weight, bias, eps, tracking):  # type: ignore[no-untyped-def]
        layout = launch.layout_of(x, by_sample=True)
        partial, statistics = launch.statistics(x, layout, eps, tracking)
        normalised_means, means = launch.group_means(partial, layout, (statistics, weight, bias))
        link.statistics_2C, link.layout, ctx.link = statistics, layout, link
        ctx.save_for_backward(x, statistics, weight, bias, normalised_means)
        return means

    @staticmethod
    @_once
    def backward(ctx, grad_means):  # type: ignore[no-untyped-def]
        x, *parameters, normalised_means = ctx.saved_tensors
        link = ctx.link
        layout = link.layout
        grad, gate, sums_2BC = link.gradients
        link.gradients = None
        # Sums over a sample of dn and dn * normalised x, where dn = gate * dz + grad_means / group_rows.
        sums_2BC = sums_2BC * gate
        sums_2BC[0] += grad_means
        sums_2BC[1].addcmul_(grad_means, normalised_means)
        sums = sums_2BC.sum(1)
        grad_x = None
        if ctx.needs_input_grad[1]:
            way = grad_means / layout.group_rows
            grad_x = launch.input_gradient(grad, x, layout, parameters, link.activation, sums, gate, way)
        return None, grad_x, sums[1], sums[0], None, None


class _GatedNorm(torch.autograd.Function):
    """Second half: activation(gate * norm(x)), with a gradient for the gate alone."""

    @staticmethod
    def forward(ctx, link, x, gate, weight, bias):  # type: ignore[no-untyped-def]
        gate = gate.contiguous()
        parameters = (link.statistics_2C, weight, bias)
        y = launch.normalized(x, link.layout, parameters, link.activation, gate_BC=gate)
        ctx.link = link
        ctx.save_for_backward(x, gate, *parameters)
        return y

    @staticmethod
    @_once
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        x, gate, *parameters = ctx.saved_tensors
        link = ctx.link
        layout = link.layout
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        partial_2KC = launch.partial_gradients(grad, x, layout, parameters, link.activation, gate_BC=gate)
        sums_2BC = partial_2KC.view(2, layout.groups, layout.group_chunks, layout.channels).sum(2)
        link.gradients = (grad, gate, sums_2BC)
        _, weight, bias = parameters
        grad_gate = torch.addcmul(sums_2BC[0] * bias, sums_2BC[1], weight).to(gate.dtype)
        return None, None, grad_gate, None, None
