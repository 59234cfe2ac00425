#!/usr/bin/env python3
"""Re-encode a data set's videos so that training reads them quickly: small, regular key frames, no sound.

    python tools/prepare_videos.py --input data/kinetics --output data/kinetics_256 --lists data/kinetics/*.csv

What is there already is passed over, so that a run which was stopped goes on. Videos that cannot be encoded are passed
over too and written to failed.csv in the output folder; the exit status is then 1.
"""

import argparse
import logging
import sys

from mutualnet3d.data.prepare_videos import PRESETS, Encoding, prepare_videos
from mutualnet3d.log import logger
from mutualnet3d.process_pool import num_cores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = Encoding()
    parser.add_argument("--input", required=True, metavar="FOLDER", help="every video below it is encoded")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="the same folders and names, as .mp4")
    parser.add_argument(
        "--short-side", type=int, default=usual.short_side, help="pixels, at most; default: %(default)s"
    )
    parser.add_argument(
        "--keyframe-every", type=int, default=usual.keyframe_every, metavar="FRAMES", help="default: %(default)s"
    )
    parser.add_argument("--crf", type=int, default=usual.crf, help="quality, 0 best to 51; default: %(default)s")
    parser.add_argument("--preset", choices=PRESETS, default=usual.preset, help="speed; default: %(default)s")
    parser.add_argument("--workers", type=int, default=num_cores(), help="number of processes; default: the cores")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds that one video may take; default: 3600")
    parser.add_argument("--lists", nargs="+", default=[], metavar="FILE", help="lists to rewrite for the new videos")
    parser.add_argument("--path-prefix", default="", help="of the lists' relative paths; default: the list's folder")
    parser.add_argument("--separator", default=" ", help="of the lists; default: a space")
    parser.add_argument("--label-file", default="", metavar="FILE", help="names of the classes, if labels are names")
    args = parser.parse_args()
    logging.basicConfig(format="[%(asctime)s] %(message)s", datefmt="%m-%d %H:%M:%S")
    logger.setLevel(logging.INFO)
    try:
        summary = prepare_videos(
            args.input,
            args.output,
            Encoding(args.short_side, args.keyframe_every, args.crf, args.preset),
            lists=args.lists,
            path_prefix=args.path_prefix,
            separator=args.separator,
            label_file=args.label_file,
            workers=args.workers,
            timeout=args.timeout,
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary)
    return 1 if summary.failed else 0


if __name__ == "__main__":
    sys.exit(main())
