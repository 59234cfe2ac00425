#!/usr/bin/env python3
"""What the sub-networks of a config cost: multiply-adds per clip and parameters. Nothing is run at full size.

    python tools/complexity.py --cfg SLOW_8x8_R50_mutual.yaml
    python tools/complexity.py --cfg SLOWFAST_4x16_R50_mutual.yaml --paper

Printed is the grid MUTUAL.TEST_WIDTHS x TEST.SIZES x MUTUAL.FRAMES; with --paper the sub-networks of the paper's
results on Kinetics-400 instead, beside its figures.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import torch

from mutualnet3d.config import load_cfg
from mutualnet3d.models import SlimmableNet, build_model, costs
from mutualnet3d.results.paper import paper_results
from mutualnet3d.runner import build_test_space, paper_results_of
from mutualnet3d.shapes import SubnetConfig

if TYPE_CHECKING:
    from fvcore.common.config import CfgNode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", required=True, help="a YAML file: its path, or its name under configs/")
    parser.add_argument("--paper", action="store_true", help="the paper's sub-networks, beside its figures")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="override the file's values")
    args = parser.parse_args()
    try:
        cfg = load_cfg(args.cfg, args.overrides)
        with torch.device("meta"):  # shapes are all that is needed
            model = build_model(cfg)
        print(_paper_table(cfg, model, args.cfg) if args.paper else _grid_table(cfg, model))
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _grid_table(cfg: CfgNode, model: SlimmableNet) -> str:
    space = build_test_space(cfg)
    lines = [_input(cfg, model), f"{'sub-network':18} {'GFLOPs':>9} {'params (M)':>11}"]
    lines += [_costs(model, config)[1] for config in space.grid(cfg.MUTUAL.TEST_WIDTHS or space.width_range)]
    return "\n".join(lines)


def _paper_table(cfg: CfgNode, model: SlimmableNet, source: str) -> str:
    paper = paper_results_of(cfg)
    if paper is None:
        networks = ", ".join(paper_results())
        raise ValueError(f"{source}: the paper has no results of this network; it has them of {networks}")
    lines = [
        _input(cfg, model),
        f"paper: MutualNet, TPAMI 2022, arXiv 2105.07085, read off its figures; {paper.views}",
        f"{'sub-network':18} {'GFLOPs':>9} {'params (M)':>11} {'paper':>8} {'difference':>11} {'top-1':>7}",
    ]
    for row in paper.rows:
        counted, line = _costs(model, row.config)
        lines.append(f"{line} {row.gflops:8.3f} {counted / row.gflops - 1:+11.2%} {row.top1:7.2f}")
    return "\n".join(lines)


def _costs(model: SlimmableNet, config: SubnetConfig) -> tuple[float, str]:
    """GFLOPs, and the line that says them."""
    operations, parameters = costs(model, config)
    return operations / 1e9, f"{config!s:18} {operations / 1e9:9.3f} {parameters / 1e6:11.3f}"


def _input(cfg: CfgNode, model: SlimmableNet) -> str:
    clips = " and ".join(str(shape) for shape in model.input_shapes(model.full))
    return (
        f"{cfg.MODEL.ARCH}, full network trained at {clips}, {cfg.MODEL.NUM_CLASSES} classes. GFLOPs: 1e9 "
        "multiply-adds of convolutions and linear layers per clip of frames x size x size (sub-network: w, s, t)"
    )


if __name__ == "__main__":
    sys.exit(main())
