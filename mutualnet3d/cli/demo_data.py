"""Write the moving-shapes demo data with Kinetics-style lists.

    mutualnet3d demo-data --output data/moving_shapes
    mutualnet3d demo-data --output data/small --train 64 --val 32 --seed 1

The class of a short video is the motion of a shape and the direction of its stripes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command
from mutualnet3d.cli.parser import at_least
from mutualnet3d.files.output import checker_of_folder
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from tqdm import tqdm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d demo-data`."""
    from mutualnet3d.demo import STRIPED_CLASSES

    def add(name: str, default: int, help: str, metavar: str = "N") -> None:
        words = f"{help}; default: {default}"
        parser.add_argument(
            f"--{name}", type=at_least(0 if name == "seed" else 1), default=default, metavar=metavar, help=words
        )

    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder of the data set")
    add("train", 320, "number of training clips")
    add("val", 1200, "number of validation clips")
    add("seed", 0, "seed of all that is random")
    options.add_workers(parser)
    add("fps", 12, "frames per second")
    add("height", 72, "frame height in pixels, even", "PIXELS")
    add("width", 96, "frame width in pixels, even, the height or more", "PIXELS")
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="CLASS",
        default=STRIPED_CLASSES,
        help=f"classes in the order of their labels; default: {' '.join(STRIPED_CLASSES)}",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace another set in the folder")


def run(args: argparse.Namespace) -> int:
    """Write the videos and lists; return the exit status."""
    from tqdm import tqdm

    from mutualnet3d.demo import STRIPED_STYLE, make_data_set

    with tqdm(total=args.train + args.val, unit="clip", disable=not sys.stderr.isatty()) as bar:
        is_written = make_data_set(
            args.output,
            num_train=args.train,
            num_val=args.val,
            seed=args.seed,
            num_workers=args.workers,
            fps=args.fps,
            height=args.height,
            width=args.width,
            style=STRIPED_STYLE,
            classes=args.classes,
            overwrite=args.overwrite,
            progress=_progress(bar),
        )
    outcome = "written" if is_written else "holds this data set already, nothing to do"
    print(printable(f"{args.output}: {outcome}"))
    return 0


def _progress(bar: tqdm) -> Callable[[int, int], None]:
    """Return a callback that moves the bar or, where it is disabled, prints a line at every tenth of the clips."""

    def show(done: int, total: int) -> None:
        bar.update()
        if bar.disable and done * 10 // total > (done - 1) * 10 // total:
            print(printable(f"{done} of {total} clips"), flush=True)

    return show


_FILES = ("train.csv", "val.csv", "test.csv", "classes.json", "moving_shapes.json")
main = Command(
    __doc__,
    add_arguments,
    run,
    catches_sigterm=True,
    outputs={"output": checker_of_folder(_FILES, ("train", "val"))},
)
