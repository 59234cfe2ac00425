"""Tests that were stopped by a signal, and go on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.data.batch_sampler import TestBatchSampler
from mutualnet3d.data.loader import TestLoader
from mutualnet3d.engine.preemption import Interrupted
from mutualnet3d.runner import test as run_test
from mutualnet3d.runner import train as run_train
from tests.conftest import TINY, as_overrides, restored_log
from tests.copies import run_script
from tests.runner.runs import CFG, ROOT, words_of


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    monkeypatch.setattr("mutualnet3d.runner.reports._picture", lambda *args: None)


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    """A training of a few steps, and data whose second test video is broken; gives a maker of configs of tests."""
    folder = tmp_path_factory.mktemp("trained")
    data = folder / "data"
    shutil.copytree(tiny_data, data)
    (data / "val_1.mp4").write_bytes(b"no video")
    common = {**TINY, "DATA.PATH_TO_DATA_DIR": str(data), "SOLVER.MAX_EPOCH": 1, "MUTUAL.FRAMES": [4]}
    with restored_log(), torch.random.fork_rng(devices=[]):
        path = run_train(m3.load_cfg(CFG, as_overrides({**common, "OUTPUT_DIR": str(folder / "train")})))

    def make(name, **changes):
        test = {"TEST.CHECKPOINT_FILE_PATH": path, "TEST.BATCH_SIZE": 3, "TEST.NUM_ENSEMBLE_VIEWS": 2}
        named = {key.replace("__", "."): value for key, value in changes.items()}
        return m3.load_cfg(CFG, as_overrides({**common, **test, "OUTPUT_DIR": str(folder / name), **named}))

    return make


def stop_at(number):
    """Send this process SIGUSR1 while it works on the batch of that number, from 0; return the context to undo it."""
    batches = TestLoader.__iter__

    def stopping(self):
        for place, batch in enumerate(batches(self)):
            if isinstance(self.batch_sampler, TestBatchSampler) and place == number:
                signal.raise_signal(signal.SIGUSR1)
            yield batch

    patch = pytest.MonkeyPatch()
    patch.setattr(TestLoader, "__iter__", stopping)
    return patch


def numbers_of(table):
    return [(str(row.config), str(row.views), row.top1, row.top5, row.gflops, row.params) for row in table.rows]


def test_a_test_goes_on_where_it_was_stopped(trained):
    """Four batches of three views, two of each video: the same table and scores, to the last bit; statistics are found
    once."""
    whole = trained("whole", TEST__SUBNETS=["w0.5-s32-t4"])
    expected = run_test(whole)
    cfg = trained("halves", TEST__SUBNETS=["w0.5-s32-t4"])
    patch = stop_at(2)
    with pytest.raises(Interrupted) as stopped:
        run_test(cfg)
    patch.undo()
    assert stopped.value.code == 75
    assert str(stopped.value) == "SIGUSR1 after 3 of 4 batches of the test"
    assert not Path(cfg.OUTPUT_DIR, "query_table.json").exists()
    assert numbers_of(run_test(cfg)) == numbers_of(expected)
    scores, expected_scores = (np.load(f"{folder.OUTPUT_DIR}/scores.npz") for folder in (cfg, whole))
    assert set(scores) == set(expected_scores)
    for name in scores:
        assert name == "paths" or scores[name].tobytes() == expected_scores[name].tobytes(), name
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert log.count("training clips") == 1
    assert "an unfinished test had done 3 batches; 1 are left" in log
    assert log.count("over 5 of 6 listed videos: 0 are missing, 1 could not be decoded") == 1
    assert not Path(cfg.OUTPUT_DIR, "unfinished_test").exists()


@pytest.mark.slow
def test_results_of_other_settings_are_not_used_and_stay(trained):
    cfg = trained("others", TEST__SUBNETS=["full"])
    patch = stop_at(1)
    with pytest.raises(Interrupted):
        run_test(cfg)
    patch.undo()
    (folder,) = Path(cfg.OUTPUT_DIR, "unfinished_test").iterdir()
    other = trained("others", TEST__SUBNETS=["full"], TEST__NUM_ENSEMBLE_VIEWS=1)
    assert str(run_test(other).views) == "1 x 1"
    assert "an unfinished test" not in Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    path = folder / "scores_0_of_1.pyth"
    path.write_bytes(path.read_bytes()[:100])  # a damaged file is told, and the test begins anew
    table = run_test(cfg)
    assert (
        f"not used: {path}: cannot be read as results of an unfinished test"
        in Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    )
    assert table.context["num_videos"] == 5
    assert not os.path.exists(folder)


# Runs tools/run_net.py; the first process has torchrun stop the test at its third batch, and waits for the signal.
STOPPED_RUN = """
import os, runpy, signal, sys, time
from mutualnet3d.data.loader import TestLoader

batches = TestLoader.__iter__

def stopping(loader):
    for place, batch in enumerate(batches(loader)):
        if place == 2 and os.environ["RANK"] == "0":
            came, handler = [], signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda *event: (came.append(event), handler(*event)))
            torchrun = os.getppid()
            os.kill(torchrun, signal.SIGTERM)
            while not came and os.getppid() == torchrun:
                time.sleep(0.01)
        yield batch

TestLoader.__iter__ = stopping
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_two_processes_go_on_with_their_parts(tiny_data, tmp_path):
    """torchrun passes SIGTERM on to both, which are at different batches."""
    data = {
        **TINY,
        "DATA.PATH_TO_DATA_DIR": str(tiny_data),
        "SOLVER.MAX_EPOCH": 1,
        "TEST.BATCH_SIZE": 2,
        "TEST.NUM_ENSEMBLE_VIEWS": 10,
    }
    words, whole = (as_overrides({**data, "OUTPUT_DIR": str(tmp_path / name)}) for name in ("halves", "whole"))
    run_script(words_of(whole), tmp_path, num_processes=2)
    shutil.copytree(tmp_path / "whole" / "checkpoints", tmp_path / "halves" / "checkpoints")
    script = tmp_path / "stopped_run.py"
    script.write_text(STOPPED_RUN)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, str(script), *map(str, words_of(words))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, timeout=100, check=False)
    names = {path.name for path in (tmp_path / "halves" / "unfinished_test").rglob("*.pyth")}
    # The second process has nothing to save if it has not done its first batch by then.
    assert names - {"scores_1_of_2.pyth"} == {"statistics.pyth", "scores_0_of_2.pyth"}
    run_script(words_of(words), tmp_path, num_processes=2)
    log = (tmp_path / "halves" / "log.txt").read_text()
    assert re.search(r"an unfinished test had done 3 batches; [1-9]", log)
    scores, expected = (np.load(tmp_path / name / "scores.npz") for name in ("halves", "whole"))
    for name in expected:
        assert np.array_equal(scores[name], expected[name]), name
    assert not (tmp_path / "halves" / "unfinished_test").exists()
