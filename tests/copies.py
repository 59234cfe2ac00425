"""Processes for tests that are copies of one that has loaded torch and the package: to load them takes longer than most
tests do."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

import torch

SERVER = multiprocessing.get_context("forkserver")
ROOT = Path(__file__).resolve().parents[1]


def start_server() -> None:
    """Start the server that is copied, and do not wait for it; before anything else of this process starts a lighter
    one."""
    modules = ["tests.copies", "tests.gloo", "mutualnet3d.runner", "mutualnet3d.fork_server.signals"]
    SERVER.set_forkserver_preload(modules)
    forkserver.ensure_running()


class Script:
    """A script of the project, run as the command line does.

    Args:
        words: path of the script in the repository, and its arguments.
        folder: place of the files with its output.
        environment: additional environment variables; None: none.

    Attributes:
        words: its words.
        printed: file of its standard output.
        errors: file of its standard error.
    """

    def __init__(self, words: Sequence[object], folder: Path, environment: Mapping[str, str] | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.words, number = words, len(list(folder.glob("errors_*")))
        self.printed, self.errors = folder / f"printed_{number}", folder / f"errors_{number}"
        self.errors.touch()
        variables = {**os.environ, **(environment or {})}
        arguments = (tuple(map(str, words)), variables, str(self.printed), str(self.errors))
        self._process = SERVER.Process(target=_run, args=arguments)
        self._process.start()

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def finish(self, timeout: float = 120.0) -> tuple[int, str]:
        """Wait for the end, kill it after `timeout` seconds; return the exit status and the text of standard error."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.send_signal(signal.SIGKILL)
            self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode, self.errors.read_text()


def run_script(words: Sequence[object], folder: Path, num_processes: int = 1) -> None:
    """Run a script to its end, in as many processes as torchrun would start.

    Raises:
        AssertionError: an exit status that is not 0.
    """
    variables: list[dict[str, str]] = [{}]
    if num_processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
        worlds = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(num_processes))
        variables = [{**meeting, **worlds, "RANK": str(n), "LOCAL_RANK": str(n)} for n in range(num_processes)]
    scripts = [Script(words, folder / f"rank_{rank}", environment) for rank, environment in enumerate(variables)]
    deadline = time.monotonic() + 120.0
    for script in scripts:
        status, errors = script.finish(max(deadline - time.monotonic(), 0.0))
        assert status == 0, errors[-4000:]


def _run(words: Sequence[str], environment: Mapping[str, str], printed: str, errors: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for path, number in ((printed, 1), (errors, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    # The server that this process is a copy of runs, and has loaded all: loader workers are copies of it too.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    os.chdir(ROOT)
    sys.argv = [*words]
    runpy.run_path(words[0], run_name="__main__")
