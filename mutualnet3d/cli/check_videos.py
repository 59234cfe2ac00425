"""Find the videos of a list that cannot be decoded, by decoding every frame of every one.

    mutualnet3d check-videos --list data/kinetics/train.csv --output report.csv --clean-list train_clean.csv

The report has a line `path,status,reason` for each video that is missing, bad or short. The exit status is 0 if there
is none, 1 if there is one.
"""

from __future__ import annotations

import argparse

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.files.output import check_output_file
from mutualnet3d.log import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", required=True, metavar="FILE", help="lines `path label`")
    parser.add_argument("--output", required=True, metavar="FILE", help="the report, CSV")
    parser.add_argument("--clean-list", default="", metavar="FILE", help="write a list of the good videos here")
    options.add_lists(parser)
    parser.add_argument("--min-frames", type=int, default=1, help="a video of fewer is short; default: 1")
    options.add_workers(parser, timeout=300.0)


def run(args: argparse.Namespace) -> int:
    from mutualnet3d.data.check_videos import check_list

    log_to_terminal()
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
    print(printable(str(summary), keep="\n"))
    return 0 if summary.all_ok else 1


main = Command(
    __doc__,
    add_arguments,
    run,
    catches_sigterm=True,
    outputs={"output": check_output_file, "clean_list": check_output_file},
)
