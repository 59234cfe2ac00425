"""A run that fails in a named way: failing_run.py PLACE RANK FILE, then the words of tools/run_net.py.

FILE gets the process ids of the run's loader workers when it fails, in the process RANK alone. "calibration" and
"testing" are places themselves; another place fails there by "WAY@calibration" or "WAY@testing".
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from pathlib import Path

from mutualnet3d.cli.train import run_net
from mutualnet3d.data.dataset import VideoDataset
from mutualnet3d.engine import evaluate
from mutualnet3d.engine.train_log import TrainLog
from mutualnet3d.engine.train_step import TrainStep
from mutualnet3d.log import logger
from mutualnet3d.mutual import calibrate
from mutualnet3d.runner import session
from tests.small_disk import mount

CAUSE = "made up: the first cause"
SHARED_MEMORY = "/dev/shm"
CALLS = 3  # that succeed before it fails


def fail(place: str, file: str) -> None:
    workers = multiprocessing.active_children()
    Path(file).write_text(" ".join(str(worker.pid) for worker in workers))
    way = place.partition("@")[0]
    if way in ("SIGINT", "SIGTERM"):
        os.kill(os.getpid(), getattr(signal, way))
    elif way in ("worker", "stopped"):
        assert workers[0].pid is not None
        os.kill(workers[0].pid, signal.SIGKILL if way == "worker" else signal.SIGSTOP)
    elif way == "shm":  # in a worker
        mount(SHARED_MEMORY, 1 << 20)
        fill(SHARED_MEMORY)
        Path(file).write_text(str(os.getpid()))
    elif way == "paused":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif way == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == "disk":
        fill(str(Path(file).parent / "output"))
    elif way == "descriptors":
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    elif way in ("reader", "reader of errors"):
        read, write = os.pipe()
        os.dup2(write, 1 if way == "reader" else 2)
        os.close(read)
        if way == "reader of errors":
            os.kill(os.getpid(), signal.SIGTERM)
    elif way == "away":
        (Path(file).parent / "videos").rename(Path(file).parent / "gone")
    elif way == "folder":
        while (Path(file).parent / "output").exists():  # a thread may be writing a checkpoint in it
            shutil.rmtree(Path(file).parent / "output", ignore_errors=True)
    elif way in ("log.txt", "log.jsonl"):
        path = Path(file).parent / "output" / way
        path.unlink()
        path.symlink_to("/dev/full")
        if way == "log.txt":
            for handler in logger.handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.setStream(path.open("a"))
    else:
        raise KeyError(CAUSE)


def fill(folder: str) -> None:
    """Leave no room on the disk of a folder."""
    with contextlib.suppress(OSError), open(os.path.join(folder, "filler"), "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def failing(call, place: str, file: str, calls: int = CALLS):
    """Return `call`, which fails after some calls."""
    done = []

    def wrapped(*args, **kwargs):
        done.append(1)
        if len(done) == calls + 1:
            fail(place, file)
        return call(*args, **kwargs)

    return wrapped


def failing_in_a_batch(call, place: str, file: str):
    """Return `call`, calibration or evaluation, which fails at a batch, while its workers load the next ones."""

    def wrapped(network, configs, batches, prepare, *args, **kwargs):
        return call(network, configs, batches, failing(prepare, place, file, calls=1), *args, **kwargs)

    return wrapped


def fail_in_the_loader(place: str, file: str) -> None:
    VideoDataset.__getitem__ = failing(VideoDataset.__getitem__, place, file)


def main() -> int:
    _, place, rank, file, *words = sys.argv
    multiprocessing.set_start_method("fork", force=True)  # as the command line does; a copy's is its server's
    if os.environ.get("RANK", "0") == rank:
        if place == "disk":
            mount(Path(file).parent / "output", 8 << 20)
        if place.endswith("calibration"):
            session.calibrate = failing_in_a_batch(calibrate, place, file)
        elif place.endswith("testing"):
            session.evaluate = failing_in_a_batch(evaluate.evaluate, place, file)
        elif place == "hook":
            TrainLog.after_step = failing(TrainLog.after_step, place, file)
        elif place == "loader":  # in a worker, where there is one: see below
            fail_in_the_loader(place, file)
        elif place == "shm":
            pass  # in a worker
        else:
            TrainStep.__call__ = failing(TrainStep.__call__, place, file)
    else:
        sys.argv[1] = "nowhere"  # its workers have these words, and not its environment
    return run_net(words)


if __name__ == "__mp_main__" and sys.argv[1] in ("loader", "shm"):  # a worker, which begins with this module anew
    fail_in_the_loader(sys.argv[1], sys.argv[3])

if __name__ == "__main__":
    sys.exit(main())
