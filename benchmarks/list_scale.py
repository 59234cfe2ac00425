#!/usr/bin/env python3
"""Start and memory of a training with lists of up to a million videos.

    python benchmarks/list_scale.py
    python benchmarks/list_scale.py --lengths 10 100000 --files empty_videos

Lists of made-up paths, in a temporary folder where no file is there, or in one of empty files; each row is a process of
its own with a time limit. Start: the list is read (DATA.FIND_VIDEOS none), data set and batch sampler are made. Search:
the videos are looked for on the disk (DATA.FIND_VIDEOS all); kept: the same from the result of an earlier search
(DATA.FIND_VIDEOS cached). Epoch: all requests of an epoch, without loading a clip. CPU: seconds of all threads, in user
and system, which other work on the machine changes less. Memory of the main process is what it takes beyond the row of
ten lines; of two loader workers that have answered requests from all over the list, the larger one's. USS is what a
process has alone; RSS also counts what it shares.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from program_options import add

from mutualnet3d import fork_server
from mutualnet3d.config import load_cfg
from mutualnet3d.data.bad_videos import BadVideoFile
from mutualnet3d.data.batch_sampler import ClipRequest, TrainBatchSampler
from mutualnet3d.data.build_loaders import TrainLoader, build_train_loader
from mutualnet3d.data.build_split import Split, read_split
from mutualnet3d.data.class_balance import BalancedOrder
from mutualnet3d.data.find_videos import find_videos
from mutualnet3d.data.found_cache import FoundCache
from mutualnet3d.data.video_list import VideoList
from mutualnet3d.data.workers import Workers
from mutualnet3d.shapes import ClipShape, Shard

NUM_CLASSES, BATCH_SIZE = 700, 64
NUM_REQUESTS = 200  # that the workers answer
WAYS = {"forkserver": "the project's fork server", "fork": "fork"}


def memory_mb(pid: int | str = "self") -> dict[str, float]:
    """Return a process's RSS and USS, and its largest RSS so far, MB."""
    rollup = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:] if ":" in line
    )
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)

    def mb(text: str) -> float:
        return int(text.split()[0]) / 1024

    private = sum(mb(rollup[key]) for key in ("Private_Clean", "Private_Dirty"))
    return {"rss": mb(rollup["Rss"]), "uss": private, "peak": mb(status["VmHWM"])}


def write_list(path: Path, length: int) -> None:
    """Write a list of `length` lines such as `train/class_012/0000012345.mp4 12`."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(length):
            label = number % NUM_CLASSES
            file.write(f"train/class_{label:03d}/{number:010d}.mp4 {label}\n")


def make_files(folder: Path, length: int) -> None:
    """Make the files of a list of `length` lines, empty, where they are not there."""
    for number in range(length):
        path = folder / f"train/class_{number % NUM_CLASSES:03d}/{number:010d}.mp4"
        if number < NUM_CLASSES:
            path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    settled = time.time() - 60  # a search of folders that have just changed is not kept
    for path in (folder / "train").iterdir():
        os.utime(path, (settled, settled))


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result of a function, and the seconds that it took: by the clock, and of the CPU in this process."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - start, time.process_time() - start_cpu


def epoch_seconds(sampler: TrainBatchSampler, num_steps: int) -> float:
    """Return the seconds in which a sampler gives the requests of its steps."""
    start = time.perf_counter()
    requests = iter(sampler)
    for _ in range(num_steps):
        next(requests)
        sampler.finish_step()
    return time.perf_counter() - start


def measure(folder: str, output: str, way: str) -> dict[str, Any]:
    """Return the numbers of one process.

    Args:
        folder: folder of train.csv.
        output: folder of what is written.
        way: key of WAYS.
    """
    if way == "fork":
        fork_server.context = lambda *kinds: multiprocessing.get_context("fork")
    cfg = load_cfg(
        "X3D_M_mutual.yaml",
        [
            *("DATA.PATH_TO_DATA_DIR", folder, "OUTPUT_DIR", output, "MODEL.NUM_CLASSES", NUM_CLASSES),
            *("DATA.FIND_VIDEOS", "none", "DATA.DISK_TIMEOUT", 0.0, "TRAIN.BATCH_SIZE", BATCH_SIZE),
        ],
    )
    shapes = (ClipShape(4, 64),)

    def start() -> tuple[Split, TrainLoader, int]:
        split = read_split(cfg, "train", BadVideoFile(os.path.join(output, "bad_videos.csv")))
        num_steps = max(len(split.videos) // BATCH_SIZE, 1)
        return split, build_train_loader(cfg, split, lambda step: shapes, num_steps, Shard()), num_steps

    result: dict[str, Any] = {}
    (split, loader, num_steps), result["start"], result["start_cpu"] = timed(start)
    length = len(split.videos)
    gc.collect()
    result["main"] = memory_mb()
    _, result["digest"], _ = timed(lambda: split.digest)
    num_there = length if os.path.isfile(split.videos[0].path) else 0
    search, result["search"], result["search_cpu"] = timed(lambda: find_videos(split.videos))
    assert len(search.existing) == num_there
    FoundCache(VideoList.of(split.videos), output).save(bytes([num_there > 0]) * length)
    search, result["kept"], _ = timed(lambda: find_videos(split.videos, cache_folder=output))
    assert len(search.existing) == num_there
    result["main_at_search"] = memory_mb()
    result["epoch"] = epoch_seconds(loader.batch_sampler, num_steps)
    order = BalancedOrder(VideoList.of(split.videos).label_N, 0)
    balanced = TrainBatchSampler(order, BATCH_SIZE, lambda step: shapes, num_steps=num_steps)
    result["balanced"] = epoch_seconds(balanced, num_steps)
    places = range(0, length, max(length // NUM_REQUESTS, 1))
    batches = [[ClipRequest(place, shapes)] for place in places for _ in range(max(NUM_REQUESTS // length, 1))]
    loads = iter(Workers(2).load(loader.dataset, batches))
    for _ in range(len(batches) - 1):  # without the end, where the workers leave
        next(loads)
    workers = [memory_mb(child.pid or 0) for child in multiprocessing.active_children()]
    result["worker"] = {key: max(worker[key] for worker in workers) for key in ("rss", "uss")}
    result["main_at_end"] = memory_mb()
    loads.close()
    return result


def run(command: list[str], timeout: float) -> tuple[str, str]:
    """Run a command with its children; return "" and what it printed, or how it failed and its error.

    Args:
        command: program and arguments.
        timeout: seconds after which all of it is killed.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, error = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return f"killed after {timeout:g} s", ""
        finally:
            with contextlib.suppress(ProcessLookupError):  # the children too, which hold the pipes
                os.killpg(process.pid, signal.SIGKILL)
    return ("", output) if process.returncode == 0 else (f"status {process.returncode}", error.strip())


def row_of(length: int, way: str, result: dict[str, Any], base: dict[str, Any]) -> str:
    keys = ("start", "start_cpu", "digest", "search", "search_cpu", "kept", "epoch", "balanced")
    seconds = [f"{result[key]:.2f}" for key in keys]
    memory = [result["main"][key] - base["main"][key] for key in ("rss", "uss", "peak")]
    memory += [result[key]["peak"] - base[key]["peak"] for key in ("main_at_search", "main_at_end")]
    memory += [result["worker"][key] - base["worker"][key] for key in ("rss", "uss")]
    return f"| {length} | {WAYS[way]} | " + " | ".join(seconds + [f"{number:.0f}" for number in memory]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--lengths",
        nargs="+",
        type=int,
        default=[10, 10_000, 100_000, 1_000_000],
        metavar="N",
        help="lengths of the lists, lines; default: %(default)s",
    )
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(WAYS), help="ways to start loader workers; default: all"
    )
    add(parser, "--timeout", 300.0, "SECONDS", "time limit of a row, seconds")
    parser.add_argument(
        "--files",
        metavar="FOLDER",
        help="folder where the files are made, empty, and stay (a million: some minutes); default: no file exists",
    )
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "OUTPUT", "WAY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one)))
        return
    print(
        "| lines | workers by | start, s | CPU, s | digest, s | search, s | CPU, s | kept, s | epoch, s | balanced, s "
        "| main RSS, MB | USS, MB | peak at the start, MB | at the search, MB | at the end, MB | worker RSS, MB "
        "| USS, MB |\n"
        "|---:|---|" + "---:|" * 15
    )
    base: dict[str, dict[str, Any]] = {}
    for length in [10, *(length for length in args.lengths if length != 10)]:
        if args.files:
            make_files(Path(args.files), max(length, 10))
        for way in args.ways:
            with tempfile.TemporaryDirectory() as temporary:
                folder = args.files or temporary
                write_list(Path(folder) / "train.csv", max(length, 10))
                command = [sys.executable, __file__, "--one", folder, temporary, way]
                status, output = run(command, args.timeout)
            if status:
                print(f"| {length} | {WAYS[way]} | {status}: {(output.splitlines() or ['-'])[-1]} |", flush=True)
                continue
            result = json.loads(output.splitlines()[-1])
            print(row_of(length, way, result, base.setdefault(way, result)), flush=True)


if __name__ == "__main__":
    main()
