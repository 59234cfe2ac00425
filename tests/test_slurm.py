"""The scripts in slurm/ on a real SLURM of two nodes, which start-slurm.sh starts on this machine."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.data.prepare_videos import prepare_videos
from mutualnet3d.engine.checkpoint import load_checkpoint
from mutualnet3d.files.claims import holders, list_claims
from mutualnet3d.runner import train
from mutualnet3d.video.transcode import Encoding
from tests.conftest import SHARED, TINY, as_overrides, numbered_frames, write_video

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tools" / "slurm" / "train.sbatch"
PREPARE = ROOT / "tools" / "slurm" / "prepare.sbatch"
START_SLURM = SHARED / "slurm" / "start-slurm.sh"
# What start-slurm.sh says where it cannot work: rights, packages, ports and files.
CANNOT = (3, 4, 5)
# Others are on the way: a job that gets its signal before preemption is SIGNALING for a moment.
ENDS = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
TWO_BY_TWO = ("--nodes=2", "--ntasks-per-node=2")
ONE_EACH = ("--nodes=2", "--ntasks-per-node=1")
TRAINING = {**TINY, "TEST.ENABLE": False}


@dataclass(frozen=True)
class Job:
    """A job of the test cluster; its output goes to a file of its own."""

    cluster: Cluster
    number: str
    output: Path

    def fields(self) -> dict[str, str]:
        return dict(re.findall(r"(\w+)=(\S+)", self.cluster.query("scontrol", "show", "job", "-o", self.number)))

    def log(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else "(no output)"

    def wait(self, what: str, is_so: Callable[[], bool], seconds: float) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                nodes = self.cluster.query("sinfo", "--Node", "--long")
                if self.fields()["JobState"] == "RUNNING":
                    self.cluster.query("scancel", "--signal=USR2", self.number)  # the log shows where its threads stand
                    time.sleep(5)
                pytest.fail(f"not {what} within {seconds:g} s: {self.fields()}\n{nodes}\n{self.log()[-20000:]}")
            time.sleep(0.2)

    def expect(self, state: str, exit_code: str, restarts: int, seconds: float) -> None:
        """Wait for the job's end, which has to be of this kind."""
        self.wait("at its end", lambda: self.fields()["JobState"] in ENDS, seconds)
        fields = self.fields()
        ended = fields["JobState"], fields["ExitCode"], fields["Restarts"]
        assert ended == (state, exit_code, str(restarts)), self.log()[-20000:]


class Cluster:
    """SLURM with two nodes of four CPUs and two pretended GPUs each, its files in `root`."""

    def __init__(self, root: Path):
        self.root = root
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")} | {
            "SLURM_TEST_ROOT": str(root),
            "SLURM_TEST_PORT": str(free_ports(4)),
            "SLURM_CONF": str(root / "slurm.conf"),
            "PYTHON": sys.executable,
            "OMP_NUM_THREADS": "1",
        }

    def control(self, *words: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Call start-slurm.sh."""
        command = ["bash", str(START_SLURM), *words]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=seconds, check=False)

    def query(self, *command: str, cwd: Path | None = None, **environ: str) -> str:
        """Return the output of a client of SLURM."""
        done = subprocess.run(
            command, env=self.environ | environ, cwd=cwd, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def submit(
        self, folder: Path, options: tuple[str, ...], words: list[object], script: Path = SCRIPT, **environ: str
    ) -> Job:
        """Submit train.sbatch with the options and the words, from `folder`."""
        command = ["sbatch", "--parsable", "--output=%j.out", *options, str(script), *map(str, words)]
        number = self.query(*command, cwd=folder, **environ).strip()
        return Job(self, number, folder / f"{number}.out")


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens at, below those where processes of a job meet."""
    for _ in range(100):
        first = random.randrange(10000, 11990)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError(f"no {count} free ports in a row")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if not START_SLURM.exists():
        pytest.skip(f"no {START_SLURM.name}: it starts the SLURM that these tests need, and lies outside the project")
    root = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))  # sockets need a short path
    cluster = Cluster(root)
    try:
        started = cluster.control("start", seconds=180)
        if started.returncode in CANNOT:
            pytest.skip(started.stderr.strip().splitlines()[-1])
        assert started.returncode == 0, started.stderr
        yield cluster
    finally:
        stopped = cluster.control("stop")
        shutil.rmtree(root, ignore_errors=True)
    assert stopped.returncode == 0, stopped.stderr


# ---- What the script makes of its options and of what processes leave with; a shell script stands for python ---------


@pytest.fixture
def python_is(tmp_path: Path) -> Callable[[str], str]:
    """A program to stand for the interpreter, from lines of bash."""

    def make(lines: str) -> str:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/bash\n{lines}\n")
        path.chmod(0o755)
        return str(path)

    return make


# Leaves with 75, like a training, when it is asked to.
PATIENT = "trap 'exit 75' TERM USR1; echo ready; for i in {1..100}; do sleep 0.2; done"


def test_one_process_for_each_gpu(cluster, python_is, tmp_path):
    """Jobs from a folder with a space in its name, that is not the repository's."""
    python = python_is(
        'echo "rank $SLURM_PROCID of $SLURM_STEP_NUM_TASKS, $SLURM_LOCALID of $(hostname)"\n'
        '[ $SLURM_PROCID != 0 ] || printf \'<%s>\' "$@" "$PWD"'
    )
    folder = tmp_path / "a folder"
    folder.mkdir()
    words = ["--cfg", "a name.yaml", "MUTUAL.SIZES", "[32, 48]"]
    job = cluster.submit(folder, ("--nodes=2", "--gpus-per-node=2", "--cpus-per-gpu=2"), words, PYTHON=python)
    few_cpus = cluster.submit(folder, ("--nodes=2", "--gpus-per-node=2"), words, PYTHON=python)
    for submitted in (job, few_cpus):
        submitted.expect("COMPLETED", "0:0", 0, seconds=30)
        ranks = sorted(re.findall(r"rank \d of 4, \d of node\d", submitted.log()))
        assert ranks == [f"rank {rank} of 4, {rank % 2} of node{rank // 2 + 1}" for rank in range(4)]
        words_printed = f"<-m><mutualnet3d><train><--cfg><a name.yaml><MUTUAL.SIZES><[32, 48]><{folder}>"
        assert words_printed in submitted.log()
    assert "warning" not in job.log()
    assert "warning: 1 CPUs for 2 processes on node1; ask for more: --cpus-per-gpu" in few_cpus.log()


def test_a_copy_of_the_script_needs_no_repository(cluster, python_is, tmp_path):
    copy = shutil.copy(SCRIPT, tmp_path / "mine.sbatch")
    job = cluster.submit(tmp_path, ("--nodes=1",), ["--cfg", "x"], script=copy, PYTHON=python_is('echo "words: $*"'))
    job.expect("COMPLETED", "0:0", 0, seconds=30)
    assert "words: -m mutualnet3d train --cfg x" in job.log()


@pytest.mark.parametrize("status", [1, 137, 139])
def test_a_process_that_fails_ends_the_job(cluster, python_is, tmp_path, status):
    """The others lose it (76), or leave because srun asks them to (75): 143 is srun's own status."""
    python = python_is(
        f"case $SLURM_PROCID in 3) sleep 1; exit {status};; 0) {PATIENT.replace('75', '76')};; *) {PATIENT};; esac"
    )
    job = cluster.submit(tmp_path, TWO_BY_TWO, ["--cfg", "x"], PYTHON=python)
    job.expect("FAILED", f"{status}:0", 0, seconds=60)
    assert f"train.sbatch: error: the run failed with status {status}\n" in job.log()


def test_a_step_that_cannot_start_ends_the_job(cluster, python_is, tmp_path):
    job = cluster.submit(tmp_path, TWO_BY_TWO, ["--cfg", "x"], PYTHON=python_is(""), SLURM_CPU_BIND="nonsense")
    job.expect("FAILED", "1:0", 0, seconds=60)
    assert "train.sbatch: error: the run failed with status 1\n" in job.log()


def test_restarts_have_a_limit(cluster, python_is, tmp_path):
    """A lost process (76) restarts the job; others that do not leave in time are killed (137)."""
    python = python_is(
        f"case $SLURM_PROCID in 2) sleep 1; exit 76;; 3) {PATIENT.replace('75', '137')};; *) {PATIENT};; esac"
    )
    job = cluster.submit(tmp_path, TWO_BY_TWO, ["--cfg", "x"], PYTHON=python, MUTUALNET3D_MAX_RESTARTS="1")
    job.expect("FAILED", "76:0", 1, seconds=90)
    assert job.log().count("asking SLURM to queue the job again; restarts so far: 0\n") == 1
    assert "error: started again 1 times, and MUTUALNET3D_MAX_RESTARTS is 1; what was done is saved" in job.log()


def test_what_scancel_ends_does_not_come_back(cluster, python_is, tmp_path):
    job = cluster.submit(tmp_path, TWO_BY_TWO, ["--cfg", "x"], PYTHON=python_is(PATIENT))
    job.wait("started", lambda: job.log().count("ready") == 4, seconds=30)
    cluster.query("scancel", job.number)
    job.expect("CANCELLED", "0:15", 0, seconds=30)


# ---- Preparing videos ------------------------------------------------------------------------------------------------


def test_tasks_of_two_nodes_prepare_what_one_process_does(cluster, tmp_path):
    """One of four is killed while it holds a block: its status is the job's, and the others do all."""
    root, alone, out = tmp_path / "videos", tmp_path / "alone", tmp_path / "out"
    root.mkdir()
    for number in range(24):
        write_video(root / f"{number}.mp4", numbered_frames(40, 48 + number))
    (root / "3.mp4").write_text("no video, but a text")
    (root / "train.csv").write_text("".join(f"{number}.mp4 {number % 2}\n" for number in range(24)))
    words = ["prepare-videos", "--input", root, "--output", out, "--lists", root / "train.csv", "--block", 2]
    job = cluster.submit(tmp_path, (*TWO_BY_TWO, "--cpus-per-task=1"), words, script=PREPARE)

    def is_killed():
        work = out / "prepared.csv.work"
        listing = list_claims(str(work)) if work.exists() else None
        claimed = listing.claimed - listing.done if listing and "plan" in listing.done else ()
        for holder in holders(str(work), claimed).values():
            if holder and holder.host == "node2":
                os.kill(holder.pid, signal.SIGKILL)
                return True
        return False

    job.wait("at work", is_killed, seconds=60)
    job.expect("FAILED", "137:0", 0, seconds=90)
    assert job.log().count("24 videos: 23 encoded, 0 there already, 1 failed\n") == 3
    assert re.search(r"taken over from process \d+ on node2: its process is gone", job.log())

    prepare_videos(str(root), str(alone), Encoding(), lists=[str(root / "train.csv")], workers=2)
    content, expected = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (out, alone)
    )
    assert set(content) - set(expected) == {Path("prepared.csv.work/finish.done")}
    assert {path: content[path] for path in expected} == expected


# ---- Training --------------------------------------------------------------------------------------------------------


class Run:
    """A training of `TINY` as a job."""

    def __init__(self, cluster: Cluster, folder: Path, data: Path, options: tuple[str, ...], **changes: object):
        self.folder = folder / "run"
        self.overrides = {**TRAINING, "DATA.PATH_TO_DATA_DIR": str(data), "OUTPUT_DIR": str(self.folder)}
        self.overrides |= {key.replace("__", "."): value for key, value in changes.items()}
        words = ["--cfg", "X3D_tiny_mutual.yaml", *as_overrides(self.overrides)]
        self.job = cluster.submit(folder, options, words)

    def records(self, *kinds: str) -> list[dict[str, Any]]:
        path = self.folder / "log.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []  # whole lines
        return [record for record in map(json.loads, lines) if record["kind"] in kinds]

    def wait_for_step(self, step: int, starts: int = 1, seconds: float = 120) -> None:
        """Wait until a step is done by the job when it has started so often."""

        def is_done() -> bool:
            steps = [record["step"] for record in self.records("train")]
            return len(self.records("resumed")) == starts - 1 and bool(steps) and steps[-1] >= step

        self.job.wait(f"at step {step} after {starts} starts", is_done, seconds)

    def resumed_after(self) -> list[tuple[int, int]]:
        """Return, for each resumption, the last step done before and the step of its checkpoint; check that the steps
        between resumptions are consecutive."""
        resumptions, last = [], 0
        for record in self.records("train", "resumed"):
            if record["kind"] == "resumed":
                resumptions.append((last, record["step"]))
            else:
                assert record["step"] == last + 1, self.job.log()
            last = record["step"]
        return resumptions

    def checkpoint(self) -> dict[str, Any]:
        paths = (self.folder / "checkpoints").iterdir()
        return load_checkpoint(str(max(paths, key=lambda path: path.stem.split("_step_")[-1])))


def assert_same_result(run: Run, expected: Run) -> None:
    """Compare steps, weights and momentum, to the last bit."""
    content, other = run.checkpoint(), expected.checkpoint()
    assert content["step"] == other["step"]
    for name, value in other["model_state"].items():
        assert torch.equal(content["model_state"][name], value), name
    for index, state in other["optimizer_state"]["state"].items():
        assert torch.equal(content["optimizer_state"]["state"][index]["momentum_buffer"], state["momentum_buffer"])


def test_two_nodes_train_as_one_process_does(cluster, tiny_data, tmp_path):
    """Sums over processes are rounded in another order than in one, and what a small network makes of that grows with
    its learning rate, the more the smaller its clips are. At this one a change of 1e-6 in the first weights stays far
    below the tolerance, and a learning rate that is a fifth higher is ten times above it."""
    changes = {
        "MUTUAL__SIZES": [64],
        "DATA__TRAIN_JITTER_SCALES": [64, 72],
        "DATA__TRAIN_CROP_SIZE": 64,
        "DATA__TEST_CROP_SIZE": 64,
        "BN__NORM_TYPE": "sync_batchnorm",
        "MODEL__DROPOUT_RATE": 0.0,  # each process draws its own
        "TRAIN__BATCH_SIZE": 8,
        "SOLVER__BASE_LR": 2e-4,
        "SOLVER__MAX_EPOCH": 10,
    }
    run = Run(cluster, tmp_path, tiny_data, TWO_BY_TWO, **changes)
    run.job.expect("COMPLETED", "0:0", 0, seconds=180)
    assert "4 processes started by SLURM: 16 videos, steps 0 to 20, 8 clips each" in run.job.log()

    train(m3.load_cfg("X3D_tiny_mutual.yaml", as_overrides(run.overrides | {"OUTPUT_DIR": str(tmp_path / "alone")})))
    alone = [json.loads(line) for line in (tmp_path / "alone" / "log.jsonl").read_text().splitlines()]
    alone = [record for record in alone if record["kind"] == "train"]
    assert [record["step"] for record in alone] == list(range(1, 21))
    for expected, record in zip(alone, run.records("train"), strict=True):
        assert record["losses"] == pytest.approx(expected["losses"], rel=1e-3, abs=1e-6), record["step"]


# Two processes: of more, the sums of a run that goes on are rounded in another order than before, since
# DistributedDataParallel sorts its buckets by the first step that it sees.
LONG = {"MODEL__DROPOUT_RATE": 0.5, "SOLVER__MAX_EPOCH": 30, "DATA_LOADER__NUM_WORKERS": 1}


@pytest.fixture(scope="module")
def uninterrupted(cluster: Cluster, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(cluster, tmp_path_factory.mktemp("uninterrupted"), tiny_data, ONE_EACH, **LONG)
    run.job.expect("COMPLETED", "0:0", 0, seconds=180)
    assert run.resumed_after() == []
    return run


def test_a_run_that_is_asked_to_leave_comes_back(cluster, uninterrupted, tiny_data, tmp_path):
    """By a signal, and then by a job that is more urgent."""
    run = Run(cluster, tmp_path, tiny_data, ONE_EACH, **LONG)
    run.wait_for_step(4)
    cluster.query("scancel", "--signal=USR1", run.job.number)
    run.wait_for_step(10, starts=2)
    urgent = cluster.query(
        "sbatch", "--parsable", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"
    ).strip()
    run.job.expect("COMPLETED", "0:0", 2, seconds=180)
    assert Job(cluster, urgent, tmp_path).fields()["JobState"] == "COMPLETED"
    assert run.job.log().count("asking SLURM to queue the job again") == 2
    (first, second) = run.resumed_after()
    assert first[0] == first[1] >= 4
    assert second[0] == second[1] >= 10
    assert_same_result(run, uninterrupted)


def test_a_run_survives_a_node(cluster, uninterrupted, tiny_data, tmp_path):
    run = Run(cluster, tmp_path, tiny_data, ONE_EACH, TRAIN__CHECKPOINT_STEPS=3, **LONG)
    run.wait_for_step(10)
    assert cluster.control("kill-node", "node2").returncode == 0
    try:
        run.job.wait("queued again", lambda: run.job.fields()["JobState"] == "PENDING", seconds=90)
    finally:
        assert cluster.control("start-node", "node2").returncode == 0
    run.job.expect("COMPLETED", "0:0", 1, seconds=180)
    ((last, went_on),) = run.resumed_after()
    assert last - 3 <= went_on <= last
    assert_same_result(run, uninterrupted)


def test_a_mistake_in_the_config_ends_the_job(cluster, tiny_data, tmp_path):
    run = Run(cluster, tmp_path, tiny_data, TWO_BY_TWO, SOLVER__NO_SUCH_KEY=1)
    run.job.expect("FAILED", "2:0", 0, seconds=90)
    assert "SOLVER.NO_SUCH_KEY" in run.job.log()
