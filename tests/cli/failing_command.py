"""A command that fails in the middle of its work: failing_command.py PLACE FILE, then the words of `mutualnet3d`.

FILE gets the number of the process when it comes there. PLACE: "SIGINT", "SIGTERM", "error", or "worker", whose first
process is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mutualnet3d.cli import main as command
from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.demo import write_set
from mutualnet3d.deploy import export as export_module
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.process_pool import _Worker

CAUSE = "made up: the first cause"


def fail(place: str, file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    if place == "worker":
        worker = multiprocessing.active_children()[0]
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
    elif place == "error":
        raise KeyError(CAUSE)
    else:
        os.kill(os.getpid(), getattr(signal, place))


def failing(call: Callable[..., Any], place: str, file: str) -> Callable[..., Any]:
    """Return `call`, which fails at its second call."""
    calls: list[int] = []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            fail(place, file)
        return call(*args, **kwargs)

    return wrapped


def main() -> int:
    _, place, file, *words = sys.argv
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process of a shell ignores Ctrl-C
    if words[0] == "predict":
        ClipReader.read = failing(ClipReader.read, place, file)  # type: ignore[method-assign]
    elif words[0] == "stream":
        Predictor.predict = failing(Predictor.predict, place, file)  # type: ignore[method-assign]
    elif words[0] == "segments":
        Predictor._forward = failing(Predictor._forward, place, file)  # type: ignore[method-assign]
    elif words[0] == "export":
        export_module._write_network = failing(export_module._write_network, place, file)
    else:
        write_set.write_clip = failing(write_set.write_clip, place, file)  # with one worker in this process
        _Worker.give = failing(_Worker.give, place, file)  # type: ignore[method-assign]
    return command.main(words)


if __name__ == "__main__":
    sys.exit(main())
