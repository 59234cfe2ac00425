#!/usr/bin/env python3
"""Which videos of a list can be decoded: every frame of every one is.

    python tools/check_videos.py --list data/kinetics/train.csv --output report.csv --clean-list train_clean.csv

The report has a line `path,status,reason` for each video that is missing, bad or short. The exit status is 0 if there
is none, 1 if there is one.
"""

import argparse
import logging
import sys

from mutualnet3d.data.check_videos import check_list
from mutualnet3d.log import logger
from mutualnet3d.process_pool import num_cores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", required=True, metavar="FILE", help="lines `path label`")
    parser.add_argument("--output", required=True, metavar="FILE", help="the report, CSV")
    parser.add_argument("--clean-list", default="", metavar="FILE", help="write a list of the good videos here")
    parser.add_argument("--path-prefix", default="", help="put before relative paths; default: the list's folder")
    parser.add_argument("--separator", default=" ", help="between path and label; default: a space")
    parser.add_argument("--label-file", default="", metavar="FILE", help="names of the classes, if labels are names")
    parser.add_argument("--min-frames", type=int, default=1, help="a video of fewer is short; default: 1")
    parser.add_argument("--workers", type=int, default=num_cores(), help="number of processes; default: the cores")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds that one video may take; default: 300")
    args = parser.parse_args()
    logging.basicConfig(format="[%(asctime)s] %(message)s", datefmt="%m-%d %H:%M:%S")
    logger.setLevel(logging.INFO)
    try:
        summary = check_list(
            args.list,
            args.output,
            clean_list=args.clean_list,
            path_prefix=args.path_prefix,
            separator=args.separator,
            label_file=args.label_file,
            min_frames=args.min_frames,
            workers=args.workers,
            timeout=args.timeout,
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary)
    return 0 if summary.all_ok else 1


if __name__ == "__main__":
    sys.exit(main())
