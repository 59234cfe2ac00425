"""A sub-network as it is deployed: uint8 clips in, as a decoder gives them, logits out."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.squeeze_excitation import SqueezeExcitation
from torch import nn

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.models import SlimmableNet
from mutualnet3d.shapes import ClipShape, SubnetConfig

# The batch that is exported with; its size stays free. (1 would be taken for a constant.)
_BATCH = 2


class ClipNetwork(nn.Module):
    """An ordinary network with its normalisation in front.

    Args:
        network: takes a list of float clips (B, C, T, H, W); it is changed.

    Shape: uint8 (B, T, H, W, 3), RGB, one for each pathway -> logits (B, K).
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing):
        super().__init__()
        self.network = network
        for name, module in list(network.named_modules()):
            if isinstance(module, SqueezeExcitation):
                parent, _, leaf = name.rpartition(".")
                setattr(network.get_submodule(parent), leaf, _SqueezeExcitation(module.block))
        order = slice(None, None, -1) if preprocessing.reverse_channels else slice(None)
        self.reverse_channels = preprocessing.reverse_channels
        # As `data.transforms.Normalize` computes it.
        self.register_buffer("shift", 255.0 * torch.tensor(preprocessing.mean[order]).view(1, -1, 1, 1, 1))
        self.register_buffer("scale", 1.0 / (255.0 * torch.tensor(preprocessing.std[order]).view(1, -1, 1, 1, 1)))

    def forward(self, *clips_BTHWC: torch.Tensor) -> torch.Tensor:
        return self.network([self._normalized(clip) for clip in clips_BTHWC])

    def _normalized(self, clip_BTHWC: torch.Tensor) -> torch.Tensor:
        if self.reverse_channels:
            clip_BTHWC = clip_BTHWC.flip(4)
        clip_BCTHW = clip_BTHWC.permute(0, 4, 1, 2, 3).to(torch.float32)
        return (clip_BCTHW - self.shift) * self.scale


class _SqueezeExcitation(nn.Module):
    """fvcore's, its mean over (T, H, W) taken in two steps.

    OpenVINO adds up the 200,000 values of X3D-M's first stage one after the other: logits were off by 3e-4 of the
    largest. It is faster, too (benchmarks/export_parity.py). Means over W, H and T, one by one, it would join again.
    """

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        of_frames = F.avg_pool3d(x, (1, *x.shape[3:]))
        return x * self.block(of_frames.mean(dim=2, keepdim=True))


def input_names(num_pathways: int) -> list[str]:
    """What an exported network calls its inputs."""
    return ["clip"] if num_pathways == 1 else ["slow", "fast"]


def random_clips(shapes: tuple[ClipShape, ...], batch: int, seed: int = 0) -> list[torch.Tensor]:
    """Clips of noise, uint8 (B, T, S, S, 3), one for each of `shapes`."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(batch, shape.frames, shape.size, shape.size, 3) for shape in shapes]
    return [torch.randint(0, 256, size, dtype=torch.uint8, generator=generator) for size in sizes]


def export_program(model: SlimmableNet, config: SubnetConfig, preprocessing: Preprocessing) -> Any:
    """The sub-network as `torch.export` has it: its batch norms folded, normalisation inside, any batch size.

    Raises:
        ValueError: `config` cannot be evaluated.
    """
    plain = ClipNetwork(model.extract(config, fold_norms=True), preprocessing).eval().cpu()
    clips = tuple(random_clips(model.input_shapes(config), _BATCH))
    batch = torch.export.Dim("batch", min=1, max=1024)
    with torch.no_grad():
        return torch.export.export(plain, clips, dynamic_shapes=(tuple({0: batch} for _ in clips),))
