"""List published weights of networks, fetch them, or make a model file of them that predicts.

    mutualnet3d weights                              # networks with published weights, and where their files are
    mutualnet3d weights x3d_m                        # fetch the file
    mutualnet3d weights x3d_m --output x3d_m.pyth    # and make a model file for predict, stream, web and export
    mutualnet3d weights https://server/best.pth --cfg X3D_M.yaml --output best.pyth MODEL.NUM_CLASSES 10

A file is downloaded once, into torch.hub's folder (TORCH_HOME), goes on where it was interrupted, and is checked by its
length, and by the hash that its name has. Without a connection it is put there by hand: the list says under which name.
"""

from __future__ import annotations

import argparse
import logging
import os
import re

from mutualnet3d.cli.command import Command
from mutualnet3d.cli.options import CONFIG_HELP, OVERRIDES_HELP
from mutualnet3d.files.output import check_output_file
from mutualnet3d.log import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d weights`."""
    parser.add_argument(
        "weights",
        nargs="?",
        metavar="NAME|URL|FILE",
        help="network with published weights (x3d_m, x3d_m:kinetics400), an address, or a file; default: list them",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="model file to write, .pyth; default: none, the weights are fetched alone"
    )
    words = f"config of the weights: {CONFIG_HELP}; default: that of the published network"
    parser.add_argument("--cfg", metavar="FILE", help=words)
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help=OVERRIDES_HELP)


def run(args: argparse.Namespace) -> int:
    """List the published weights, or print the path of some, or write a model file; return the exit status."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    from mutualnet3d.config import check_pairs, load_cfg
    from mutualnet3d.models.published import find_weights

    if args.weights is None:
        _print_list()
        return 0
    check_pairs(args.overrides)
    if args.output is None:
        print(printable(find_weights(args.weights).path))
        return 0
    cfg = load_cfg(args.cfg or _cfg_of(args.weights), args.overrides)
    from mutualnet3d.runner.model_of_weights import write_model_of

    class_names = write_model_of(cfg, args.weights, args.output)
    print(printable(f"wrote {args.output}: {len(class_names)} classes, from {class_names[0]} to {class_names[-1]}"))
    return 0


def _print_list() -> None:
    from mutualnet3d.models.published import all_published

    published = all_published()
    width = max(len(weights.model) for weights in published)
    dataset_width = max(len(weights.dataset) for weights in published)
    for weights in published:
        state = "here" if os.path.isfile(weights.path) else "not here"
        print(printable(f"{weights.model:<{width}} {weights.dataset:<{dataset_width}} {state:<8}  {weights.address}"))
        print(printable(f"{'':<{width}} {weights.path}"))


def _cfg_of(weights: str) -> str:
    """Return the name of the config that published weights are of.

    Raises:
        ValueError: there is none for them.
    """
    from mutualnet3d.models import list_models

    model = weights.partition(":")[0]
    if model not in list_models():
        raise ValueError(f"{weights}: --cfg is needed, the config that these weights are of")
    return "_".join(word if re.fullmatch(r"\d+x\d+", word) else word.upper() for word in model.split("_")) + ".yaml"


main = Command(__doc__, add_arguments, run, is_intermixed=True, outputs={"output": check_output_file})
