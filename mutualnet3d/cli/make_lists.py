#!/usr/bin/env python3
"""Lists of videos (train.csv, val.csv, test.csv) and labels.json from what a data set comes as.

    python tools/make_annotations.py folders data/ucf101 --output data/ucf101
    python tools/make_annotations.py kinetics train.csv validate.csv test.csv --videos data/k400 --output data/k400

folders: ROOT/train/CLASS/* and ROOT/val/CLASS/* (and ROOT/test/CLASS/*), or ROOT/CLASS/*, which is split at random.
kinetics: the official CSV files; listed videos that are not there are counted and written to missing.csv.
"""

import argparse
import sys

from mutualnet3d.data.make_lists import lists_of_folders, lists_of_kinetics


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    folders = kinds.add_parser("folders", help="a folder for each class")
    folders.add_argument("root", metavar="ROOT", help="folder of the class folders, or of train and val")
    folders.add_argument("--val-fraction", type=float, default=0.2, help="share drawn for validation; default: 0.2")
    folders.add_argument("--seed", type=int, default=0, help="of the draw; default: 0")
    kinetics = kinds.add_parser("kinetics", help="the CSV files of Kinetics-400, 600 or 700")
    kinetics.add_argument("csv", nargs="+", metavar="CSV", help="columns label,youtube_id,time_start,time_end,split")
    kinetics.add_argument("--videos", required=True, metavar="FOLDER", help="videos lie anywhere below it")
    for kind in (folders, kinetics):
        kind.add_argument("--output", required=True, metavar="FOLDER", help="where the lists go")
    args = parser.parse_args()
    try:
        if args.kind == "folders":
            counts = lists_of_folders(args.root, args.output, val_fraction=args.val_fraction, seed=args.seed)
        else:
            counts = lists_of_kinetics(args.csv, args.videos, args.output)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, counts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
