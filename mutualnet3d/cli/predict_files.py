"""`mutualnet3d predict --output`: many files into one file of results, over all cores."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mutualnet3d.cli.command import tell
from mutualnet3d.cli.listed_videos import distinct_videos
from mutualnet3d.log import logger

if TYPE_CHECKING:
    from mutualnet3d.deploy import Predictor
    from mutualnet3d.deploy.stages import Plan
    from mutualnet3d.results.listed_run import ListedRun
    from mutualnet3d.results.prediction_run import PredictionRun

DEFAULT_TOP, DEFAULT_BATCH_SIZE, DEFAULT_TIMEOUT = 5, 8, 300.0
BUDGETS = ("gflops", "milliseconds", "subnet", "views", "mean_gflops", "mean_milliseconds")


def predict_to_file(args: argparse.Namespace, videos: Sequence[str], views: int | tuple[int, int] | None) -> int:
    """Predict every file once, into `args.output`; return the exit status.

    Args:
        args: arguments of `mutualnet3d predict`.
        videos: paths, of which some may come more than once.
        views: `args.views`, parsed.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: an argument is wrong, or differs from those of the run that
            is to go on.
        DataAway: the disk of the videos has gone away; the next start goes on.
    """
    from mutualnet3d.results.listed_run import list_text
    from mutualnet3d.results.prediction_run import PredictionRun

    files = distinct_videos(videos)
    if not files:
        raise ValueError("there is no video to predict")
    if len(files) < len(videos):
        logger.info(
            "%d of %d paths repeat an earlier one; each file has one row", len(videos) - len(files), len(videos)
        )
    values = {name: getattr(args, name) for name in (*BUDGETS, "backend", "device")} | {"top": _top(args)}
    asked = asked_for(args, list_text(files), values)
    with PredictionRun(args.output, len(files), asked, args.overwrite) as run:
        complete_run(run, lambda: _predict(args, files, views, run), lambda: run.finish(run.chosen["top"]))
    tell(f"{args.output}: {counts_text(run.counts)}; {run.chosen['network']}")
    return 0 if run.counts.get("ok") == len(files) else 1


def complete_run(run: ListedRun, work: Callable[[], None], finish: Callable[[], None]) -> None:
    """Complete a run, unless it is complete already.

    Args:
        run: the run.
        work: function that does the files that are not done yet.
        finish: function that writes the results.
    """
    if run.counts:
        logger.info("%s is complete", run.output)
        return
    num_done, num_files = run.journal.num_done, run.journal.num_items
    if num_done:
        logger.info("%s: %d of %d files are done already", run.output, num_done, num_files)
    if num_done < num_files or not run.chosen:
        work()
    finish()


def _predict(
    args: argparse.Namespace, files: Sequence[str], views: int | tuple[int, int] | None, run: PredictionRun
) -> None:
    """Predict the files that are not done yet."""
    from mutualnet3d import fork_server
    from mutualnet3d.log import progress

    fork_server.start("pool", "files")  # it loads torch while this process does
    from mutualnet3d.deploy import Predictor
    from mutualnet3d.deploy.file_predictor import record_of

    backend = run.chosen.get("backend", args.backend)
    predictor = Predictor.load(
        args.checkpoint, table=args.table, backend=backend, device=args.device, threads=args.threads
    )
    plan = _plan(predictor, args, views, run.chosen.get("stages"))
    todo = [number for number in range(len(files)) if not run.journal.has(number)]
    top = _top(args)
    outcomes = predictor.predict_files(
        [files[number] for number in todo],
        plan,
        top=top,
        batch_size=DEFAULT_BATCH_SIZE if args.batch_size is None else args.batch_size,
        workers=args.workers,
        timeout=DEFAULT_TIMEOUT if args.timeout is None else args.timeout,
    )
    stages = stages_of(plan)
    if not run.chosen:
        chosen = {"backend": predictor.backend, "stages": stages, "top": min(top, len(predictor.class_names))}
        run.choose({**chosen, "network": plan_name(plan, predictor.backend)})
    elif run.chosen["stages"] != stages:
        raise ValueError(f"{args.output}: its files were predicted by {run.chosen['network']}, this table has another")
    started = time.monotonic()
    for place, outcome in progress(outcomes, len(todo), "files"):
        run.journal.add(todo[place], record_of(files[todo[place]], outcome))
    seconds = time.monotonic() - started
    logger.info("%d files in %.1f s, %.2f a second", len(todo), seconds, len(todo) / max(seconds, 1e-9))


def plan_name(plan: Plan, backend: str) -> str:
    """Return text for what runs: a sub-network or a cascade, the back end, and several views."""
    from mutualnet3d.results.table_text import views_text

    if plan.cascade is not None:
        return f"{plan.cascade} on {backend}"
    (stage,) = plan.stages
    views = f", {views_text(stage.views)}" if stage.views.count > 1 else ""
    return f"{stage.config} on {backend}{views}"


def counts_text(counts: Mapping[str, int]) -> str:
    """Return `5 files: 3 ok, 1 bad, 1 missing`, of the number of files by status."""
    parts = [f"{counts[status]} {status}" for status in ("ok", "bad", "missing") if counts.get(status)]
    return f"{sum(counts.values())} files: {', '.join(parts)}"


def asked_for(args: argparse.Namespace, list_: str, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that the results depend on, as text by the option's name.

    Args:
        args: arguments of the command.
        list_: text that stands for the list.
        values: arguments that the results depend on, by name, beside checkpoint and table; None and False: not given.
    """
    from mutualnet3d.deploy.pickled_files import PickledFiles

    asked = {"the list": list_}
    sums = PickledFiles.of(args.checkpoint, args.table).sums
    for option, path, (_, digest) in zip(
        ("--checkpoint", "--table"), (args.checkpoint, args.table), sums, strict=False
    ):
        asked[option] = f"{os.path.basename(os.path.normpath(path))} ({digest[:16]})"
    is_given = {name: value for name, value in values.items() if value not in (None, False)}
    return asked | {f"--{name.replace('_', '-')}": str(value) for name, value in is_given.items()}


def _top(args: argparse.Namespace) -> int:
    return DEFAULT_TOP if args.top is None else args.top


def stages_of(plan: Plan) -> list[dict[str, Any]]:
    """Return the stages of a plan as plain values."""
    return [
        {
            "config": str(stage.config),
            "views": [stage.views.spans, stage.views.crops],
            "threshold": stage.threshold,
        }
        for stage in plan.stages
    ]


def _plan(
    predictor: Predictor,
    args: argparse.Namespace,
    views: int | tuple[int, int] | None,
    stages: list[dict[str, Any]] | None,
) -> Plan:
    """Return the plan of a run.

    Times differ from start to start, and with them the stages that fit a budget of milliseconds: a run that goes on has
    those that its first start chose.

    Args:
        predictor: the predictor.
        args: arguments of the command.
        views: views that were asked for.
        stages: stages of the first start; None: this is the first.
    """
    if stages is not None and args.milliseconds is not None:
        (stage,) = stages
        return predictor.plan(config=stage["config"], views=tuple(stage["views"]))
    if stages is not None and args.mean_milliseconds is not None:
        plans = map(predictor.plan_of, predictor.table.cascades or ())
        chosen = next((plan for plan in plans if stages_of(plan) == stages), None)
        if chosen is not None:
            return chosen
    return predictor.plan(
        gflops=args.gflops,
        milliseconds=args.milliseconds,
        config=args.subnet,
        views=views,
        mean_gflops=args.mean_gflops,
        mean_milliseconds=args.mean_milliseconds,
    )
