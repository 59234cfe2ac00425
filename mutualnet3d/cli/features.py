r"""Write the features of videos to a file: what the classifier reads of each, within a budget.

    mutualnet3d features data/moving_shapes/val.csv --checkpoint output/demo/calibrated.pyth --gflops 0.006 \
        --output features.npz
    mutualnet3d features film.mp4 --checkpoint output/demo/calibrated.pyth --every 1 --output film.parquet

A video has one vector, the mean over the clips that `mutualnet3d predict` takes; with --per-clip one for each clip;
with --every one for each window over it, as `mutualnet3d segments` has them. With --layer the maps of that layer take
the place of the vectors; they come from PyTorch.

.npz has `features` (float32, a row for each vector), `video`, `start` and `end` (seconds since the first frame),
`labels` if a list gives every video one, `config`, `backend`, `layer`, and `unread` and `reason` of videos that cannot
be read. .parquet has a row for each vector, and one for each such video. Processes on all cores read, and a run that
was stopped, by SIGKILL too, goes on with the same command.

Exit status: 0 if all videos could be read, 1 if one could not, 2 if the command is wrong.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command, log_to_terminal, tell
from mutualnet3d.cli.listed_videos import ListedVideo, distinct_videos, labelled_videos
from mutualnet3d.cli.predict import parse_views
from mutualnet3d.cli.predict_files import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_TIMEOUT,
    asked_for,
    complete_run,
    counts_text,
    plan_name,
    stages_of,
)
from mutualnet3d.log import logger

if TYPE_CHECKING:
    from mutualnet3d.deploy import Predictor
    from mutualnet3d.deploy.stages import Plan
    from mutualnet3d.results.feature_run import FeatureRun

# Arguments that the features depend on, beside checkpoint and table.
_ASKED = ("gflops", "milliseconds", "subnet", "views", "every", "per_clip", "layer", "backend", "device")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d features`."""
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help=options.VIDEOS_HELP)
    options.add_checkpoint(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="file of the features, .npz or .parquet")
    options.add_budget(parser, "video (with --every: window)")
    options.add_subnet(parser)
    parser.add_argument("--views", metavar="N", help=options.VIEWS_HELP)
    parser.add_argument("--per-clip", action="store_true", help="write a vector for each clip; default: their mean")
    words = "time from a window to the next, seconds; default: no windows, but the clips of --views"
    parser.add_argument("--every", type=float, metavar="SECONDS", help=words)
    words = "layer whose maps are written in place of pooled vectors, by PyTorch; an unknown name lists the layers"
    parser.add_argument("--layer", metavar="NAME", help=words)
    options.add_backend(parser)
    options.add_device(parser)
    options.add_label_file(parser)
    words = f"number of clips or windows that the network takes at a time; default: {DEFAULT_BATCH_SIZE}"
    parser.add_argument("--batch-size", type=int, default=DEFAULT_BATCH_SIZE, metavar="N", help=words)
    options.add_reading(parser, DEFAULT_TIMEOUT)


def run(args: argparse.Namespace) -> int:
    """Take the features of every video, and write them; return the exit status.

    Args:
        args: arguments of the command.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: an argument is wrong, or differs from those of the run that
            is to go on.
        DataAway: the disk of the videos has gone away; the next start goes on.
    """
    log_to_terminal()
    _check_options(args)
    listed = labelled_videos(args.videos, args.label_file)
    first_of: dict[str, ListedVideo] = {}
    for video in listed:
        first_of.setdefault(video.path, video)
    videos = [first_of[path] for path in distinct_videos([video.path for video in listed])]
    if not videos:
        raise ValueError("there is no video to take features of")

    from mutualnet3d.results.feature_run import FeatureRun
    from mutualnet3d.results.listed_run import list_text

    if repeats := len(listed) - len(videos):
        logger.info("%d of %d paths repeat an earlier one; each file comes once", repeats, len(listed))
    without = sum(video.label is None for video in videos)
    if 0 < without < len(videos):
        logger.warning("labels are left out: %d of %d videos have none", without, len(videos))
    list_ = list_text([f"{video.path} {video.label}" for video in videos])
    asked = asked_for(args, list_, {name: getattr(args, name) for name in _ASKED})
    with FeatureRun(args.output, len(videos), asked, args.overwrite) as features:
        complete_run(features, lambda: _take(args, videos, features), lambda: features.finish(features.chosen["about"]))
    tell(f"{args.output}: {counts_text(features.counts)}; {features.chosen['network']}")
    return 0 if features.counts.get("ok") == len(videos) else 1


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that would have no effect.

    Raises:
        ValueError: there is one.
    """
    for name in ("views", "per_clip", "workers", "timeout"):
        if args.every is not None and getattr(args, name):
            raise ValueError(
                f"--{name.replace('_', '-')} has no effect with --every: a window has one clip, and this process reads "
                "the files one after the other"
            )


def _check_results(path: str, option: str) -> None:
    from mutualnet3d.results.feature_run import check_output

    check_output(path, option)


def _take(args: argparse.Namespace, videos: Sequence[ListedVideo], run: FeatureRun) -> None:
    """Take the features of the videos that are not done yet."""
    from mutualnet3d import fork_server
    from mutualnet3d.log import progress

    if args.every is None:
        fork_server.start("pool", "files")  # it loads torch while this process does
    from mutualnet3d.data.file_reader import UnreadFile
    from mutualnet3d.deploy import Predictor
    from mutualnet3d.results.prediction_rows import unread_record

    # Maps come from PyTorch: the others need not be tried.
    asked_backend = "pytorch" if args.layer is not None and args.backend == "auto" else args.backend
    backend = run.chosen.get("backend", asked_backend)
    predictor = Predictor.load(
        args.checkpoint, table=args.table, backend=backend, device=args.device, threads=args.threads
    )
    plan = _plan(predictor, args, run.chosen.get("stages"))
    todo = [number for number in range(len(videos)) if not run.journal.has(number)]
    outcomes = predictor.features_of_files(
        [videos[number].path for number in todo],
        plan,
        every=args.every,
        per_clip=args.per_clip,
        layer=args.layer,
        batch_size=args.batch_size,
        workers=args.workers,
        timeout=DEFAULT_TIMEOUT if args.timeout is None else args.timeout,
    )
    if not run.chosen:
        run.choose(_chosen(plan, predictor.backend, args.layer))
    elif run.chosen["stages"] != stages_of(plan):
        raise ValueError(f"{args.output}: its features are of {run.chosen['network']}, this table has another")
    started = time.monotonic()
    for place, outcome in progress(outcomes, len(todo), "files"):
        number = todo[place]
        path, label = videos[number]
        if isinstance(outcome, UnreadFile):
            run.journal.add(number, {**unread_record(path, outcome.status, outcome.reason), "label": label})
            continue
        if outcome.num_lost:
            logger.warning("%s: %d windows are left out, most of whose frames are lost", path, outcome.num_lost)
        times = {"starts": outcome.start_N.tolist(), "ends": outcome.end_N.tolist()}
        run.add(number, {"source": path, "label": label, **times}, outcome.feature_NC)
    seconds = time.monotonic() - started
    logger.info("%d files in %.1f s, %.2f a second", len(todo), seconds, len(todo) / max(seconds, 1e-9))


def _plan(predictor: Predictor, args: argparse.Namespace, stages: list[dict[str, Any]] | None) -> Plan:
    """Return sub-network and views of a run.

    With a budget of milliseconds a run that goes on has those of its first start, as times differ.

    Args:
        predictor: predictor of the checkpoint or bundle.
        args: arguments of the command.
        stages: stages of the first start; None: this is the first.
    """
    if stages is not None and args.milliseconds is not None:
        (stage,) = stages
        return predictor.plan(config=stage["config"], views=tuple(stage["views"]))
    views = None if args.views is None else parse_views(args.views)
    return predictor.feature_plan(args.gflops, args.milliseconds, args.subnet, views, args.every)


def _chosen(plan: Plan, backend: str, layer: str | None) -> dict[str, Any]:
    """Return the values that all files of a run share."""
    (stage,) = plan.stages
    return {
        "backend": backend,
        "stages": stages_of(plan),
        "network": plan_name(plan, backend),
        "about": {"config": str(stage.config), "backend": backend, "layer": layer or ""},
    }


main = Command(
    __doc__,
    add_arguments,
    run,
    catches_sigterm=True,
    is_intermixed=True,
    interrupted=lambda args: "interrupted; the same command goes on",
    outputs={"output": _check_results},
)
