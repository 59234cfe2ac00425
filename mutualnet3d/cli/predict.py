"""Predict the classes of videos by the best sub-network within a budget.

    mutualnet3d predict video.mp4 --checkpoint output/demo/calibrated.pyth --gflops 0.01 --json
    mutualnet3d predict videos.csv --checkpoint output/demo/calibrated.pyth --mean-gflops 0.005

VIDEO is a video (a file, or a folder of pictures), or a list of videos (.csv, .txt): a line `path` for each, or a line
`path label` for each, paths relative to the list's folder; the first line tells which. Without a budget and a
sub-network the most expensive one runs: of a checkpoint the full network, of a bundle the largest in it. With --json a
line of JSON for each video is all that goes to standard output; a video that cannot be read is
`{"source": ..., "error": ...}`, and the others go on. A budget is of a video: it chooses the sub-network and, unless
--views gives them, the views. GFLOPs are those of all views of a video, as the times are; JSON has those of one clip
too, and as `top1` the test's accuracy with as many views, null where it is not known. With a mean budget a cascade of
the table runs: a cheap sub-network, and a dearer one on the videos that it is not sure of; the last that ran is shown,
JSON has all of them as `stages`, and `top1` is the cascade's over all videos. The exit
status is 0 if all videos could be read, 1 if one could not, 2 if the command is wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from mutualnet3d.deploy import Prediction, Timing
    from mutualnet3d.deploy.stages import Plan

LIST_EXTENSIONS = (".csv", ".txt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="a video: file or folder of pictures; or a list of videos (.csv, .txt)",
    )
    options.add_checkpoint(parser)
    options.add_gflops(parser)
    parser.add_argument("--milliseconds", type=float, help="that the network may take for a video on this machine")
    parser.add_argument(
        "--mean-gflops", type=float, help="1e9 multiply-adds that a video may take, in the mean over many"
    )
    parser.add_argument("--mean-milliseconds", type=float, help="that the networks may take for a video, in the mean")
    options.add_subnet(parser, "a sub-network instead of a budget, such as w0.63-s160-t10")
    words = "clips of a video, or NxM: M crops of each (1, 3); default: by the budget, without one 1"
    parser.add_argument("--views", metavar="N", help=words)
    parser.add_argument("--batch-size", type=int, default=1, help="videos at a time, for a GPU; default: 1")
    parser.add_argument("--top", type=int, help="number of labels; default: 5, with --threshold any")
    words = "of the labels only the best and those of at least this score, 0 to 1: for videos of several labels"
    parser.add_argument("--threshold", type=float, metavar="SCORE", help=words)
    options.add_backend(parser)
    options.add_device(parser)
    options.add_label_file(parser)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each video")


def run(args: argparse.Namespace) -> int:
    """Predict every video; the exit status.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: an argument is wrong.
    """
    log_to_terminal()
    views = None if args.views is None else parse_views(args.views)
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold is {args.threshold}; it must be a score from 0 to 1")
    videos = expand_lists(args.videos, args.label_file)

    import simplejson

    from mutualnet3d.data.outage import OutageCheck
    from mutualnet3d.deploy import Predictor
    from mutualnet3d.log import progress
    from mutualnet3d.video.errors import VideoDecodeError

    predictor = Predictor.load(
        args.checkpoint, table=args.table, backend=args.backend, device=args.device, threads=args.threads
    )
    budget = {"gflops": args.gflops, "milliseconds": args.milliseconds, "config": args.subnet, "views": views}
    budget |= {"mean_gflops": args.mean_gflops, "mean_milliseconds": args.mean_milliseconds}
    network = _name_of(predictor.plan(**budget), predictor.backend)
    top = 5 if args.threshold is None else len(predictor.class_names)
    top = top if args.top is None else args.top
    predictions = predictor.predict_many(videos, **budget, top=top, batch_size=args.batch_size)
    table = _Table(videos, predictor.class_names)
    timings: list[Timing] = []
    outage = OutageCheck(videos)
    spent: list[float] = []
    for path, prediction in zip(progress(videos, len(videos), "videos"), predictions, strict=True):
        if isinstance(prediction, VideoDecodeError):
            reason = " ".join(str(prediction).split())
            outage.refuse(reason)
            if args.json:
                _write(simplejson.dumps({"source": path, "error": reason}), sys.stdout)
            _write(reason, sys.stderr)
            continue
        if args.threshold is not None:
            prediction = replace(prediction, labels=prediction.above(args.threshold) or prediction.labels[:1])
        if not args.json and not timings:
            _write(table.header(), sys.stdout)
        timings.append(prediction.timing)
        spent.append(prediction.gflops_of_video)
        lines = simplejson.dumps(prediction.to_json(), ignore_nan=True) if args.json else table.rows(prediction)
        _write(lines, sys.stdout)
    costs = _costs(timings, spent, network)
    _write(f"{_counted(len(timings), len(videos))}{costs}", sys.stderr)
    return 0 if len(timings) == len(videos) else 1


def parse_views(text: str) -> int | tuple[int, int]:
    """Return `10` or `10x3` in the form of `Predictor.predict`.

    Raises:
        ValueError: another form.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise ValueError(f"--views {text}: expected clips of a video, as in 10, or clips x crops of each, as in 10x3")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def expand_lists(words: Sequence[str], label_file: str = "") -> list[str]:
    """Return the paths of a command line's videos, those of its lists in their place.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a list cannot be read; the message names file and line.
    """
    paths: list[str] = []
    for word in words:
        paths += _listed(word, label_file) if word.lower().endswith(LIST_EXTENSIONS) else [word]
    return paths


def _listed(path: str, label_file: str) -> list[str]:
    """Return the paths in a list of lines `path`, or of lines `path label`."""
    from iopath.common.file_io import g_pathmgr

    from mutualnet3d.data.any_list import read_any_list
    from mutualnet3d.data.check_videos import ANY_LABEL
    from mutualnet3d.data.text import full_path, read_text
    from mutualnet3d.data.video_files import VIDEO_EXTENSIONS
    from mutualnet3d.video.paths import video_exists

    if g_pathmgr.isfile(path):
        lines = [line.strip().strip('"') for line in read_text(path).split("\n")]
        paths = [full_path(os.path.dirname(path), line) for line in lines if line]
        if paths and (paths[0].lower().endswith(VIDEO_EXTENSIONS) or video_exists(paths[0])):
            return paths
    return [video.path for video in read_any_list(path, ANY_LABEL, label_file=label_file)[0]]


class _Table:
    """Table for a terminal: a row for each video, below it a row for each label but the best.

    Args:
        videos: all paths that it will have.
        class_names: all labels.
    """

    def __init__(self, videos: Sequence[str], class_names: Sequence[str]):
        self._path = max(len("video"), *(len(printable(path)) for path in videos))
        self._label = max(len("label"), *(len(printable(name)) for name in class_names))

    def header(self) -> str:
        cost = f"{'sub-network':<16} {'GFLOPs':>8} {'ms: decode':>11} {'prepare':>8} {'network':>8}"
        return f"{'video':<{self._path}} {'score %':>8}  {'label':<{self._label}}  {cost}"

    def rows(self, prediction: Prediction) -> str:
        time = prediction.timing
        cost = (
            f"{prediction.config!s:<16} {prediction.gflops_of_video:>8.4f} {time.decode:>11.1f} {time.prepare:>8.1f} "
            f"{time.network:>8.1f}"
        )
        lines = []
        for number, label in enumerate(prediction.labels):
            path, end = ("", "") if number else (printable(prediction.source), cost)
            name = printable(label.name)
            lines.append(f"{path:<{self._path}} {100 * label.score:>8.2f}  {name:<{self._label}}  {end}")
        return "\n".join(line.rstrip() for line in lines)


def _counted(done: int, total: int) -> str:
    videos = "1 video" if total == 1 else f"{total} videos"
    return videos if done == total else f"{videos}, {total - done} of them could not be read"


def _name_of(plan: Plan, backend: str) -> str:
    """Return what runs: a sub-network or a cascade, the back end, and several views."""
    from mutualnet3d.results.table_text import views_text

    if plan.cascade is not None:
        return f"{plan.cascade} on {backend}"
    (stage,) = plan.stages
    views = f", {views_text(stage.views)}" if stage.views.count > 1 else ""
    return f"{stage.config} on {backend}{views}"


def _costs(timings: Sequence[Timing], spent: Sequence[float], network: str) -> str:
    """Return the end of the closing line; "" if nothing ran."""
    if not timings:
        return ""
    if " > " in network:
        network += f"; mean GFLOPs {statistics.mean(spent):.4g}"
    medians = (
        f"{part} {statistics.median(getattr(timing, part) for timing in timings):.1f}"
        for part in ("decode", "prepare", "network")
    )
    return f"; {network}; median ms: {', '.join(medians)}"


def _write(text: str, file: TextIO) -> None:
    """Print at once, whatever names of files are made of, and above a progress bar."""
    from tqdm import tqdm

    tqdm.write(printable(text, keep="\n"), file=file)
    file.flush()


main = Command(__doc__, add_arguments, run, catches_sigterm=True, is_intermixed=True)
