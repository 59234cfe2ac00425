"""Texts of results over several seeds; processes of trainings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import trainings

    return trainings


@pytest.mark.parametrize(
    ("values", "form", "text"),
    [
        ([], ".2f", "-"),
        ([90.0], ".2f", "90.00"),
        ([2.0], "+.2f", "+2.00"),
        ([1.0, 3.0], ".2f", "2.00 +- 1.41"),
        ([-1.0, -1.0], "+.1f", "-1.0 +- 0.00"),
    ],
)
def test_one_value_has_no_deviation(module, values, form, text):
    assert module.spread(values, form) == text


@pytest.mark.parametrize(("seeds", "text"), [(1, "one seed"), (3, "mean and standard deviation of 3 seeds")])
def test_heading_tells_the_seeds(module, seeds, text):
    assert module.seeds_text(seeds) == text


def test_processes_end_when_another_fails_or_sigterm_comes(module, capsys):
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]

    def job(start, kind):
        if kind == "fails":
            start([sys.executable, "-c", "raise SystemExit(3)"])
        elif kind == "sleeps":
            start(sleeping)
        return kind

    began, previous = time.monotonic(), signal.getsignal(signal.SIGTERM)
    with pytest.raises(subprocess.CalledProcessError) as failure:
        module.run_jobs(job, [("quick",), ("fails",), ("sleeps",), ("sleeps",)], jobs=2)
    assert failure.value.returncode == 3
    assert capsys.readouterr().out == "quick\n"
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit) as ended:
        module.run_jobs(job, [("sleeps",), ("sleeps",), ("sleeps",)], jobs=2)
    assert ended.value.code == 143
    assert time.monotonic() - began < 30  # the sleeping ones did not sleep their minute
    assert signal.getsignal(signal.SIGTERM) == previous
