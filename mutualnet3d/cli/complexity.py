"""Print the costs of a config's sub-networks: multiply-adds per clip and parameters. Nothing is run at full size.

    mutualnet3d complexity --cfg SLOW_8x8_R50_mutual.yaml
    mutualnet3d complexity --cfg SLOWFAST_4x16_R50_mutual.yaml --paper

Printed is the grid MUTUAL.TEST_WIDTHS x TEST.SIZES x MUTUAL.FRAMES; with --paper the sub-networks of the paper's
results on Kinetics-400 instead, beside its figures.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mutualnet3d.cli.command import Command
from mutualnet3d.cli.options import OVERRIDES_HELP, add_cfg
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from fvcore.common.config import CfgNode

    from mutualnet3d.models import SlimmableNet
    from mutualnet3d.shapes import SubnetConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d complexity`."""
    add_cfg(parser)
    parser.add_argument("--paper", action="store_true", help="print the paper's sub-networks, beside its figures")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help=OVERRIDES_HELP)


def run(args: argparse.Namespace) -> int:
    """Print the multiply-adds and parameters of the config's sub-networks; return the exit status."""
    import torch

    from mutualnet3d.config import load_cfg
    from mutualnet3d.models import build_model

    cfg = load_cfg(args.cfg, args.overrides)
    with torch.device("meta"):  # shapes are all that is needed
        model = build_model(cfg)
    table = _paper_table(cfg, model, args.cfg) if args.paper else _grid_table(cfg, model)
    print(printable(table, keep="\n"))
    return 0


def _grid_table(cfg: CfgNode, model: SlimmableNet) -> str:
    from mutualnet3d.runner import build_test_space

    space = build_test_space(cfg)
    lines = [_input(cfg, model), f"{'sub-network':18} {'GFLOPs':>9} {'params (M)':>11}"]
    lines += [_costs(model, config)[1] for config in space.grid(cfg.MUTUAL.TEST_WIDTHS or space.width_range)]
    return "\n".join(lines)


def _paper_table(cfg: CfgNode, model: SlimmableNet, origin: str) -> str:
    from mutualnet3d.results.paper import paper_results
    from mutualnet3d.runner import paper_results_of

    paper = paper_results_of(cfg)
    if paper is None:
        networks = ", ".join(paper_results())
        raise ValueError(f"{origin}: the paper has no results of this network; it has them of {networks}")
    lines = [
        _input(cfg, model),
        f"paper: MutualNet, TPAMI 2022, arXiv 2105.07085, read off its figures; {paper.views}",
        f"{'sub-network':18} {'GFLOPs':>9} {'params (M)':>11} {'paper':>8} {'difference':>11} {'top-1':>7}",
    ]
    for row in paper.rows:
        gflops, line = _costs(model, row.config)
        lines.append(f"{line} {row.gflops:8.3f} {gflops / row.gflops - 1:+11.2%} {row.top1:7.2f}")
    return "\n".join(lines)


def _costs(model: SlimmableNet, config: SubnetConfig) -> tuple[float, str]:
    """Return the GFLOPs, and their line of the table."""
    from mutualnet3d.models import costs

    operations, parameters = costs(model, config)
    return operations / 1e9, f"{config!s:18} {operations / 1e9:9.3f} {parameters / 1e6:11.3f}"


def _input(cfg: CfgNode, model: SlimmableNet) -> str:
    clips = " and ".join(str(shape) for shape in model.input_shapes(model.full))
    return (
        f"{cfg.MODEL.ARCH}, full network trained at {clips}, {cfg.MODEL.NUM_CLASSES} classes. GFLOPs: 1e9 "
        "multiply-adds of convolutions and linear layers per clip of frames x size x size (sub-network: w, s, t)"
    )


main = Command(__doc__, add_arguments, run)
