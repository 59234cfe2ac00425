r"""Make lists of videos, train.csv, val.csv and test.csv, and labels.json of a data set.

    mutualnet3d make-lists folders videos --output data/mine
    mutualnet3d make-lists kinetics train.csv validate.csv test.csv --videos data/k400 --output data/k400
    mutualnet3d make-lists ucf101 ucfTrainTestlist --videos UCF-101 --output data/ucf101 --split 1
    mutualnet3d make-lists hmdb51 testTrainMulti_7030_splits --videos hmdb51 --output data/hmdb51 --split 1
    mutualnet3d make-lists mmaction2 --train kinetics400_train_list_rawframes.txt \
        --val kinetics400_val_list_rawframes.txt --videos rawframes --output data/k400
    mutualnet3d make-lists charades --train Charades_v1_train.csv --val Charades_v1_test.csv \
        --classes Charades_v1_classes.txt --videos Charades_v1_480 --output data/charades

folders: ROOT/train/CLASS/* and ROOT/val/CLASS/* (and ROOT/test/CLASS/*), or ROOT/CLASS/*, which is split at random,
with --group so that all clips of a recording come into one split.
kinetics: the official CSV files. ucf101, hmdb51: the official splits, of which the test videos become val.csv and
test.csv. mmaction2: lists of videos, or of folders of pictures (raw frames). charades: its CSV files, whose videos have
several labels each.
Listed videos that are not there are counted and written to missing.csv.
"""

from __future__ import annotations

import argparse

from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.files.output import checker_of_folder
from mutualnet3d.log import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the kinds of data sets, each with its options, of `mutualnet3d make-lists`."""
    kinds = parser.add_subparsers(dest="kind", required=True)
    folders = kinds.add_parser("folders", help="a folder for each class")
    folders.add_argument("root", metavar="ROOT", help="folder of the class folders, or of train and val")
    folders.add_argument("--val-fraction", type=float, default=0.2, help="share drawn for validation; default: 0.2")
    folders.add_argument("--seed", type=int, default=0, help="of the draw; default: 0")
    folders.add_argument(
        "--group",
        default="",
        metavar="PATTERN",
        help="regular expression: its first group is a video's recording, by its name: '(.+)_c\\d+'",
    )
    kinetics = kinds.add_parser("kinetics", help="the CSV files of Kinetics-400, 600 or 700")
    kinetics.add_argument("csv", nargs="+", metavar="CSV", help="columns label,youtube_id,time_start,time_end,split")
    ucf101 = kinds.add_parser("ucf101", help="an official split of UCF-101")
    ucf101.add_argument("splits", metavar="SPLITS", help="folder of trainlist01.txt, testlist01.txt and classInd.txt")
    hmdb51 = kinds.add_parser("hmdb51", help="an official split of HMDB-51")
    hmdb51.add_argument("splits", metavar="SPLITS", help="folder of the files CLASS_test_split1.txt")
    mmaction2 = kinds.add_parser("mmaction2", help="lists of MMAction2, of videos or raw frames")
    charades = kinds.add_parser("charades", help="the CSV files of Charades, several labels a video")
    for kind, what in ((mmaction2, "list"), (charades, "CSV file")):
        for split in ("train", "val", "test"):
            kind.add_argument(f"--{split}", default="", metavar="FILE", help=f"the {split} {what}")
    charades.add_argument("--classes", default="", metavar="FILE", help="Charades_v1_classes.txt; default: numbers")
    mmaction2.add_argument("--classes", default="", metavar="FILE", help="names of the classes; default: none")
    for kind in (ucf101, hmdb51):
        kind.add_argument("--split", type=int, default=1, choices=(1, 2, 3), help="number of the split; default: 1")
    for kind in (kinetics, ucf101, hmdb51, mmaction2, charades):
        kind.add_argument("--videos", required=True, metavar="FOLDER", help="videos lie anywhere below it")
    for kind in (folders, kinetics, ucf101, hmdb51, mmaction2, charades):
        kind.add_argument("--output", required=True, metavar="FOLDER", help="for the lists")


def run(args: argparse.Namespace) -> int:
    """Write the lists, and print the number of their videos; return the exit status."""
    from mutualnet3d.data import official_splits
    from mutualnet3d.data.charades import lists_of_charades
    from mutualnet3d.data.make_lists import lists_of_folders, lists_of_kinetics

    log_to_terminal(with_time=False)
    if args.kind == "folders":
        counts = lists_of_folders(args.root, args.output, args.val_fraction, args.seed, args.group)
    elif args.kind == "kinetics":
        counts = lists_of_kinetics(args.csv, args.videos, args.output)
    elif args.kind == "ucf101":
        counts = official_splits.lists_of_ucf101(args.splits, args.videos, args.output, args.split)
    elif args.kind == "hmdb51":
        counts = official_splits.lists_of_hmdb51(args.splits, args.videos, args.output, args.split)
    else:
        lists = {split: getattr(args, split) for split in ("train", "val", "test")}
        if not any(lists.values()):
            raise ValueError("no list; expected --train, --val or --test")
        lists_of = lists_of_charades if args.kind == "charades" else official_splits.lists_of_mmaction2
        counts = lists_of(lists, args.videos, args.output, args.classes)
    print("\n".join(printable(str(count)) for count in counts))
    return 0


_FILES = ("train.csv", "val.csv", "test.csv", "labels.json", "missing.csv")
main = Command(__doc__, add_arguments, run, outputs={"output": checker_of_folder(_FILES)})
