r"""Label the time of a long video: what is seen from when to when, at a cost that is chosen.

    mutualnet3d segments film.mp4 --checkpoint output/demo/calibrated.pyth --every 1 --gflops 0.01 \
        --output film.json --output film.srt --plot film.png

A window of the network's clip begins every --every seconds; the video is decoded once from its start to its end. Every
window is scored, scores are averaged over neighbours (--smooth), and neighbours with the same best label are one
segment. This is labelling over time, not trained localisation: a border is as exact as the distance between windows,
and every time gets the class that fits best among those that the network knows, unless --min-score is given.

The segments are printed, and written to each --output: .json with all values, .csv with a header, .srt as subtitles.
Times are seconds since the first frame. Frames that cannot be decoded are counted; times most of whose frames are lost
have no label.

Exit status: 0 if the video could be read, 2 if it could not or the command is wrong.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.files.output import check_output_file
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from mutualnet3d.deploy import SegmentedVideo

OUTPUTS = (".json", ".csv", ".srt")
PAGE_SUFFIX = ".html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d segments`."""
    parser.add_argument("video", metavar="VIDEO", help="a video (file, or folder of pictures)")
    options.add_checkpoint(parser)
    words = "time from a window to the next, seconds; default: 1"
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help=words)
    options.add_budget(parser, "window")
    options.add_subnet(parser)
    words = "number of windows whose mean score the middle one gets, odd; 1: no smoothing; default: 3"
    parser.add_argument("--smooth", type=int, default=3, metavar="N", help=words)
    words = "least mean score of a label, 0 to 1; a time without one has no label; default: 0, every time has one"
    parser.add_argument("--min-score", type=float, default=0.0, metavar="SCORE", help=words)
    words = "least length of a segment, seconds; shorter ones join their neighbours; default: 0"
    parser.add_argument("--min-seconds", type=float, default=0.0, metavar="SECONDS", help=words)
    words = "number of labels of a segment, 1 or more; default: 1"
    parser.add_argument("--top", type=int, default=1, metavar="N", help=words)
    words = f"file of the segments, {', '.join(OUTPUTS)}; may be given several times"
    parser.add_argument("--output", action="append", metavar="FILE", help=words)
    parser.add_argument("--scores", metavar="FILE", help="file of the scores of all windows, .npz")
    parser.add_argument("--plot", metavar="FILE", help="picture of the classes over time, .png, .svg, or page, .html")
    words = "number of windows that the network takes at a time; default: 8"
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help=words)
    options.add_backend(parser)
    options.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Label the video, print and write its segments; return the exit status.

    Args:
        args: arguments of the command.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: an argument is wrong.
        VideoDecodeError: the video cannot be read.
        OSError: an output cannot be written.
    """
    log_to_terminal()
    check(args)

    from mutualnet3d.deploy import Predictor
    from mutualnet3d.log import logger, progress
    from mutualnet3d.results.segments import SegmentRules

    rules = SegmentRules(args.smooth, args.min_score, args.min_seconds, args.top)
    predictor = Predictor.load(
        args.checkpoint, table=args.table, backend=args.backend, device=args.device, threads=args.threads
    )

    def shown(windows: Iterable[Any], total: int) -> Iterable[Any]:
        return progress(windows, total, "windows")

    result = predictor.segments(
        args.video,
        every=args.every,
        gflops=args.gflops,
        milliseconds=args.milliseconds,
        config=args.subnet,
        rules=rules,
        batch_size=args.batch_size,
        progress=shown,
    )
    if result.num_lost or result.num_damaged:
        logger.warning("%s: %s", printable(args.video), losses(result))
    write_outputs(result, args)
    print(printable(table_text(result), keep="\n"))
    return 0


def check(args: argparse.Namespace) -> None:
    """Check the arguments as far as that needs no file and no network.

    Args:
        args: arguments of the command.

    Raises:
        ValueError: a name of an output that ends otherwise.
        ModuleNotFoundError: matplotlib or plotly is not installed, and is needed.
    """
    from mutualnet3d.extras import require
    from mutualnet3d.plots.picture_file import SUFFIXES

    given: list[tuple[str, str, tuple[str, ...]]] = [("--output", path, OUTPUTS) for path in args.output or []]
    given += [("--scores", args.scores, (".npz",))] if args.scores else []
    given += [("--plot", args.plot, (*SUFFIXES, PAGE_SUFFIX))] if args.plot else []
    for name, path, allowed in given:
        if os.path.splitext(path)[1].lower() not in allowed:
            raise ValueError(f"{name} {path}: expected a name that ends in {' or '.join(allowed)}")
    if args.plot:
        is_page = args.plot.lower().endswith(PAGE_SUFFIX)
        require("plotly.graph_objects" if is_page else "matplotlib", "plot")


def write_outputs(result: SegmentedVideo, args: argparse.Namespace) -> None:
    """Write every file that was asked for, each whole or not at all."""
    import simplejson

    from mutualnet3d.files.atomic import write_text
    from mutualnet3d.results.segment_files import csv_text, save_window_scores, srt_text

    for path in args.output or []:
        suffix = os.path.splitext(path)[1].lower()
        if suffix == ".json":
            write_text(path, simplejson.dumps(result.to_json(), indent=1, ignore_nan=True) + "\n")
        else:
            write_text(path, (csv_text if suffix == ".csv" else srt_text)(result.segments))
    if args.scores:
        save_window_scores(args.scores, result.windows, str(result.config))
    if args.plot:
        from mutualnet3d.plots.segment_page import save_segment_page
        from mutualnet3d.plots.segment_timeline import save_timeline

        save = save_segment_page if args.plot.lower().endswith(PAGE_SUFFIX) else save_timeline
        rules = result.rules
        title = f"{os.path.basename(os.path.normpath(args.video))}, {result.config}"
        save(result.windows, result.segments, args.plot, title, rules.min_score, rules.smooth)


def table_text(result: SegmentedVideo) -> str:
    """Return the segments for a terminal, and a line about what ran."""
    from mutualnet3d.log import duration

    lines = [f"{'start s':>10} {'end s':>10} {'score %':>8}  label"]
    for segment in result.segments:
        labels = ", ".join(
            label.name if number == 0 else f"{label.name} {100 * label.score:.1f} %"
            for number, label in enumerate(segment.labels)
        )
        lines.append(f"{segment.start:>10.2f} {segment.end:>10.2f} {100 * segment.score:>8.1f}  {labels}")
    number = len(result.segments)
    segments = "1 segment" if number == 1 else f"{number} segments"
    windows = "1 window" if len(result.windows) == 1 else f"{len(result.windows)} windows"
    lines.append(
        f"{segments} in {duration(result.duration_seconds)}; {windows} of {result.windows.span_seconds:.2f} s, "
        f"{result.config} on {result.backend}; {result.times_real_time:.3g} times real time: decoding "
        f"{result.decode_seconds:.1f} s, network {result.network_seconds:.1f} s, all {result.seconds:.1f} s"
    )
    return "\n".join(lines)


def losses(result: SegmentedVideo) -> str:
    """Return the losses of a video, in words."""
    text = f"{result.num_lost} of {result.num_frames} frames cannot be decoded, {result.num_damaged} are damaged"
    if result.lost:
        stretches = [f"{start:.1f} to {end:.1f} s" for start, end in result.lost]
        more = f" and {len(stretches) - 5} more" if len(stretches) > 5 else ""
        text += f"; without label: {', '.join(stretches[:5])}{more}"
    return text


main = Command(
    __doc__,
    add_arguments,
    run,
    interrupted=lambda args: "interrupted; nothing is written",
    catches_sigterm=True,
    outputs={"output": check_output_file, "scores": check_output_file, "plot": check_output_file},
)
