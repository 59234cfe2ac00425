"""From gradients to weights: loss scaling, clipping, the optimizer's step; none from a loss that is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


class Update:
    """The end of a training step, without waiting for the device.

    Args:
        optimizer: a fused one on a GPU: it alone can leave out a step without the host's knowing.
        scale_losses: for float16: one scaler over all backward passes of a step (its growth and backoff are torch's).
        clip_norm: the largest L2 norm of all gradients together; None: any.
        clip_value: the largest absolute value of a gradient's element; None: any.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scale_losses: bool = False,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ):
        self.optimizer, self.clip_norm, self.clip_value = optimizer, clip_norm, clip_value
        device = next(self._parameters()).device
        self.scaler = torch.amp.GradScaler(device.type) if scale_losses else None
        self._is_cpu = device.type == "cpu"
        self._was_finite = torch.ones((), dtype=torch.bool, device=device)

    def _parameters(self) -> Iterator[torch.nn.Parameter]:
        return (parameter for group in self.optimizer.param_groups for parameter in group["params"])

    def zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: torch.Tensor) -> None:
        """Backpropagate a loss, scaled where losses are."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def __call__(self, is_finite: torch.Tensor) -> None:
        """Change the weights, unless the losses are not finite (a bool tensor), or those of an earlier step were not:
        the run is about to end, and its weights stay as they were."""
        self._was_finite = self._was_finite & is_finite
        if self._is_cpu and not self._was_finite:
            return
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.clip_value is not None:
            torch.nn.utils.clip_grad_value_(list(self._parameters()), self.clip_value)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(self._parameters()), self.clip_norm)
        if self.scaler is not None:
            # A loss that is not finite has gradients that are not, and those it leaves out itself.
            self.scaler.step(self.optimizer)
            self.scaler.update()
            return
        # What torch's scaler sets on a fused optimizer: it does nothing where this is 1.
        self.optimizer.found_inf = (~self._was_finite).float()  # type: ignore[attr-defined]
        try:
            self.optimizer.step()
        finally:
            del self.optimizer.found_inf  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """State of optimizer and scaler."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict() if self.scaler else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave. A scaler without a state starts afresh."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler is not None and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
