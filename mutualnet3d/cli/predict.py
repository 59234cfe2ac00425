"""Predict the classes of videos by the best sub-network within a budget.

    mutualnet3d predict video.mp4 --checkpoint output/demo/calibrated.pyth --gflops 0.01 --json
    mutualnet3d predict videos.csv --checkpoint output/demo/calibrated.pyth --mean-gflops 0.005
    mutualnet3d predict data/moving_shapes/val.csv --checkpoint output/demo/calibrated.pyth --output results.parquet
    mutualnet3d predict videos/ --checkpoint output/demo/calibrated.pyth --gflops 0.006 --top 1 --output results.csv

Videos: a list has a line `path` for each, or a line `path label` for each, paths relative to the list's folder; the
first line tells which.

Budgets: the budget of a video chooses the sub-network and, unless --views gives them, the views. GFLOPs and
milliseconds are of all views of a video. Without a budget and a sub-network the most expensive one runs: of a
checkpoint the full network, of a bundle the largest in it. With a mean budget a cascade of the table runs: a cheap
sub-network, and a dearer one on the videos that it is not sure of.

Printed results: with --json standard output has a line of JSON for each video and nothing else; a video that cannot be
read is `{"source": ..., "error": ...}`, and the others go on. JSON also has the costs of one clip; as `top1` the
accuracy of the test with as many views, null if it is not known; of a cascade all networks that ran as `stages`, the
last of which gives the labels, and as `top1` the cascade's accuracy over all videos.

Many files: with --output a run that was stopped, by SIGKILL too, goes on with the same command. Each file has one row,
in the list's order: path, status (ok, bad, missing), reason, sub-network, views, labels with scores (0 to 1), GFLOPs,
and milliseconds of reading and of the network.

Exit status: 0 if all videos could be read, 1 if one could not, 2 if the command is wrong.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.cli.listed_videos import expand_lists
from mutualnet3d.cli.predict_files import DEFAULT_BATCH_SIZE, DEFAULT_TIMEOUT, DEFAULT_TOP, plan_name, predict_to_file
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from mutualnet3d.deploy import Prediction, Timing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d predict`."""
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help=options.VIDEOS_HELP,
    )
    options.add_checkpoint(parser)
    options.add_budget(parser, "video")
    words = "mean budget of a video in GFLOPs, over many videos: a cascade runs"
    parser.add_argument("--mean-gflops", type=float, metavar="GFLOPS", help=words)
    words = "mean budget of a video in milliseconds of the networks, over many videos: a cascade runs"
    parser.add_argument("--mean-milliseconds", type=float, metavar="MILLISECONDS", help=words)
    options.add_subnet(parser)
    parser.add_argument("--views", metavar="N", help=options.VIEWS_HELP)
    words = f"number of videos that the network takes at a time; default: 1, with --output {DEFAULT_BATCH_SIZE}"
    parser.add_argument("--batch-size", type=int, metavar="N", help=words)
    words = f"number of labels of a video, 1 or more; default: {DEFAULT_TOP}, with --threshold any"
    parser.add_argument("--top", type=int, metavar="N", help=words)
    words = "least score of a label, 0 to 1, for videos of several labels; the best label is always shown"
    parser.add_argument("--threshold", type=float, metavar="SCORE", help=words)
    options.add_backend(parser)
    options.add_device(parser)
    options.add_label_file(parser)
    answers = parser.add_mutually_exclusive_group()
    answers.add_argument("--json", action="store_true", help="print a line of JSON for each video")
    words = "file of results with a row for each video, .parquet, .csv or .jsonl; processes on all cores read"
    answers.add_argument("--output", metavar="FILE", help=words)
    many = parser.add_argument_group("with --output")
    options.add_reading(many, DEFAULT_TIMEOUT)


def run(args: argparse.Namespace) -> int:
    """Predict every video; return the exit status.

    Args:
        args: arguments of the command.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: an argument is wrong.
    """
    log_to_terminal()
    views = None if args.views is None else parse_views(args.views)
    _check_output_options(args)
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold is {args.threshold}; it must be a score from 0 to 1")
    videos = expand_lists(args.videos, args.label_file)
    if args.output is not None:
        return predict_to_file(args, videos, views)

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
    network = plan_name(predictor.plan(**budget), predictor.backend)
    top = DEFAULT_TOP if args.threshold is None else len(predictor.class_names)
    top = top if args.top is None else args.top
    batch_size = 1 if args.batch_size is None else args.batch_size
    predictions = predictor.predict_many(videos, **budget, top=top, batch_size=batch_size)
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


def _check_output_options(args: argparse.Namespace) -> None:
    """Refuse options that would have no effect with --output, or without it.

    Raises:
        ValueError: there is one.
    """
    if args.threshold is not None and args.output is not None:
        raise ValueError("--threshold has no effect on --output, whose rows have the score of each label; give --top")
    without_effect = {"--workers": args.workers is not None, "--timeout": args.timeout is not None}
    without_effect["--overwrite"] = args.overwrite
    for option, is_given in without_effect.items():
        if is_given and args.output is None:
            raise ValueError(f"{option} is of --output, which is not given: without it videos are read one by one here")


def _check_results(path: str, option: str) -> None:
    from mutualnet3d.results.prediction_run import check_output

    check_output(path, option)


def parse_views(text: str) -> int | tuple[int, int]:
    """Return the views in the form of `Predictor.predict`.

    Args:
        text: clips, `10`, or clips and crops, `10x3`.

    Raises:
        ValueError: another form.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise ValueError(f"--views {text}: expected clips of a video, as in 10, or clips x crops of each, as in 10x3")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


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


def _interrupted(args: argparse.Namespace) -> str:
    return "interrupted" if args.output is None else "interrupted; the same command goes on"


main = Command(
    __doc__,
    add_arguments,
    run,
    catches_sigterm=True,
    is_intermixed=True,
    interrupted=_interrupted,
    outputs={"output": _check_results},
)
