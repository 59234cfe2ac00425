"""A run that fails at a named place: failing_run.py PLACE RANK FILE, then the words of tools/run_net.py.

FILE gets the process ids of the run's loader workers when it fails, in the process RANK alone.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import resource
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
CALLS = 3  # that succeed before it fails


def fail(place: str, file: str) -> None:
    workers = multiprocessing.active_children()
    Path(file).write_text(" ".join(str(worker.pid) for worker in workers))
    if place in ("SIGINT", "SIGTERM"):
        os.kill(os.getpid(), getattr(signal, place))
    elif place == "worker":
        assert workers[0].pid is not None
        os.kill(workers[0].pid, signal.SIGKILL)
    elif place == "paused":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif place == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif place == "disk":
        fill(str(Path(file).parent / "output"))
    elif place == "descriptors":
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    elif place == "reader":
        read, write = os.pipe()
        os.dup2(write, 1)
        os.close(read)
    elif place in ("log.txt", "log.jsonl"):
        path = Path(file).parent / "output" / place
        path.unlink()
        path.symlink_to("/dev/full")
        if place == "log.txt":
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


def fail_in_the_loader(place: str, file: str) -> None:
    VideoDataset.__getitem__ = failing(VideoDataset.__getitem__, place, file)


def main() -> int:
    _, place, rank, file, *words = sys.argv
    multiprocessing.set_start_method("fork", force=True)  # as the command line does; a copy's is its server's
    if os.environ.get("RANK", "0") == rank:
        if place == "disk":
            mount(Path(file).parent / "output", 8 << 20)
        if place == "calibration":
            session.calibrate = failing(calibrate, place, file, calls=0)
        elif place == "testing":
            session.evaluate = failing(evaluate.evaluate, place, file, calls=0)
        elif place == "hook":
            TrainLog.after_step = failing(TrainLog.after_step, place, file)
        elif place == "loader":  # in a worker, where there is one: see below
            fail_in_the_loader(place, file)
        else:
            TrainStep.__call__ = failing(TrainStep.__call__, place, file)
    else:
        sys.argv[1] = "nowhere"  # its workers have these words, and not its environment
    return run_net(words)


if __name__ == "__mp_main__" and sys.argv[1] == "loader":  # a worker, which begins with this module anew
    fail_in_the_loader(sys.argv[1], sys.argv[3])

if __name__ == "__main__":
    sys.exit(main())
