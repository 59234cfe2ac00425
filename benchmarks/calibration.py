#!/usr/bin/env python3
"""Number of training batches that calibration needs, and accuracy that statistics interpolated over width lose.

    make demo
    python benchmarks/calibration.py --checkpoint output/demo/calibrated.pyth

For each number of batches and each of three draws of training clips, sub-networks are calibrated and tested. Printed is
top-1, its mean and standard deviation over the draws, and how far the layers' standard deviations are from those of all
batches. Then, for widths between two others, top-1 with interpolated statistics less that with calibrated ones, by how
far apart the two are.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence

import torch
from program_options import add

import mutualnet3d as m3
from mutualnet3d.data.build_loaders import build_val_loader
from mutualnet3d.distributed.launch import Launch
from mutualnet3d.models.interpolate import interpolated
from mutualnet3d.mutual import SubnetConfig
from mutualnet3d.runner.session import Session

NUMBERS = (1, 2, 4, 8, 16, 60)
DRAWS = 3
NUM_WIDTHS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="calibrated.pyth of a mutual training")
    add(parser, "--cfg", "X3D_tiny_mutual.yaml", "FILE", "config of that training")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY VALUE", help="keys of the config with other values than the file's"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print_batches(args, folder)
        print_interpolated(args, folder)


def session_of(args: argparse.Namespace, folder: str, draw: int, num_batches: int) -> Session:
    """Return a session with the checkpoint's weights, whose calibration has clips of its own draw."""
    overrides = ["RNG_SEED", draw, "BN.NUM_BATCHES_PRECISE", num_batches, "OUTPUT_DIR", os.path.join(folder, "output")]
    session = Session(m3.load_cfg(args.cfg, [*args.overrides, *overrides]), Launch())
    m3.load_weights(session.model, args.checkpoint)
    session.model.statistics.clear()
    return session


def top1_of(session: Session, configs: Sequence[SubnetConfig]) -> dict[SubnetConfig, float]:
    split = session.read_split("val")
    loader = build_val_loader(session.cfg, split, session.shapes(configs), session.shard)
    result = session.evaluate(session.model, configs, loader, split, num_views=1)
    return {config: accuracy.top1 for config, accuracy in result.accuracies.items()}


def print_batches(args: argparse.Namespace, folder: str) -> None:
    """Print accuracy and error of the statistics over the number of batches."""
    rows: dict[int, list[tuple[dict[SubnetConfig, float], float]]] = {}
    configs: tuple[SubnetConfig, ...] = ()
    for draw in range(DRAWS):
        reference = None
        for number in reversed(NUMBERS):
            session = session_of(args, folder, draw, number)
            space = session.space
            middle = SubnetConfig(round(sum(space.width_range) / 2, 3), sorted(space.sizes)[-2], max(space.frames))
            configs = (space.full, middle, space.smallest)
            session.calibrate(session.model, configs, session.read_split("train"))
            deviations = {config: deviations_of(session, config) for config in configs}
            reference = reference or deviations
            errors = [(deviations[config] / reference[config] - 1).abs().median().item() for config in configs]
            rows.setdefault(number, []).append((top1_of(session, configs), statistics.mean(errors)))
    print(f"top-1 in %, mean +- deviation of {DRAWS} draws of {session.cfg.TRAIN.BATCH_SIZE} clips a batch")
    print(
        "batches  " + "  ".join(f"{config!s:16}" for config in configs) + "  error of the layers' deviations (median)"
    )
    for number in NUMBERS:
        cells = [[top1[config] for top1, _ in rows[number]] for config in configs]
        error = statistics.mean(deviation for _, deviation in rows[number])
        texts = (f"{statistics.mean(cell):.2f} +- {statistics.stdev(cell):.2f}" for cell in cells)
        print(f"{number:7}  " + "  ".join(f"{text:16}" for text in texts) + f"  {error:.2%}")


def deviations_of(session: Session, config: SubnetConfig) -> torch.Tensor:
    """Return the standard deviations of all channels of all batch norms."""
    return torch.cat([variance.sqrt() for _, variance in session.model.statistics[config].values()])


def print_interpolated(args: argparse.Namespace, folder: str) -> None:
    """Print the accuracy that interpolated statistics lose, by the distance of the widths that they lie between."""
    session = session_of(args, folder, 0, max(NUMBERS))
    model, space = session.model, session.space
    low, high = space.width_range
    widths = [round(low + (high - low) * place / (NUM_WIDTHS - 1), 3) for place in range(NUM_WIDTHS)]
    shapes = [(max(space.sizes), max(space.frames)), (min(space.sizes), min(space.frames))]
    configs = [SubnetConfig(width, size, frames) for size, frames in shapes for width in widths]
    session.calibrate(model, configs, session.read_split("train"))
    statistics, calibrated = model.statistics, dict(model.statistics)
    exact = top1_of(session, configs)
    print("top-1 with interpolated statistics less that with calibrated ones, points")
    for gap in (2, 4):  # in steps of the grid
        losses = {}
        for size, frames in shapes:
            for first in range(NUM_WIDTHS - gap):
                ends = [SubnetConfig(widths[place], size, frames) for place in (first, first + gap)]
                for place in range(first + 1, first + gap):
                    config = SubnetConfig(widths[place], size, frames)
                    with statistics.replaced({end: calibrated[end] for end in ends}):
                        statistics.set(config, interpolated(model, config), interpolated=True)
                        losses[config] = top1_of(session, [config])[config] - exact[config]
        width_gap = (high - low) * gap / (NUM_WIDTHS - 1)
        texts = ", ".join(f"{config} {loss:+.2f}" for config, loss in losses.items())
        print(f"  between widths {width_gap:.3f} apart: {texts}")


if __name__ == "__main__":
    main()
