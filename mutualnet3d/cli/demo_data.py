"""Writes the moving-shapes demo data: short videos whose class is a motion, with Kinetics-style lists.

python tools/make_demo_data.py --output data/moving_shapes
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from tqdm import tqdm

from mutualnet3d.demo.moving_shapes import DEFAULT_CLASSES, make_data_set


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder of the data set")
    parser.add_argument("--train", type=int, default=960, help="number of training clips")
    parser.add_argument("--val", type=int, default=240, help="number of validation clips")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is random")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="number of processes")
    parser.add_argument("--fps", type=int, default=24, help="frames per second")
    parser.add_argument("--height", type=int, default=72, help="frame height in pixels, even")
    parser.add_argument("--width", type=int, default=96, help="frame width in pixels, even, the height or more")
    parser.add_argument("--classes", nargs="+", metavar="CLASS", default=DEFAULT_CLASSES, help="labelled in this order")
    parser.add_argument("--overwrite", action="store_true", help="replace another set in the folder")
    return parser.parse_args(arguments)


def _progress(bar: tqdm) -> Callable[[int, int], None]:
    """Moves the bar or, where it is disabled, prints a line at every tenth of the clips."""

    def show(done: int, total: int) -> None:
        bar.update()
        if bar.disable and done * 10 // total > (done - 1) * 10 // total:
            print(f"{done} of {total} clips", flush=True)

    return show


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        with tqdm(total=options.train + options.val, unit="clip", disable=not sys.stderr.isatty()) as bar:
            written = make_data_set(
                options.output,
                num_train=options.train,
                num_val=options.val,
                seed=options.seed,
                num_workers=options.workers,
                fps=options.fps,
                height=options.height,
                width=options.width,
                classes=options.classes,
                overwrite=options.overwrite,
                progress=_progress(bar),
            )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: {'written' if written else 'holds this data set already, nothing to do'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
