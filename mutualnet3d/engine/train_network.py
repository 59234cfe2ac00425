"""Network that a training step calls, over the processes of a job, in a chosen precision."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from mutualnet3d import distributed
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.slimmable_model import Dropout, SlimmableForward


class TrainNetwork:
    """Network in training: gradients are averaged over all processes of the job, the forward pass is in autocast.

    torch's DistributedDataParallel exchanges gradients while the last backward pass of a step runs. Earlier passes run
    in `no_sync`, so that there is one exchange per step. Each process keeps the statistics of its own clips; rank 0's
    count.

    Args:
        model: slimmable network on its device.
        autocast: type of the network's convolutions and products; None for float32.
    """

    def __init__(self, model: torch.nn.Module, autocast: torch.dtype | None = None):
        self.model = model
        self.device_type = next(model.parameters()).device.type
        self.autocast = autocast
        self.parallel: DistributedDataParallel | None = None
        if distributed.world_size() > 1:
            # Of pointwise kernels, whose strides over a picture of one pixel can be written in two ways.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            # torch 2.15 has another name for it, which 2.6 does not have.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
            # Gradients are views of the buckets that are exchanged: without it there is a second set of them.
            self.parallel = DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)

    def __call__(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits (B, K), float32."""
        network = self.model if self.parallel is None else self.parallel
        if self.autocast is None:
            return network(clips)
        # Around the forward pass alone: losses and backward passes are outside, which torch recommends.
        with torch.autocast(self.device_type, dtype=self.autocast):
            return network(clips).float()

    @property
    def dropout(self) -> Dropout:
        """Switch of the network's dropout."""
        return self._slimmable.dropout

    def active(self, config: SubnetConfig) -> AbstractContextManager[object]:
        """Switch the network to a sub-network for the time of the context."""
        return self._slimmable.active(config)

    def shared_fast_features(self) -> AbstractContextManager[None]:
        """Let the networks of a step compute their common part once in the context."""
        return self._slimmable.shared_fast_features()

    def no_sync(self) -> AbstractContextManager[Any]:
        """Leave the gradients of the forward and backward passes in the context on this process."""
        return nullcontext() if self.parallel is None else self.parallel.no_sync()

    def fix_order(self, config: SubnetConfig, clips: Sequence[torch.Tensor]) -> None:
        """Let DDP arrange its buckets now, which it otherwise does after its first backward pass.

        In another arrangement gradients of more than two processes are added up in another order, and the first step of
        a resumed run would differ from the uninterrupted run's in its last bits. Weights, gradients, statistics and
        random numbers do not change.

        Args:
            config: sub-network, which tracks no statistics.
            clips: input of the sub-network, with the same shapes on all processes.
        """
        if self.parallel is None:
            return
        gpus = [clip.device for clip in clips if clip.is_cuda]
        with torch.random.fork_rng(devices=gpus[:1]), self.shared_fast_features(), self.active(config):
            self(clips).sum().backward()
        self.model.zero_grad(set_to_none=True)

    @property
    def _slimmable(self) -> SlimmableForward:
        return self.model  # type: ignore[return-value]
