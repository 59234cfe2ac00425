"""Step from gradients to weights: loss scaling, clipping, the optimizer; none from a loss that is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


class OptimizerStep:
    """The end of a training step, without a wait for the device.

    Args:
        optimizer: optimizer of all trained parameters; on a GPU a fused one, since others cannot leave out a step
            before the host knows of the loss.
        scale_losses: True for float16: one scaler over all backward passes of a step, with torch's growth and backoff.
        clip_norm: largest L2 norm of all gradients together; None: no limit.
        clip_value: largest absolute value of a gradient's element; None: no limit.
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
        """Set the gradients to None."""
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: torch.Tensor) -> None:
        """Backpropagate a loss, scaled where losses are scaled."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def __call__(self, is_finite: torch.Tensor) -> None:
        """Change the weights, unless the losses of this step or of an earlier one are not finite.

        In that case the run is about to end, and its weights stay the same.

        Args:
            is_finite: flag of finite losses, bool without dimensions, on the parameters' device.
        """
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
            # A loss that is not finite has gradients that are not; the scaler leaves such a step out itself.
            self.scaler.step(self.optimizer)
            self.scaler.update()
            return
        # torch's scaler sets the same attribute on a fused optimizer, which does nothing where it is 1.
        self.optimizer.found_inf = (~self._was_finite).float()  # type: ignore[attr-defined]
        try:
            self.optimizer.step()
        finally:
            del self.optimizer.found_inf  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Return the states of optimizer and scaler."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict() if self.scaler else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the result of `state_dict`. A scaler without a state starts anew."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler is not None and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
