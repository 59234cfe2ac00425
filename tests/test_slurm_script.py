"""The scripts in slurm/ beside pretended clients of SLURM: what they refuse, and the words that they hand on.

tests/test_slurm.py submits them to a real SLURM.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "mutualnet3d" / "slurm" / "train.sbatch"
PREPARE = SCRIPT.with_name("prepare.sbatch")
BIN = "/usr/bin:/bin"


@pytest.fixture
def submit(tmp_path):
    """Run the script in a job's environment: its status, errors, and the commands that it called."""
    clients = tmp_path / "clients"
    clients.mkdir()
    calls = tmp_path / "calls"
    for name in ("srun", "sinfo", "squeue", "scontrol"):
        body = f"printf '<%s>' {name} \"$@\" >> '{calls}'; echo >> '{calls}'\n"
        if name == "srun":  # its options, then what to run
            body += 'while [[ $1 == --* ]]; do shift; done\n"$@"\n'
        (clients / name).write_text(f"#!/bin/bash\n{body}")
        (clients / name).chmod(0o755)

    def run(*words, script=SCRIPT, python="true", cwd=None, **environ):
        calls.write_text("")
        environ = {"SLURM_JOB_ID": "7", **environ}
        environ = {name: value for name, value in environ.items() if value is not None}
        done = subprocess.run(
            ["bash", str(script), *words],
            env={"PATH": f"{clients}:{BIN}", "PYTHON": python, **environ},
            cwd=cwd or tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stderr, calls.read_text()

    return run


@pytest.mark.parametrize("value", ["abc", "-1", "", "1e3", "1.5", " 3", "9" * 30, "a[$(touch evil)]"])
def test_a_limit_that_is_no_number_is_refused_before_the_training(submit, tmp_path, value):
    status, errors, calls = submit("--cfg", "x", MUTUALNET3D_MAX_RESTARTS=value)
    message = f"error: MUTUALNET3D_MAX_RESTARTS is '{value}'; it must be a whole number of at least 0"
    assert (status, errors, calls) == (2, f"train.sbatch: {message}\n", "")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(("limit", "restarts", "again"), [("0", None, False), ("08", "7", True), ("8", "8", False)])
def test_the_limit_holds(submit, tmp_path, limit, restarts, again):
    leaves = tmp_path / "leaves"
    leaves.write_text("exit 75\n")
    environ = {"MUTUALNET3D_MAX_RESTARTS": limit, "SLURM_RESTART_COUNT": restarts}
    status, errors, calls = submit("--cfg", "x", python=f"bash {leaves}", **environ)
    assert status == 75
    assert ("<scontrol><requeue><7>" in calls) == again, errors


def test_a_call_outside_of_slurm_and_a_damaged_count_are_refused(submit):
    status, errors, calls = submit("--cfg", "x", SLURM_JOB_ID=None)
    assert (status, calls) == (2, "")
    assert "SLURM_JOB_ID is not set: this script is for sbatch" in errors
    status, errors, calls = submit("--cfg", "x", SLURM_RESTART_COUNT="many")
    assert (status, calls) == (2, "")
    assert "SLURM_RESTART_COUNT is 'many'" in errors


def test_words_and_folders_may_have_spaces_and_quotes(submit, tmp_path):
    """And the script may lie anywhere: nothing is made of its path."""
    root = tmp_path / "tools" / "slurm" / "a 'root'" / "tools" / "slurm"
    root.mkdir(parents=True)
    script = shutil.copy(SCRIPT, root / "train.sbatch")
    words = [
        "--cfg",
        'a "name".yaml',
        "OUTPUT_DIR",
        "out $HOME `x` 'y'",
        "MUTUAL.SIZES",
        "[32, 48]",
        "DATA.LABEL_FILE",
        "",
    ]
    status, errors, calls = submit(*words, script=script, cwd=root)
    assert (status, errors) == (0, "")
    assert calls.rstrip("\n").endswith("<true><-m><mutualnet3d><train>" + "".join(f"<{word}>" for word in words))


def test_variables_that_a_cluster_does_not_set_are_not_needed(submit):
    for environ in ({"SLURM_GPUS_ON_NODE": "2"}, {"SLURM_GPUS_ON_NODE": "gpu:2"}, {}):
        status, errors, calls = submit("--cfg", "x", **environ)
        assert (status, errors) == (0, "")
        assert ("--ntasks-per-node=2" in calls) == (environ == {"SLURM_GPUS_ON_NODE": "2"})
    status, errors, _ = submit("--cfg", "x", python="false")
    assert (status, errors.splitlines()[-1]) == (1, "train.sbatch: error: the run failed with status 1")


def test_videos_are_prepared_by_tasks_that_share_them(submit):
    words = ["prepare-videos", "--input", "a 'folder'", "--output", "$HOME", "--workers", "3"]
    status, errors, calls = submit(*words, script=PREPARE, SLURM_CPUS_PER_TASK="8")
    assert (status, errors) == (0, "")
    printed = "".join(f"<{word}>" for word in [*words[:1], "--workers", "8", "--shared", *words[1:]])
    assert calls == f"<srun><--kill-on-bad-exit=0><--cpus-per-task=8><true><-m><mutualnet3d>{printed}\n"
    status, errors, calls = submit("check-videos", "--list", "", script=PREPARE, python="false")
    assert calls == "<srun><--kill-on-bad-exit=0><false><-m><mutualnet3d><check-videos><--shared><--list><>\n"
    assert (status, errors) == (
        1,
        "prepare.sbatch: left with status 1: 1 for videos that failed, 2 for an error; the same command goes on\n",
    )


def test_other_commands_than_those_about_videos_are_refused(submit):
    for words, first in (((), ""), (("train", "--cfg", "x"), "train")):
        status, errors, calls = submit(*words, script=PREPARE)
        message = f"error: the first word is '{first}'; it must be prepare-videos or check-videos"
        assert (status, errors, calls) == (2, f"prepare.sbatch: {message}\n", "")
    status, errors, calls = submit("check-videos", script=PREPARE, SLURM_JOB_ID=None)
    assert (status, calls) == (2, "")
    assert "SLURM_JOB_ID is not set: this script is for sbatch; without SLURM, call mutualnet3d with --shared" in errors
