"""The paper's results on Kinetics-400, read off its figures, for comparison with a training.

MutualNet, TPAMI 2022, arXiv 2105.07085; the file beside this module describes the origin of the numbers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from mutualnet3d.shapes import SubnetConfig

# The paper's networks: key in its table -> settings that a config of it has.
_NETWORKS: dict[str, dict[str, object]] = {
    "x3d_m": {"arch": "x3d", "num_frames": 16, "sampling_rate": 5, "crop_size": 224},
    "slow_8x8": {"arch": "slow", "depth": 50, "num_frames": 8, "sampling_rate": 8, "crop_size": 224},
    "slowfast_4x16": {
        "arch": "slowfast",
        "depth": 50,
        "alpha": 8,
        "num_frames": 32,
        "sampling_rate": 2,
        "crop_size": 224,
    },
}


@dataclass(frozen=True)
class PaperRow:
    """Sub-network in the paper's results.

    Args:
        config: width, size and frames, of SlowFast those of the Slow pathway.
        gflops: 1e9 multiply-adds of one clip, by the paper.
        top1: accuracy on Kinetics-400's validation videos, percent.
    """

    config: SubnetConfig
    gflops: float
    top1: float


@dataclass(frozen=True)
class PaperResults:
    """Results of a network in the paper.

    Args:
        network: name of the network, "x3d_m", "slow_8x8" or "slowfast_4x16".
        views: numbers of averaged clips and crops of a video, in words.
        num_views: number of views of a video, the factor from the GFLOPs of a clip to those of a video.
        rows: sub-networks of one mutual training, the most expensive first.
        separate: networks trained one by one, (gflops, top1), as published by their own authors.
        reproduced: some of these networks, (gflops, top1), as measured by MutualNet's authors.
    """

    network: str
    views: str
    num_views: int
    rows: tuple[PaperRow, ...]
    separate: tuple[tuple[float, float], ...]
    reproduced: tuple[tuple[float, float], ...]


def paper_results() -> dict[str, PaperResults]:
    """Return the paper's results, by network."""
    text = resources.files("mutualnet3d.results").joinpath("kinetics_tradeoff.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return {
        network: PaperResults(
            network=network,
            views=content[network]["views"],
            num_views=content[network]["num_views"],
            rows=tuple(
                PaperRow(SubnetConfig(width, size, frames), gflops, top1)
                for width, size, frames, gflops, top1 in content[network]["rows"]
            ),
            separate=tuple((gflops, top1) for gflops, top1 in content[network]["separately_trained_published"]),
            reproduced=tuple((gflops, top1) for gflops, top1 in content[network]["separately_trained_reproduced"]),
        )
        for network in _NETWORKS
    }


def results_of(
    *, arch: str, depth: int, alpha: int, num_frames: int, sampling_rate: int, crop_size: int
) -> PaperResults | None:
    """Return the paper's results of a network; None without any.

    Args:
        arch: architecture, "x3d", "slow", "slowfast"...
        depth: depth of the ResNet, 50 or 101; ignored for X3D.
        alpha: ratio of frame rates of SlowFast; ignored for other networks.
        num_frames: frames of the full network's clip, DATA.NUM_FRAMES, in SlowFast of the Fast pathway.
        sampling_rate: source frames from one frame of the clip to the next, DATA.SAMPLING_RATE.
        crop_size: side of the full network's crop in training, DATA.TRAIN_CROP_SIZE, pixels, in which X3D-L differs
            from X3D-M.
    """
    settings = {
        "arch": arch,
        "depth": depth,
        "alpha": alpha,
        "num_frames": num_frames,
        "sampling_rate": sampling_rate,
        "crop_size": crop_size,
    }
    for network, needed in _NETWORKS.items():
        if all(settings[name] == value for name, value in needed.items()):
            return paper_results()[network]
    return None
