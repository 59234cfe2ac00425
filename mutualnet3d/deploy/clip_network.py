"""Sub-network in its deployed form, from a decoder's uint8 clips to logits and pooled vectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.squeeze_excitation import SqueezeExcitation
from torch import nn

from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.features import FeatureNet, classifier_name
from mutualnet3d.models.fork_safe_lock import ForkSafeLock
from mutualnet3d.ops import Normalize
from mutualnet3d.shapes import ClipShape, SubnetConfig

# The batch of the export; its size stays free. (1 would be taken for a constant.)
_BATCH = 2

# Lock of torch's exporters, whose state is the process's: two threads at once would mix it up.
CONVERSION = ForkSafeLock()


class ClipNetwork(nn.Module):
    """Ordinary network with its normalisation in front.

    Args:
        network: network that takes a list of float clips (B, C, T, H, W); it is changed.
        preprocessing: values that clips are made with: mean, standard deviation and order of channels.

    Shape: uint8 (B, T, H, W, 3), RGB, one for each pathway -> logits (B, K), or whatever `network` returns.
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing):
        super().__init__()
        self.network = network
        for name, module in list(network.named_modules()):
            if isinstance(module, SqueezeExcitation):
                parent, _, leaf = name.rpartition(".")
                setattr(network.get_submodule(parent), leaf, _SqueezeExcitation(module.block))
        self.normalize = normalize_of(preprocessing, torch.preserve_format)

    def forward(self, *clips_BTHWC: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Normalise the clips and run the network."""
        return self.network([self.normalize(clip.permute(0, 1, 4, 2, 3)) for clip in clips_BTHWC])


class _SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation of fvcore, with its mean over (T, H, W) in two steps.

    OpenVINO adds up the 200,000 values of X3D-M's first stage one after the other, by which logits were off by 3e-4 of
    the largest. Two steps are faster, too (benchmarks/export_parity.py). OpenVINO would join separate means over W, H
    and T again.
    """

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frame_means = F.avg_pool3d(x, (1, *x.shape[3:]))
        return x * self.block(frame_means.mean(dim=2, keepdim=True))


def normalize_of(preprocessing: Preprocessing, memory_format: torch.memory_format) -> Normalize:
    """Return the normalisation of a network's clips, with results in `memory_format`."""
    return Normalize(preprocessing.mean, preprocessing.std, memory_format, preprocessing.reverse_channels)


def input_names(num_pathways: int) -> list[str]:
    """Return the names of an exported network's inputs."""
    return ["clip"] if num_pathways == 1 else ["slow", "fast"]


def random_clips(shapes: tuple[ClipShape, ...], batch: int, seed: int = 0) -> list[torch.Tensor]:
    """Return clips of noise, uint8 (B, T, S, S, 3), one for each of `shapes`."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(batch, shape.frames, shape.size, shape.size, 3) for shape in shapes]
    return [torch.randint(0, 256, size, dtype=torch.uint8, generator=generator) for size in sizes]


def output_names(features: bool) -> list[str]:
    """Return the names of an exported network's outputs.

    Args:
        features: True for a network that gives pooled vectors beside its logits.
    """
    return ["logits", "features"] if features else ["logits"]


def export_program(
    model: SlimmableNet, config: SubnetConfig, preprocessing: Preprocessing, features: bool = False
) -> Any:
    """Return the sub-network as a program of `torch.export`, with folded batch norms, normalisation and any batch size.

    The program contains nothing of the machine that it was made on, such as paths of source files.

    Args:
        model: network that can evaluate `config`.
        config: sub-network.
        preprocessing: values that clips are made with.
        features: True for a second output, the pooled vectors (B, C).

    Raises:
        ValueError: `config` cannot be evaluated, or has no pooled vectors.
    """
    extracted: nn.Module = model.extract(config, fold_norms=True)
    if features:
        extracted = FeatureNet(extracted, classifier_name(model))
    network = ClipNetwork(extracted, preprocessing).eval().cpu()
    clips = tuple(random_clips(model.input_shapes(config), _BATCH))
    batch = torch.export.Dim("batch", min=1, max=1024)
    with CONVERSION, torch.no_grad():
        program = torch.export.export(network, clips, dynamic_shapes=(tuple({0: batch} for _ in clips),))
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program
