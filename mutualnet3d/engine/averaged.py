"""Exponential moving average of a network's weights.

docs/architecture.md says why torch's `AveragedModel` is not used.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from mutualnet3d.slimmable_model import SlimmableForward


class AveragedWeights:
    """Averages of weights and tracked statistics over the steps of a training, and the network that has them.

    After step n (from 0) an average is `d * average + (1 - d) * weight`, with d the smaller of `decay` and
    (1 + n) / (10 + n): a fixed decay would carry the random weights of the start for 1 / (1 - decay) steps.

    Args:
        model: network in training, which is copied.
        decay: weight of the previous average at most, in [0, 1).

    Raises:
        ValueError: the decay is outside its range.

    Attributes:
        model: copy of the network, with the averages.
        num_steps: number of steps in the averages.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"the decay of averaged weights must be in [0, 1), got {decay!r}")
        self.decay, self.num_steps = decay, 0
        self.model = copy.deepcopy(model).requires_grad_(False)
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]  # numbers of batches tracked

    @torch.no_grad()
    def update(self) -> None:
        """Add the present weights of the network in training to the averages, after a step."""
        decay = min(self.decay, (1 + self.num_steps) / (10 + self.num_steps))
        averages, weights = map(list, zip(*self._floats, strict=True))
        torch._foreach_lerp_(averages, weights, 1.0 - decay)
        for average, count in self._counts:
            average.copy_(count)
        self.num_steps += 1

    @torch.no_grad()
    def logits(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the logits (B, K) of the full network with the averaged weights on training clips.

        Batch norms take the batch's statistics as in training, but there is no dropout, and nothing is tracked.
        """
        self.model.train()
        network: SlimmableForward = self.model  # type: ignore[assignment]
        with network.dropout.off(), network.active(self.model.full):  # type: ignore[arg-type]
            return network(clips)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages by the network's own names, and the number of steps in them."""
        return {"model_state": self.model.state_dict(), "num_steps": self.num_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the result of `state_dict`."""
        self.model.load_state_dict(state["model_state"])
        self.num_steps = int(state["num_steps"])


def _tensors(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    return itertools.chain(model.parameters(), model.buffers())
