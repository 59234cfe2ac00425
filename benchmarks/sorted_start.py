#!/usr/bin/env python3
"""Accuracy gained by sorting a static checkpoint's channels, by width: right after loading, and after mutual training.

    python tools/make_demo_data.py --output data/moving_shapes --train 320 --val 1200 --seed 0
    python tools/run_net.py --cfg X3D_tiny.yaml
    python benchmarks/sorted_start.py --checkpoint output/demo_static/calibrated.pyth

Top-1 on the demo's validation clips. Every sub-network is calibrated on training clips in both columns of a pair, so
that they differ in the order of the channels alone.
"""

import argparse
import os
import tempfile

import torch
from program_options import add

import mutualnet3d as m3
from mutualnet3d.engine.checkpoint import save_checkpoint
from mutualnet3d.models import build_model
from mutualnet3d.runner import test, train

WIDTHS = (1.0, 0.9, 0.8, 0.7, 0.63)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="FILE",
        help="calibrated.pyth of the demo's static network (X3D_tiny.yaml)",
    )
    add(parser, "--cfg", "X3D_tiny_mutual.yaml", "FILE", "config of the mutual training to go on with")
    add(parser, "--epochs", 1, "N", "number of epochs of mutual training, 0: without")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY VALUE", help="keys of the config with other values than the file's"
    )
    args = parser.parse_args()
    full = m3.load_cfg(args.cfg, args.overrides)
    keys = [f"w{width}-s{full.DATA.TRAIN_CROP_SIZE}-t{full.DATA.NUM_FRAMES}" for width in WIDTHS]

    columns: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for is_sorted in (False, True):
            name = "sorted" if is_sorted else "as it is"
            columns[f"loaded, {name}"] = _loaded(args, keys, is_sorted, os.path.join(folder, f"loaded_{is_sorted}"))
            if args.epochs:
                column = f"{args.epochs} epochs, {name}"
                columns[column] = _trained(args, keys, is_sorted, os.path.join(folder, f"trained_{is_sorted}"))
    print(f"top-1 in %, {args.cfg} from {args.checkpoint}, {torch.get_num_threads()} threads")
    print("width | " + " | ".join(columns))
    for index, width in enumerate(WIDTHS):
        print(f"{width:5.2f} | " + " | ".join(f"{top1[index]:{len(name)}.2f}" for name, top1 in columns.items()))


def _loaded(args: argparse.Namespace, keys: list[str], is_sorted: bool, folder: str) -> list[float]:
    cfg = m3.load_cfg(args.cfg, args.overrides)
    model = build_model(cfg)
    m3.load_weights(model, args.checkpoint)
    if is_sorted:
        m3.sort_channels(model)
    path = os.path.join(folder, "start.pyth")
    save_checkpoint(path, {"step": 0, "model_state": model.state_dict()})
    return _test(args, keys, ["TEST.CHECKPOINT_FILE_PATH", path, "OUTPUT_DIR", folder])


def _trained(args: argparse.Namespace, keys: list[str], is_sorted: bool, folder: str) -> list[float]:
    overrides = [
        *("TRAIN.CHECKPOINT_FILE_PATH", args.checkpoint, "MUTUAL.SORT_CHANNELS", is_sorted),
        *("SOLVER.MAX_EPOCH", args.epochs, "SOLVER.WARMUP_EPOCHS", 0.0, "SOLVER.BASE_LR", 0.01, "OUTPUT_DIR", folder),
    ]
    train(m3.load_cfg(args.cfg, [*args.overrides, *overrides]))
    return _test(args, keys, overrides)


def _test(args: argparse.Namespace, keys: list[str], overrides: list[object]) -> list[float]:
    settings = ["TEST.SUBNETS", keys, "BN.USE_PRECISE_STATS", True, "TEST.LATENCY_RUNS", 1]
    table = test(m3.load_cfg(args.cfg, [*args.overrides, *overrides, *settings]))
    return [row.top1 for row in sorted(table.rows, key=lambda row: -row.config.width)]


if __name__ == "__main__":
    main()
