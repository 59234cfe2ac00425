"""Grad-CAM (Selvaraju et al., arXiv 1610.02391) of a slimmable network's clips.

Each channel of a feature map is weighted by the mean gradient of a class's logit; places where the weighted sum is
above 0 raise the logit. Where pooling and one linear layer follow, this is the class activation map (Zhou et al., arXiv
1512.04150) but for its scale. The package `grad-cam` (MIT) is not taken: it calls the network with one tensor where
SlowFast takes two, goes back through the whole network into the gradients of its weights, and needs OpenCV and
scikit-learn. Here the graph begins at the feature map, so that a map costs little more than a prediction.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import torch
from torch import nn

from mutualnet3d.models.last_map import has_pixels
from mutualnet3d.models.slimmable_base import SlimmableBase
from mutualnet3d.shapes import SubnetConfig


def grad_cam(
    model: SlimmableBase,
    config: SubnetConfig,
    clips: Sequence[torch.Tensor],
    layer: str,
    choose_class: Callable[[torch.Tensor], int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits (B, K) of clips, and the Grad-CAM map (T', H', W') of the first clip.

    The map is at least 0 and as large as the layer's feature map. Weights and their gradients do not change.

    Args:
        model: network in evaluation mode.
        config: sub-network.
        clips: float (B, C, T, H, W) of each pathway.
        layer: name of the layer whose output is the feature map; if it runs several times, its last output counts.
        choose_class: function from the logits (B, K) to the number of the map's class.

    Raises:
        ValueError: there is no such layer, it did not run, its output is no feature map of more than one pixel, or the
            logits do not depend on it.
    """
    module = find_layer(model, layer)
    features: list[torch.Tensor] = []

    def start_graph(_: nn.Module, __: object, output: object) -> torch.Tensor:
        # A linear layer's channels come last, where a feature map has its columns.
        if isinstance(module, nn.Linear) or not isinstance(output, torch.Tensor) or not has_pixels(output):
            came = f"a tensor {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
            raise ValueError(
                f"layer {layer}: its output is {came} for {config}; a map is made of (B, C, T, H, W) of more than one "
                "pixel"
            )
        features[:] = [output.detach().requires_grad_()]
        torch.set_grad_enabled(True)  # until the end of `no_grad` below
        return features[0].clone()  # an operation may write into it

    with torch.inference_mode(False), torch.no_grad(), model.active(config):
        hook = module.register_forward_hook(start_graph)
        try:
            logits_BK = model(clips)
        finally:
            hook.remove()
        if not features:
            raise ValueError(f"layer {layer} does not run in {config}")
        score = logits_BK[0, choose_class(logits_BK.detach())]
        gradient = torch.autograd.grad(score, features, allow_unused=True)[0] if score.requires_grad else None
    if gradient is None:
        raise ValueError(f"layer {layer}: the logits of {config} do not depend on its output")
    weight_C = gradient[0].mean(dim=(1, 2, 3))
    map_THW = torch.einsum("c,cthw->thw", weight_C, features[0].detach()[0]).relu()
    return logits_BK.detach(), map_THW


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the module with a name.

    Args:
        model: network.
        name: name of the module, as in `named_modules`.

    Returns:
        The module.

    Raises:
        ValueError: no module has the name; the message lists similar names.
    """
    modules = {path: module for path, module in model.named_modules() if path}
    if name not in modules:
        similar = difflib.get_close_matches(str(name), modules, n=3) or list(modules)[:5]
        raise ValueError(f"the network has no layer {name!r}; similar names: {', '.join(similar)}")
    return modules[name]
