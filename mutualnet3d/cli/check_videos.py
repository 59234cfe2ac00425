"""Find the videos of lists that training cannot use, by decoding every frame, and those that lists share.

    mutualnet3d check-videos --list data/kinetics/train.csv --output report.csv --clean-list train_clean.csv
    mutualnet3d check-videos --list data/mine/train.csv data/mine/val.csv data/mine/test.csv --output report.csv

A video is bad if training would replace it: it cannot be decoded, or gives other frames if they are asked for alone.
The report has a line `path,status,reason,note,listed_at` for each video that is missing, bad or short, or that is used
with a note: fewer frames than its file promises, frames with concealed errors, or the same path or content as a video
of another list. With --shared any number of machines does the check together, each by the same command; --status in its
place says how far they are.

Exit status: 0 if all videos are ok, with notes or not, 1 if one is missing, bad or short, 2 if the command is wrong.
"""

from __future__ import annotations

import argparse

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.cli.parser import at_least
from mutualnet3d.files.output import check_output_file
from mutualnet3d.log import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d check-videos`."""
    parser.add_argument("--list", required=True, nargs="+", metavar="FILE", help="lists to check, lines `path label`")
    parser.add_argument("--output", required=True, metavar="FILE", help="report to write, .csv")
    words = "lists of the good videos to write, as many as --list has"
    parser.add_argument("--clean-list", default=[], nargs="+", metavar="FILE", help=words)
    options.add_lists(parser)
    words = "least number of frames; a video of fewer is short; default: 1"
    parser.add_argument("--min-frames", type=at_least(1), default=1, metavar="N", help=words)
    options.add_workers(parser, timeout=300.0)
    options.add_sharing(parser)


def run(args: argparse.Namespace) -> int:
    """Decode the listed videos and write the report; return 0 if all can be used, else 1."""
    from mutualnet3d.data.check_lists import check_lists, status_of
    from mutualnet3d.data.lists import without_reports

    if args.status:
        print(printable(status_of(args.output), keep="\n"))
        return 0
    log_to_terminal()
    summary = check_lists(
        without_reports(args.list),
        args.output,
        clean_lists=args.clean_list,
        path_prefix=args.path_prefix,
        separator=args.separator,
        label_file=args.label_file,
        min_frames=args.min_frames,
        workers=args.workers,
        timeout=args.timeout,
        sharing=options.sharing_of(args),
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
