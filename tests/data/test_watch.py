from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mutualnet3d.data import watch as watch_module
from mutualnet3d.data import workers as workers_module
from mutualnet3d.data.outage import DataAway
from mutualnet3d.data.watch import Watch, WorkerRecord, seconds_waiting, state_of
from mutualnet3d.data.workers import Workers


class Pids(torch.utils.data.Dataset):
    """Process ids of the workers; the requests from 2 on are answered late, by sleep or by work."""

    def __init__(self, computes):
        self.computes = computes

    def __getitem__(self, request):
        started = time.monotonic()
        while request >= 2 and time.monotonic() - started < 1000:
            if not self.computes:
                time.sleep(0.1)
        return os.getpid()


def sockets_of(pid):
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.startswith("socket:")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    ["stopped", "sleeps", "computes"],
)
def test_a_worker_that_finishes_no_clip_is_given_up(monkeypatch, caplog, case):
    monkeypatch.setattr(workers_module, "collate", list)
    monkeypatch.setattr(watch_module, "_REPORT_SECONDS", 0.3)
    loads = Workers(1, patience=1.0).load(Pids(case == "computes"), [[n] for n in range(4)])
    ((pid,),) = [next(loads)]
    assert sockets_of(pid) == []
    next(loads)
    if case == "stopped":
        os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    error, word = (RuntimeError, r"computes \(state R\)") if case == "computes" else (DataAway, case)
    with pytest.raises(error, match=rf"no clip came for 1 s: worker pid {pid} (is )?{word}") as raised:
        next(loads)
    assert (type(raised.value) is DataAway) == (case != "computes")
    assert time.monotonic() - started < 12.0
    assert state_of(pid) in "XZ"
    assert re.search(r"waiting for clips since \d s: worker pid", caplog.text)
    assert seconds_waiting() == 0.0


def test_an_outage_is_one_line_and_so_is_its_end(monkeypatch, caplog):
    monkeypatch.setattr(watch_module, "_LOOK_SECONDS", 0.01)
    records = [WorkerRecord(video=3), WorkerRecord(video=4)]
    processes = [SimpleNamespace(pid=None)] * 2
    with Watch(processes, records, lambda index: f"{index}.mp4", None, lambda: None):
        for record in records:
            record.away_since = time.time()
            time.sleep(0.1)
        for record in records:
            record.away_since = 0.0
        time.sleep(0.1)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("data disk away since ")
    assert lines[0].endswith(" (3.mp4): waiting for it")
    assert lines[1] == "no clip waits for the data disk any more, after 0 s"
