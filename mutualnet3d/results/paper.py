"""The paper's results on Kinetics-400, read off its figures: what a training of ours is held against.

MutualNet, TPAMI 2022, arXiv 2105.07085; the file beside this module says how the numbers were obtained.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from mutualnet3d.shapes import SubnetConfig

# The paper's networks: key in its table -> what a config of it has.
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
    """A sub-network of the paper's.

    Args:
        config: width, size, frames; of SlowFast the Slow pathway's.
        gflops: 1e9 multiply-adds of one clip, as the paper gives them.
        top1: on Kinetics-400's validation videos, percent.
    """

    config: SubnetConfig
    gflops: float
    top1: float


@dataclass(frozen=True)
class PaperResults:
    """One network's results.

    Args:
        network: "x3d_m", "slow_8x8" or "slowfast_4x16".
        views: how many clips and crops of a video were averaged.
        rows: the sub-networks of one mutual training, the most expensive first.
        separate: (gflops, top1) of networks trained one by one, as their own authors published them.
        reproduced: the same as MutualNet's authors found them; not of all.
    """

    network: str
    views: str
    rows: tuple[PaperRow, ...]
    separate: tuple[tuple[float, float], ...]
    reproduced: tuple[tuple[float, float], ...]


def paper_results() -> dict[str, PaperResults]:
    """The paper's results by network."""
    text = resources.files("mutualnet3d.results").joinpath("kinetics_tradeoff.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return {
        network: PaperResults(
            network=network,
            views=content[network]["views"],
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
    """The paper's results of a network, or None where it has none.

    Args:
        arch: "x3d", "slow", "slowfast"...
        depth: of the ResNet, 50 or 101; X3D has none of that kind.
        alpha: SlowFast's ratio of frame rates; no other network's.
        num_frames: of the full network's clip, DATA.NUM_FRAMES: SlowFast's Fast pathway.
        sampling_rate: of `num_frames`, DATA.SAMPLING_RATE.
        crop_size: of the full network in training, DATA.TRAIN_CROP_SIZE; X3D-L differs from X3D-M in it.
    """
    found = {
        "arch": arch,
        "depth": depth,
        "alpha": alpha,
        "num_frames": num_frames,
        "sampling_rate": sampling_rate,
        "crop_size": crop_size,
    }
    for network, wanted in _NETWORKS.items():
        if all(found[name] == value for name, value in wanted.items()):
            return paper_results()[network]
    return None
