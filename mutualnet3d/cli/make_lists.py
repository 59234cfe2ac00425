"""Make lists of videos, train.csv, val.csv and test.csv, and labels.json of a data set.

    mutualnet3d make-lists folders data/ucf101 --output data/ucf101
    mutualnet3d make-lists kinetics train.csv validate.csv test.csv --videos data/k400 --output data/k400

folders: ROOT/train/CLASS/* and ROOT/val/CLASS/* (and ROOT/test/CLASS/*), or ROOT/CLASS/*, which is split at random.
kinetics: the official CSV files; listed videos that are not there are counted and written to missing.csv.
"""

from __future__ import annotations

import argparse

from mutualnet3d.cli.command import Command
from mutualnet3d.files.output import checker_of_folder
from mutualnet3d.log import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True)
    folders = kinds.add_parser("folders", help="a folder for each class")
    folders.add_argument("root", metavar="ROOT", help="folder of the class folders, or of train and val")
    folders.add_argument("--val-fraction", type=float, default=0.2, help="share drawn for validation; default: 0.2")
    folders.add_argument("--seed", type=int, default=0, help="of the draw; default: 0")
    kinetics = kinds.add_parser("kinetics", help="the CSV files of Kinetics-400, 600 or 700")
    kinetics.add_argument("csv", nargs="+", metavar="CSV", help="columns label,youtube_id,time_start,time_end,split")
    kinetics.add_argument("--videos", required=True, metavar="FOLDER", help="videos lie anywhere below it")
    for kind in (folders, kinetics):
        kind.add_argument("--output", required=True, metavar="FOLDER", help="for the lists")


def run(args: argparse.Namespace) -> int:
    from mutualnet3d.data.make_lists import lists_of_folders, lists_of_kinetics

    if args.kind == "folders":
        counts = lists_of_folders(args.root, args.output, val_fraction=args.val_fraction, seed=args.seed)
    else:
        counts = lists_of_kinetics(args.csv, args.videos, args.output)
    print("\n".join(printable(str(count)) for count in counts))
    return 0


_FILES = ("train.csv", "val.csv", "test.csv", "labels.json", "missing.csv")
main = Command(__doc__, add_arguments, run, outputs={"output": checker_of_folder(_FILES)})
