"""Trainings of a benchmark by name and seed, each in a process of its own; one that is done is not done again."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutualnet3d as m3
from mutualnet3d.log import read_records
from mutualnet3d.plots.curves import Point
from mutualnet3d.runner import test

ROOT = Path(__file__).resolve().parents[1]

Overrides = Mapping[str, object]
Start = Callable[[Sequence[str]], None]  # runs a command to its end
# The recipe that sub-networks join late in: see docs/RESULTS.md.
STAGED: Overrides = {"MUTUAL.START": 0.5, "MUTUAL.SORT_CHANNELS": True, "MUTUAL.LABEL_WEIGHT": 0.5}
# The same on the evidence's shapes, with the arithmetic of 136 epochs of the full network alone. Twice the config's
# rate, which made the full network alone and the paper's step worse: chosen on other clips.
STAGED_EVIDENCE: Overrides = {**STAGED, "SOLVER.MAX_EPOCH": 83, "SOLVER.BASE_LR": 0.1}
# With 2.5 times that arithmetic an earlier start was better, on other clips too.
STAGED_EVIDENCE_LONG: Overrides = {**STAGED_EVIDENCE, "MUTUAL.START": 0.25, "SOLVER.MAX_EPOCH": 175}


@dataclass(frozen=True)
class Trainings:
    """Trainings of one benchmark.

    Args:
        cfg: config that all start from.
        output: folder of all runs.
        runs: overrides of each training by its name.
        tested: keys of the sub-networks that each is tested at, by its name.
        common: overrides of all.
    """

    cfg: str
    output: str
    runs: Mapping[str, Overrides]
    tested: Mapping[str, Sequence[str]]
    common: Overrides

    def folder(self, seed: int, name: str) -> str:
        """Return the folder of a run."""
        return os.path.join(self.output, f"seed{seed}", name)

    def settings(self, seed: int, name: str) -> list[object]:
        """Return the KEY VALUE overrides of a run."""
        places = {"RNG_SEED": seed, "OUTPUT_DIR": self.folder(seed, name)}
        values = {**self.common, **self.runs[name], **places}
        return [word for pair in values.items() for word in pair]

    def train(self, seeds: int, jobs: int) -> None:
        """Train all runs of the seeds 0 up to `seeds`, `jobs` at a time with one thread each; print their times."""
        todo = [(seed, name) for seed in range(seeds) for name in self.runs]
        run_jobs(self._train, todo, jobs)

    def _train(self, start: Start, seed: int, name: str) -> str:
        """Train, unless it is done; a run that was stopped goes on where it was."""
        if "trained" not in self.records(seed, name):
            os.makedirs(self.folder(seed, name), exist_ok=True)
            words = [*map(str, self.settings(seed, name)), "TEST.ENABLE", "False"]
            command = [sys.executable, str(ROOT / "tools/run_net.py"), "--cfg", self.cfg, *words]
            start(command)
        return f"seed {seed}, {name}: {self.records(seed, name)['trained'][-1]['seconds']:.0f} s"

    def records(self, seed: int, name: str) -> dict[str, list[dict[str, Any]]]:
        """Return the records of a run by their kind."""
        path = Path(self.folder(seed, name), "log.jsonl")
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for record in read_records(str(path)) if path.exists() else []:
            by_kind.setdefault(record["kind"], []).append(record)
        return by_kind

    def table(self, seed: int, name: str) -> m3.QueryTable:
        """Return the query table of a run; test the run first if there is none."""
        path = os.path.join(self.folder(seed, name), "query_table.json")
        if not os.path.exists(path):
            words = ["TEST.SUBNETS", list(self.tested[name]), "TEST.LATENCY_RUNS", 1, "TEST.SAVE_RESULTS_PATH", ""]
            test(m3.load_cfg(self.cfg, [*self.settings(seed, name), *words]))
        return m3.QueryTable.load(path)

    def seconds(self, seeds: int, name: str) -> float:
        """Return the time of a run, without what happens beside its steps: for the steps with one network and for those
        with several, their number times the median of the logged ones, of all seeds."""
        parts: dict[bool, list[tuple[int, float]]] = {}
        for record in [record for seed in range(seeds) for record in self.records(seed, name)["train"]]:
            time = record["data_seconds"] + record["compute_seconds"]
            parts.setdefault(len(record["losses"]) > 1, []).append((record["mean_of"], time))
        return sum(
            sum(number for number, _ in part) / seeds * statistics.median(time for _, time in part)
            for part in parts.values()
        )


class Processes:
    """Processes with one thread each, which end with the context, whatever ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen[bytes]] = []
        self._is_over = False

    def __enter__(self) -> Processes:
        return self

    def run(self, command: Sequence[str]) -> None:
        """Run a command without its output, to its end.

        Raises:
            CalledProcessError: it failed, or was ended.
            RuntimeError: the context is over.
        """
        with self._lock:
            if self._is_over:
                raise RuntimeError("no process starts after the end of the program's work")
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            self._running.append(process)
        returncode = process.wait()
        self._running.remove(process)
        if returncode:
            raise subprocess.CalledProcessError(returncode, command)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_over = True
        for process in list(self._running):
            process.terminate()  # a training saves its state, and goes on from there the next time


def run_jobs(job: Callable[..., str], runs: Sequence[tuple[object, ...]], jobs: int) -> None:
    """Run a job for each of some runs, `jobs` at a time, and print their lines in order.

    If one fails, or the program is interrupted or gets SIGTERM, the processes of the others end too.

    Args:
        job: function from a function that runs a command, and the run's values, to a line.
        runs: values of each run.
        jobs: number of runs at a time.
    """
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with ThreadPoolExecutor(jobs) as pool, Processes() as processes:
            for line in pool.map(lambda run: job(processes.run, *run), runs):
                print(line, flush=True)
    finally:
        signal.signal(signal.SIGTERM, previous)


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return the text `mean +- deviation`; one value alone has no deviation."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):{form}}"
    return f"{mean} +- {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def seeds_text(seeds: int) -> str:
    """Return what a table's numbers are of so many seeds."""
    return f"mean and standard deviation of {seeds} seeds" if seeds > 1 else "one seed"


def points_of(top1: Mapping[str, Sequence[float]], gflops: Mapping[str, float]) -> list[Point]:
    """Return a point for each sub-network, at its mean."""
    return [
        Point(gflops[key], statistics.mean(values), key, statistics.stdev(values) if len(values) > 1 else None)
        for key, values in top1.items()
    ]
