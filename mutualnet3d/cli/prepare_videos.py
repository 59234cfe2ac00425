"""Re-encode a data set's videos so that training reads them quickly: small, regular key frames, no sound.

    mutualnet3d prepare-videos --input data/kinetics --output data/kinetics_256 --lists data/kinetics/*.csv

A video that is there already is left out, so that a run which was stopped goes on; prepared.csv in the output folder
says what each was made of, and with which settings: other ones need --redo or --keep, changed videos are made anew.
Videos that cannot be encoded are left out too and written to failed.csv. With the lists come labels.json and
missing.csv; other reports that lie beside them are passed over. With --shared any number of machines does the work
together, each by the same command; --status in its place says how far they are.

Exit status: 0 if all videos are encoded, 1 if one could not be, 2 if the command is wrong.
"""

from __future__ import annotations

import argparse

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.files.output import checker_of_folder
from mutualnet3d.log import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d prepare-videos`."""
    from mutualnet3d.video.transcode import PRESETS, Encoding

    usual = Encoding()
    parser.add_argument("--input", required=True, metavar="FOLDER", help="folder of the videos to encode, at any depth")
    words = "folder of the new videos, with the same folders and names, as .mp4"
    parser.add_argument("--output", required=True, metavar="FOLDER", help=words)
    words = f"largest length of a picture's short side, pixels, even; default: {usual.short_side}"
    parser.add_argument("--short-side", type=int, default=usual.short_side, metavar="PIXELS", help=words)
    words = f"number of frames from a key frame to the next; default: {usual.keyframe_every}"
    parser.add_argument("--keyframe-every", type=int, default=usual.keyframe_every, metavar="FRAMES", help=words)
    words = f"quality of x264, 0 (best) to 51; default: {usual.crf}"
    parser.add_argument("--crf", type=int, default=usual.crf, metavar="N", help=words)
    words = f"speed of x264; slower ones make smaller files; default: {usual.preset}"
    parser.add_argument("--preset", choices=PRESETS, default=usual.preset, help=words)
    answers = parser.add_mutually_exclusive_group()
    answers.add_argument("--redo", action="store_true", help="encode anew what was encoded with other settings")
    answers.add_argument("--keep", action="store_true", help="leave what was encoded with other settings as it is")
    parser.add_argument("--lists", nargs="+", default=[], metavar="FILE", help="lists to rewrite for the new videos")
    options.add_lists(parser)
    options.add_workers(parser, timeout=3600.0)
    options.add_sharing(parser)


def run(args: argparse.Namespace) -> int:
    """Encode the videos for training; return 0 if all were written, else 1."""
    from mutualnet3d.data.prepare_videos import KEEP, REDO, REFUSE, prepare_videos, status_of
    from mutualnet3d.video.transcode import Encoding

    if args.status:
        print(printable(status_of(args.output), keep="\n"))
        return 0
    log_to_terminal()
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
        existing=REDO if args.redo else KEEP if args.keep else REFUSE,
        sharing=options.sharing_of(args),
    )
    print(printable(str(summary), keep="\n"))
    return 1 if summary.failed else 0


_FILES = ("failed.csv", "prepared.csv", "labels.json", "missing.csv")
main = Command(__doc__, add_arguments, run, catches_sigterm=True, outputs={"output": checker_of_folder(_FILES)})
