"""Dropout of a network in training: switched off for a forward pass, or passed by for a second set of logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torchvision.ops import StochasticDepth

# Layers that drop something in training, by chance.
_KINDS = (nn.modules.dropout._DropoutNd, StochasticDepth)


class DropoutSwitch:
    """Switch of a network's dropout layers.

    If the network's only dropout layer is in its head, logits without dropout cost no second pass of the backbone:
    after the layer the head runs on both sets of features, as one batch of twice the size. No batch norm may follow the
    layer; in pytorchvideo's heads a linear layer and a pooling follow. Any other network runs once more, without
    gradients.

    Args:
        network: network whose layers are switched.
        head: last block of the network; None for a network of unknown structure.

    Attributes:
        clean_BK: logits without dropout of the last forward pass inside `clean_logits`; they carry no gradient.

    Raises:
        ValueError: a dropout layer is outside the head, or the head has several of them.
    """

    def __init__(self, network: nn.Module, head: nn.Module | None):
        self.layers = [layer for layer in network.modules() if isinstance(layer, _KINDS)]
        self._is_in_head = head is not None
        in_head = [layer for layer in head.modules() if layer in self.layers] if head is not None else []
        if head is not None and (len(in_head) != len(self.layers) or len(in_head) > 1):
            raise ValueError(f"a slimmable network has at most one dropout layer, in its head, not {len(self.layers)}")
        self.clean_BK: torch.Tensor | None = None
        self._is_doubled = False

    @contextmanager
    def off(self) -> Iterator[None]:
        """Let all features pass the layers for the time of the context."""
        modes = [layer.training for layer in self.layers]
        for layer in self.layers:
            layer.training = False
        try:
            yield
        finally:
            for layer, mode in zip(self.layers, modes, strict=True):
                layer.training = mode

    @contextmanager
    def clean_logits(self) -> Iterator[DropoutSwitch]:
        """Make forward passes in the context leave their logits without dropout at `clean_BK`."""
        hooks = [layer.register_forward_hook(_with_input) for layer in self.layers if self._is_in_head]
        self._is_doubled = True
        try:
            yield self
        finally:
            self._is_doubled, self.clean_BK = False, None
            for hook in hooks:
                hook.remove()

    def logits(self, output_NK: torch.Tensor, second_pass: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the logits with dropout (B, K).

        Args:
            output_NK: network's output, of one or two sets of features.
            second_pass: function that runs the network again on the same clips and changes nothing.
        """
        if not self._is_doubled:
            return output_NK
        if not self.layers:
            self.clean_BK = output_NK.detach()
            return output_NK
        if not self._is_in_head:
            with self.off(), torch.no_grad():
                self.clean_BK = second_pass()
            return output_NK
        logits_BK, clean_BK = output_NK.chunk(2)
        self.clean_BK = clean_BK.detach()
        return logits_BK


def _with_input(_: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    """Return a dropout layer's output and then its input, as one batch; a forward hook."""
    return torch.cat([output, inputs[0].detach()])
