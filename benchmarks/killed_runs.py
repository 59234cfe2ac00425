#!/usr/bin/env python3
"""Trainings killed with SIGKILL at random steps, started again until they are done, against one that was left alone.

    python benchmarks/killed_runs.py --kills 10 --processes 1
    python benchmarks/killed_runs.py --kills 10 --processes 2

The final weights, averages, optimizer state and tracked statistics must be the same bit for bit. Every checkpoint that
is there at any moment of the killed runs must be readable: all are read after every kill, the newest again and again
while they train. Network and videos are the demo's, smaller; dropout, averaged weights and two loader workers are on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from program_options import add

from mutualnet3d.engine.checkpoint import load_checkpoint
from mutualnet3d.log import read_records

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "MODEL.DROPOUT_RATE": 0.5,
    "X3D.DIM_C5": 64,
    "SOLVER.EMA_DECAY": 0.99,
    "DATA_LOADER.NUM_WORKERS": 2,
    "TRAIN.BATCH_SIZE": 4,
    "TRAIN.CHECKPOINT_STEPS": 3,
    "TRAIN.CHECKPOINT_SECONDS": 1,
    "TRAIN.EVAL_PERIOD": 2,
    "BN.NUM_BATCHES_PRECISE": 2,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.MAX_EPOCH": 16,
    "TEST.ENABLE": False,
    "LOG_PERIOD": 1,
}


def start(folder: Path, output: Path, processes: int) -> subprocess.Popen[str]:
    words = [str(word) for pair in SETTINGS.items() for word in pair]
    script = [str(ROOT / "tools/run_net.py"), "--cfg", "X3D_tiny_mutual.yaml", *words]
    script += ["DATA.PATH_TO_DATA_DIR", str(folder / "data"), "OUTPUT_DIR", str(output)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, "-W", "ignore", *(torchrun if processes > 1 else []), *script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with open(folder / "output.txt", "a") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, those that these have started, and so on."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family[1:]


def kill_all(process: subprocess.Popen[str]) -> None:
    """Send SIGKILL to a process and all its descendants, as the end of a node does (torchrun's outlive torchrun)."""
    family = [process.pid, *descendants(process.pid)]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    while any((Path("/proc") / str(pid) / "exe").exists() for pid in family):
        time.sleep(0.01)


def steps_logged(output: Path) -> int:
    return sum(record.get("kind") == "train" for record in _records(output))


def read_all(output: Path) -> int:
    """Read every checkpoint of a run; return their number."""
    paths = sorted((output / "checkpoints").glob("*.pyth"))
    for path in paths:
        load_checkpoint(str(path))
    return len(paths)


def read_newest(output: Path) -> int:
    """Read the newest checkpoint, while others are written and dropped; return 1 if there was one, else 0."""
    paths = sorted((output / "checkpoints").glob("checkpoint_*.pyth"), key=lambda path: path.name[-13:])
    try:
        return bool(paths and load_checkpoint(str(paths[-1])))
    except FileNotFoundError:  # dropped in between: newer ones were there
        return 0


def differences(first: Any, second: Any, name: str = "") -> list[str]:
    """Return the names of the values in which two contents differ."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [name]
    if isinstance(first, dict):
        return [path for key in first for path in differences(first[key], second[key], f"{name}/{key}")]
    if isinstance(first, list | tuple):
        pairs = enumerate(zip(first, second, strict=True))
        return [path for index, (a, b) in pairs for path in differences(a, b, f"{name}/{index}")]
    return [] if first == second else [name]


def final(output: Path) -> dict[str, Any]:
    content = load_checkpoint(str(max((output / "checkpoints").glob("checkpoint_epoch_*.pyth"))))
    return {key: value for key, value in content.items() if key not in ("cfg", "cfg_hash")}  # they name OUTPUT_DIR


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--kills", 10, "N", "number of kills of a training")
    add(parser, "--processes", 1, "N", "number of processes of the job, under torchrun")
    add(parser, "--seed", 0, "N", "seed of the steps at which it is killed")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make = [sys.executable, str(ROOT / "tools/make_demo_data.py"), "--output", str(folder / "data")]
        subprocess.run([*make, "--train", "32", "--val", "8"], check=True, stdout=subprocess.DEVNULL)
        whole, killed = folder / "whole", folder / "killed"
        if start(folder, whole, args.processes).wait():
            print((folder / "output.txt").read_text()[-4000:], file=sys.stderr)
            return 1
        total = steps_logged(whole)
        num_read = 0
        for kill in range(args.kills):
            # At random moments of what is left, so that all kills find a training.
            goal = steps_logged(killed) + rng.randint(1, max(1, (total - _done(killed)) // (args.kills - kill + 1)) + 3)
            process = start(folder, killed, args.processes)
            while process.poll() is None and steps_logged(killed) < goal:
                num_read += read_newest(killed)
            time.sleep(rng.random() * 0.2)
            if process.poll() is not None:
                print((folder / "output.txt").read_text()[-4000:], file=sys.stderr)
                return 1
            kill_all(process)
            num_read += read_all(killed)
        if start(folder, killed, args.processes).wait():
            print((folder / "output.txt").read_text()[-4000:], file=sys.stderr)
            return 1
        resumed = [record["step"] for record in _records(killed) if record["kind"] == "resumed"]
        different = differences(final(whole), final(killed))
    print(f"{args.processes} processes, {total} steps, {args.kills} kills with SIGKILL; resumed at steps {resumed}")
    print(f"checkpoints read after kills and while training: {num_read}, unreadable: 0")
    print(f"tensors and numbers of the final checkpoint that differ: {len(different)} {different[:5]}")
    return 1 if different else 0


def _records(output: Path) -> list[dict[str, Any]]:
    log = output / "log.jsonl"
    return read_records(str(log)) if log.exists() else []


def _done(output: Path) -> int:
    steps = [record["step"] for record in _records(output) if record["kind"] in ("train", "resumed")]
    return steps[-1] if steps else 0


if __name__ == "__main__":
    sys.exit(main())
