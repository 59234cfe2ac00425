r"""Make lists of videos, train.csv, val.csv and test.csv, and labels.json of a data set.

    mutualnet3d make-lists folders videos --output data/mine
    mutualnet3d make-lists kinetics train.csv validate.csv test.csv --videos data/k400 --output data/k400
    mutualnet3d make-lists ucf101 ucfTrainTestlist --videos UCF-101 --output data/ucf101 --split 1
    mutualnet3d make-lists hmdb51 testTrainMulti_7030_splits --videos hmdb51 --output data/hmdb51 --split 1
    mutualnet3d make-lists mmaction2 --train kinetics400_train_list_rawframes.txt \
        --val kinetics400_val_list_rawframes.txt --videos rawframes --output data/k400
    mutualnet3d make-lists charades --train Charades_v1_train.csv --val Charades_v1_test.csv \
        --classes Charades_v1_classes.txt --videos Charades_v1_480 --output data/charades

`mutualnet3d make-lists KIND --help` describes the options of a kind. Listed videos that are not there are counted and
written to missing.csv.
"""

from __future__ import annotations

import argparse
import re

from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.cli.parser import split_examples
from mutualnet3d.files.output import checker_of_folder
from mutualnet3d.log import printable

# kind of data set -> what it is, what becomes of it.
KINDS = {
    "folders": (
        "a folder for each class",
        "ROOT/train/CLASS/* and ROOT/val/CLASS/* (and ROOT/test/CLASS/*), or ROOT/CLASS/*, which is split at random,\n"
        "with --group so that all clips of a recording come into one split.",
    ),
    "kinetics": ("the CSV files of Kinetics-400, 600 or 700", "Videos are found by their YouTube ids and times."),
    "ucf101": ("an official split of UCF-101", "The test videos become val.csv and test.csv."),
    "hmdb51": ("an official split of HMDB-51", "The test videos become val.csv and test.csv."),
    "mmaction2": ("lists of MMAction2", "A line names a video, or a folder of pictures (raw frames)."),
    "charades": ("the CSV files of Charades", "A video has several labels."),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the kinds of data sets, each with its options, of `mutualnet3d make-lists`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND", title="kinds of data sets")
    of = {
        name: kinds.add_parser(name, text=f"Make lists from {what}.\n\n{more}\n\n{examples_of(name)}", help=what)
        for name, (what, more) in KINDS.items()
    }
    folders = of["folders"]
    folders.add_argument("root", metavar="ROOT", help="folder of the class folders, or of train and val")
    words = "share of the videos drawn for validation, above 0, below 1; default: 0.2"
    folders.add_argument("--val-fraction", type=float, default=0.2, metavar="SHARE", help=words)
    folders.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw; default: 0")
    words = "regular expression whose first group is the name of a video's recording, such as '(.+)_c\\d+'; default: "
    folders.add_argument("--group", default="", metavar="PATTERN", help=f"{words}every video is a recording")
    words = "CSV files with the columns label,youtube_id,time_start,time_end,split"
    of["kinetics"].add_argument("csv", nargs="+", metavar="CSV", help=words)
    words = "folder of trainlist01.txt, testlist01.txt and classInd.txt"
    of["ucf101"].add_argument("splits", metavar="SPLITS", help=words)
    of["hmdb51"].add_argument("splits", metavar="SPLITS", help="folder of the files CLASS_test_split1.txt")
    for name, what in (("mmaction2", "list"), ("charades", "CSV file")):
        for split in ("train", "val", "test"):
            of[name].add_argument(f"--{split}", default="", metavar="FILE", help=f"{split} {what}; default: none")
    words = "names of the classes, Charades_v1_classes.txt; default: numbers"
    of["charades"].add_argument("--classes", default="", metavar="FILE", help=words)
    of["mmaction2"].add_argument("--classes", default="", metavar="FILE", help="names of the classes; default: numbers")
    for name in ("ucf101", "hmdb51"):
        words = "number of the split; default: 1"
        of[name].add_argument("--split", type=int, default=1, choices=(1, 2, 3), help=words)
    for name, kind in of.items():
        if name != "folders":
            kind.add_argument("--videos", required=True, metavar="FOLDER", help="folder of the videos, at any depth")
        kind.add_argument("--output", required=True, metavar="FOLDER", help="folder of the new lists")


def examples_of(kind: str) -> str:
    """Return the examples of the module's docstring that make lists of a kind, a key of `KINDS`."""
    commands = re.split(r"\n(?=    mutualnet3d)", split_examples(__doc__ or "")[1])
    return "\n".join(command for command in commands if f"make-lists {kind} " in command)


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
