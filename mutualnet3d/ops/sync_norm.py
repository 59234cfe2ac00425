"""Batch norm over the joined batch of all processes of a group, on CPUs (gloo) and GPUs (nccl) by the same code.

torch's own SyncBatchNorm runs on GPUs alone. Here each process takes the mean and variance of its batch, gathers those
of the others, and pools them: the mean of the variances plus the variance of the means (Chan, Golub, LeVeque 1983). The
backward pass adds up two sums per channel in the same way. One small collective each, and nothing waits for the host.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import distributed as dist

from mutualnet3d.ops.batch_statistics import local_statistics
from mutualnet3d.ops.cpu_kernels import memory_format_of


def synced_batch_norm(
    x: torch.Tensor,
    weight_C: torch.Tensor | None,
    bias_C: torch.Tensor | None,
    eps: float,
    group: dist.ProcessGroup,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return batch norm of x (B, C, T, H, W) by the statistics of the joined batch.

    Every process of `group` calls it, all with the same shape.

    The gradient of x is that of the sum of all processes' losses; the gradients of weight and bias are this process's
    part of it. With the mean over its own batch as each process's loss, the average of a parameter's gradient over
    processes, which DistributedDataParallel takes, is therefore the joined batch's gradient. It has no second
    derivative.

    Args:
        x: this process's features, (B, C, T, H, W).
        weight_C: scale of each channel, or None.
        bias_C: shift of each channel, or None.
        eps: number added to the variance.
        group: processes whose batches are joined.

    Returns:
        Output, in x's type and memory format, and the joined batch's mean (C,) and biased variance (C,), without
        gradient: float64 for x of float64, else float32.
    """
    return _SyncedBatchNorm.apply(x, weight_C, bias_C, eps, group)


class _SyncedBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps, group):  # type: ignore[no-untyped-def]
        local_2C = torch.stack(local_statistics(x))
        of_all = local_2C.new_empty(dist.get_world_size(group) * 2, x.shape[1])
        dist.all_gather_into_tensor(of_all, local_2C, group=group)
        mean, variance = _pool(of_all[0::2], of_all[1::2])
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.group = eps, group
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad, *_):  # type: ignore[no-untyped-def]
        x, weight, mean, variance = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        inverse = (variance + ctx.eps).rsqrt()
        grad = grad.contiguous(memory_format=memory_format_of(x))  # another one takes torch longer to sum than to copy
        # The evaluation form leaves the statistics' own gradients out; used for its two sums over the batch.
        settings = (False, ctx.eps, [False, True, True])
        _, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, mean, inverse, *settings
        )
        grad_x = None
        if needs_x:
            sums_2C = torch.stack([grad_bias, grad_weight]).to(mean.dtype)
            dist.all_reduce(sums_2C, group=ctx.group)
            mean_grad, mean_product = sums_2C / (x.numel() // x.shape[1] * dist.get_world_size(ctx.group))
            # scale * (grad - mean_grad - normalised x * mean_product), as scale * grad + slope * x + constant.
            scale = inverse if weight is None else weight * inverse
            slope = -scale * inverse * mean_product
            constant = -scale * mean_grad - slope * mean
            # float32 until the only rounding: in bfloat16 the small terms would vanish beside `grad`.
            rest = torch.addcmul(_over_channels(constant), x, _over_channels(slope))
            grad_x = rest if rest.dtype == x.dtype else torch.empty_like(x)
            torch.addcmul(rest, grad, _over_channels(scale), out=grad_x)
        return grad_x, grad_weight if needs_weight else None, grad_bias if needs_bias else None, None, None


def _pool(means: torch.Tensor, variances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and biased variance (C,) of K joined batches of one size, from the (K, C) values of the batches."""
    variance_of_means, mean = torch.var_mean(means, 0, correction=0)
    return mean, variances.mean(0) + variance_of_means


def _over_channels(values_C: torch.Tensor) -> torch.Tensor:
    return values_C.view(1, -1, 1, 1, 1)
