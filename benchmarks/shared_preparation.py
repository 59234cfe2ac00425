#!/usr/bin/env python3
"""Prepares 300 small videos by four processes that share the work, kills one of them, and compares with one process.

    python benchmarks/shared_preparation.py
    python benchmarks/shared_preparation.py --sbatch --nodes 2 --tasks 2

The videos are made here, 3 % of them broken. First `mutualnet3d prepare-videos` encodes them alone, then four processes
with `--shared`: as they are, or with --sbatch as the tasks of slurm/prepare.sbatch on a SLURM whose nodes are all this
machine. One is killed by SIGKILL when the first block is done, while it holds a block; the others must end with the
result of the process alone, to the last byte of videos, record, report and list.

The exit status is 1 if they do not.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from many_files import encode
from program_options import add

from mutualnet3d.files.claims import holders, list_claims

ROOT = Path(__file__).resolve().parents[1]
NUM_DIFFERENT = 20  # videos that are encoded; the others are copies
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}


def write_videos(folder: Path, count: int) -> list[str]:
    """Write so many videos of a few frames, every 33rd of them broken; return their names."""
    rng = np.random.default_rng(0)
    contents = []
    for number in range(NUM_DIFFERENT):
        encode(folder / "made.mp4", rng, num_frames=8 + number, height=48, width=64)
        contents.append((folder / "made.mp4").read_bytes())
    (folder / "made.mp4").unlink()
    names = [f"{number:05d}.mp4" for number in range(count)]
    for number, name in enumerate(names):
        content = contents[number % NUM_DIFFERENT]
        (folder / name).write_bytes(content[: len(content) // 3] if number % 33 == 0 else content)
    return names


def content_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a prepared data set, without those of the shared work."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "prepared.csv.work"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def kill_one(work: Path, may_go_on: Callable[[], bool]) -> int:
    """Kill a process that holds a block when the first block is done; return its number."""
    while may_go_on():
        time.sleep(0.01)
        if not work.exists():
            continue
        listing = list_claims(str(work))
        if listing.done - {"plan"}:
            for holder in holders(str(work), listing.claimed - listing.done).values():
                if holder is not None:
                    os.kill(holder.pid, signal.SIGKILL)
                    return holder.pid
    raise RuntimeError("the work ended before a process was killed")


def with_processes(words: list[str], work: Path, log: Path, count: int) -> str:
    command = [sys.executable, "-m", "mutualnet3d", *words, "--shared", "--workers", "1"]
    with open(log, "ab") as file:
        processes = [subprocess.Popen(command, env=ENVIRONMENT, stdout=file, stderr=file) for _ in range(count)]
    try:
        kill_one(work, lambda: any(process.poll() is None for process in processes))
        return f"exit statuses {sorted(process.wait() for process in processes)}"
    finally:
        for process in processes:
            process.kill()
            process.wait()


def with_sbatch(words: list[str], work: Path, log: Path, nodes: int, tasks: int) -> str:
    options = [f"--nodes={nodes}", f"--ntasks-per-node={tasks}", "--cpus-per-task=1", f"--output={log}"]
    script = ROOT / "mutualnet3d" / "slurm" / "prepare.sbatch"
    job = output_of(["sbatch", "--parsable", *options, str(script), *words]).strip()
    try:
        kill_one(work, lambda: is_queued(job))
        while is_queued(job):
            time.sleep(0.5)
    finally:
        subprocess.run(["scancel", job], check=False)
    return " ".join(re.findall(r"\b(?:JobState|ExitCode|NodeList)=\S+", output_of(["scontrol", "show", "job", job])))


def is_queued(job: str) -> bool:
    return bool(output_of(["squeue", "--noheader", f"--jobs={job}", "--states=PD,R,CG"]).strip())


def output_of(command: list[str]) -> str:
    return subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--videos", 300, "N", "number of videos")
    parser.add_argument("--sbatch", action="store_true", help="run the processes as tasks of a SLURM job")
    add(parser, "--nodes", 2, "N", "number of nodes of the job")
    add(parser, "--tasks", 2, "N", "number of processes of a node")
    add(parser, "--block", 16, "N", "number of videos that a process takes at a time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos, alone, shared, log = (folder / part for part in ("videos", "alone", "shared", "log.txt"))
        videos.mkdir()
        names = write_videos(videos, args.videos)
        (videos / "train.csv").write_text("".join(f"{name} {number % 4}\n" for number, name in enumerate(names)))
        words = ["prepare-videos", "--input", str(videos), "--lists", str(videos / "train.csv"), "--short-side", "32"]
        started = time.monotonic()
        command = [sys.executable, "-m", "mutualnet3d", *words, "--output", str(alone), "--workers", "1"]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        print(f"one process, {time.monotonic() - started:.0f} s: {done.stdout.strip()}")
        words += ["--output", str(shared), "--block", str(args.block)]
        work = shared / "prepared.csv.work"
        started = time.monotonic()
        if args.sbatch:
            ends = with_sbatch(words, work, log, args.nodes, args.tasks)
        else:
            ends = with_processes(words, work, log, args.nodes * args.tasks)
        print(f"{args.nodes} x {args.tasks} processes, one killed, {time.monotonic() - started:.0f} s: {ends}")
        text = log.read_text()
        print("\n".join(line.partition("] ")[2] for line in text.splitlines() if "taken over" in line))
        print("\n".join(line for line in sorted(set(text.splitlines())) if re.match(r"\d+ videos: .* encoded", line)))
        with open(shared / "prepared.csv", newline="") as file:
            counts = Counter(row["path"] for row in csv.DictReader(file))
        content, other = content_of(shared), content_of(alone)
        differ = sorted(path for path in content.keys() | other.keys() if content.get(path) != other.get(path))
        print(f"{len(counts)} videos in prepared.csv, each {max(counts.values())} time; {len(content)} files")
        print(f"differences from the result of one process: {', '.join(differ) or 'none'}")
    return 1 if differ or max(counts.values()) != 1 else 0


if __name__ == "__main__":
    sys.exit(main())
