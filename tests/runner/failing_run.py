"""A run that fails at a named place: failing_run.py PLACE RANK FILE, then the words of tools/run_net.py.

FILE gets the process ids of the run's loader workers when it fails, in the process RANK alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

from mutualnet3d.cli.train import run_net
from mutualnet3d.data.dataset import VideoDataset
from mutualnet3d.engine import evaluate
from mutualnet3d.engine.train_log import TrainLog
from mutualnet3d.engine.train_step import TrainStep
from mutualnet3d.mutual import calibrate
from mutualnet3d.runner import session

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
    elif place == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        raise KeyError(CAUSE)


def failing(call, place: str, file: str, calls: int = CALLS):
    """Return `call`, which fails after some calls."""
    done = []

    def wrapped(*args, **kwargs):
        done.append(1)
        if len(done) == calls + 1:
            fail(place, file)
        return call(*args, **kwargs)

    return wrapped


def main() -> int:
    _, place, rank, file, *words = sys.argv
    multiprocessing.set_start_method("fork", force=True)  # as the command line does; a copy's is its server's
    if os.environ.get("RANK", "0") == rank:
        if place == "calibration":
            session.calibrate = failing(calibrate, place, file, calls=0)
        elif place == "testing":
            session.evaluate = failing(evaluate.evaluate, place, file, calls=0)
        elif place == "hook":
            TrainLog.after_step = failing(TrainLog.after_step, place, file)
        elif place == "loader":  # in a worker, where there is one
            VideoDataset.__getitem__ = failing(VideoDataset.__getitem__, place, file)
        else:
            TrainStep.__call__ = failing(TrainStep.__call__, place, file)
    return run_net(words)


if __name__ == "__main__":
    sys.exit(main())
