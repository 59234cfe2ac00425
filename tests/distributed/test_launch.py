from __future__ import annotations

import os
import sys

import pytest
import torch

from mutualnet3d.distributed.launch import (
    Launch,
    device_of,
    find_launch,
    forgotten_srun,
    tasks_per_node,
    threads_of,
    torchrun_command,
)

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NODELIST": "node[1-3]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "MASTER_ADDR": "node1",
}
# A batch script's, without srun.
BATCH = {"SLURM_JOB_ID": "123456", "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}


def without(environ: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


@pytest.mark.parametrize(
    ("environ", "launch"),
    [
        ({}, Launch()),
        ({"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}, Launch()),
        (BATCH, Launch()),
        (BATCH | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"}, Launch()),
        ({"RANK": ""}, Launch()),
        (TORCHRUN, Launch(5, 8, 1, 4, "node1", 29500, "torchrun")),
        (SLURM | TORCHRUN, Launch(5, 8, 1, 4, "node1", 29500, "torchrun")),
        (without(TORCHRUN, "LOCAL_WORLD_SIZE"), Launch(5, 8, 1, 2, "node1", 29500, "torchrun")),
        (TORCHRUN | {"TORCHELASTIC_USE_AGENT_STORE": "False"}, Launch(5, 8, 1, 4, "node1", 29500, "torchrun")),
        (
            TORCHRUN | {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2"},
            Launch(5, 8, 1, 4, "node1", 29500, "torchrun", attempt=2),
        ),
        # 123456 mod 20000 = 3456
        (SLURM, Launch(3, 5, 1, 2, "node1", 15456, "SLURM")),
        (SLURM | {"SLURM_STEP_ID": "3"}, Launch(3, 5, 1, 2, "node1", 18483, "SLURM")),
        (SLURM | {"SLURM_JOB_ID": "19999"}, Launch(3, 5, 1, 2, "node1", 31999, "SLURM")),
        (SLURM | {"SLURM_JOB_ID": "20000"}, Launch(3, 5, 1, 2, "node1", 12000, "SLURM")),
        (SLURM | {"MASTER_PORT": "7000"}, Launch(3, 5, 1, 2, "node1", 7000, "SLURM")),
        (
            SLURM | {"SLURM_PROCID": "4", "SLURM_NODEID": "2", "SLURM_LOCALID": "0"},
            Launch(4, 5, 0, 1, "node1", 15456, "SLURM"),
        ),
        # A plain name needs no scontrol.
        (
            without(SLURM, "MASTER_ADDR") | {"SLURM_STEP_NODELIST": "gpu-7", "SLURM_STEP_TASKS_PER_NODE": "5"}
            | {"SLURM_NODEID": "0"},
            Launch(3, 5, 1, 5, "gpu-7", 15456, "SLURM"),
        ),
    ],
)  # fmt: skip
def test_the_place_of_a_process(environ, launch):
    assert find_launch(environ) == launch
    assert launch.hosts_store == (launch.rank == 0)


def test_under_torchruns_agent_no_rank_opens_the_store():
    launch = find_launch(TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert (launch.rank, launch.attempt, launch.hosts_store) == (0, 0, False)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RANK": "0"}, "RANK=0 .* torchrun .* WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are missing.*srun"),
        ({"LOCAL_WORLD_SIZE": "2"}, "LOCAL_WORLD_SIZE=2 .*RANK, .* are missing.*or alone, without LOCAL_WORLD_SIZE"),
        (without(TORCHRUN, "MASTER_PORT"), "MASTER_ADDR=node1 .*but MASTER_PORT is missing"),
        (without(TORCHRUN, "LOCAL_RANK"), "but LOCAL_RANK is missing"),
        (TORCHRUN | {"RANK": "8"}, "RANK='8': expected a whole number from 0 to 7"),
        (TORCHRUN | {"RANK": "-1"}, "RANK='-1': expected a whole number from 0 to 7"),
        (TORCHRUN | {"WORLD_SIZE": "two"}, "WORLD_SIZE='two': expected a whole number of at least 1"),
        (TORCHRUN | {"LOCAL_RANK": "9"}, "LOCAL_RANK='9': expected a whole number from 0 to 7"),
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "1"}, "LOCAL_WORLD_SIZE='1': expected a whole number from 2 to 8"),
        (TORCHRUN | {"MASTER_PORT": "99999"}, "MASTER_PORT='99999': expected a whole number from 1 to 65535"),
        (without(SLURM, "SLURM_LOCALID"), "SLURM_STEP_ID=0, .*srun started .*but SLURM_LOCALID is missing"),
        (
            without(SLURM, "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
            "but SLURM_STEP_NUM_TASKS, SLURM_PROCID are missing; srun sets them all: .* alone, without SLURM_STEP_ID",
        ),
        (SLURM | {"SLURM_PROCID": "5"}, "SLURM_PROCID='5': expected a whole number from 0 to 4"),
        (SLURM | {"SLURM_LOCALID": "2"}, "SLURM_LOCALID='2': expected a whole number from 0 to 1"),
        (SLURM | {"SLURM_NODEID": "3"}, "SLURM_NODEID='3': expected a whole number from 0 to 2"),
        (SLURM | {"SLURM_JOB_ID": "12a"}, "SLURM_JOB_ID='12a'"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2(x2"}, r"TASKS_PER_NODE='2\(x2': expected .* like '2\(x3\),1'"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2,2"}, "'2,2' are 4 tasks, but SLURM_STEP_NUM_TASKS=5"),
    ],
)
def test_a_place_that_is_there_in_part_is_an_error(environ, message):
    with pytest.raises(ValueError, match=message):
        find_launch(environ)


@pytest.mark.parametrize(
    ("text", "tasks"), [("1", [1]), ("4(x3)", [4, 4, 4]), ("2(x2),1", [2, 2, 1]), ("3,1,8(x2)", [3, 1, 8, 8])]
)
def test_tasks_per_node(text, tasks):
    assert tasks_per_node(text) == tasks


@pytest.mark.parametrize(
    ("body", "host"),
    [
        ('[ "$*" = "show hostnames node[1-3]" ] && printf "node1\\nnode2\\nnode3\\n"', "node1"),
        (
            "echo Invalid hostlist >&2; exit 3",
            "scontrol show hostnames node[1-3]: Invalid hostlist; export MASTER_ADDR",
        ),
        ("exit 4", "status 4"),
        (None, "No such file or directory: 'scontrol'"),
    ],
)
def test_the_first_host_is_scontrols(body, host, tmp_path, monkeypatch):
    if body:
        (tmp_path / "scontrol").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if host == "node1":
        assert find_launch(without(SLURM, "MASTER_ADDR")).host == "node1"
        return
    with pytest.raises(ValueError, match=r"cannot tell the first host of SLURM_STEP_NODELIST='node\[1-3\]'") as error:
        find_launch(without(SLURM, "MASTER_ADDR"))
    assert host in str(error.value)


@pytest.mark.parametrize(
    ("environ", "tasks"),
    [
        ({}, 0),
        (BATCH, 8),
        (BATCH | {"SLURM_NTASKS": "1"}, 0),
        (without(BATCH, "SLURM_NTASKS"), 0),
        (BATCH | SLURM, 0),
        (BATCH | TORCHRUN, 0),
    ],
)
def test_a_forgotten_srun(environ, tasks):
    assert forgotten_srun(environ) == tasks


@pytest.mark.parametrize(
    ("num_gpus", "local_rank", "device"), [(0, 3, "cpu"), (1, 0, "cuda:0"), (1, 3, "cuda:0"), (4, 3, "cuda:3")]
)
def test_the_device_of_a_process(num_gpus, local_rank, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    assert device_of(Launch(local_rank, 4, local_rank, 4)) == torch.device(device)


def test_more_processes_than_gpus_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"local rank 2 on .* 2 are visible, for local ranks 0..1"):
        device_of(Launch(2, 4, 2, 4))


@pytest.mark.parametrize(
    ("bound_to", "local_world_size", "started_by", "cpus_per_task", "threads"),
    [
        (16, 1, "alone", None, 16),
        (16, 4, "torchrun", None, 4),
        (16, 32, "torchrun", None, 1),
        (6, 4, "torchrun", None, 6),
        (16, 4, "torchrun", "8", 4),
        (16, 4, "SLURM", None, 4),
        (16, 4, "SLURM", "8", 8),
        (2, 4, "SLURM", "8", 2),
    ],
)
def test_the_threads_of_a_process(bound_to, local_world_size, started_by, cpus_per_task, threads, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound_to)), raising=False)
    environ = {"SLURM_CPUS_PER_TASK": cpus_per_task} if cpus_per_task else {}
    launch = Launch(0, local_world_size, 0, local_world_size, started_by=started_by)
    assert threads_of(launch, environ) == threads


def test_threads_that_are_no_number():
    with pytest.raises(ValueError, match="SLURM_CPUS_PER_TASK='many'"):
        threads_of(Launch(started_by="SLURM"), {"SLURM_CPUS_PER_TASK": "many"})


@pytest.mark.parametrize(
    ("init_method", "host"), [("tcp://10.0.0.1:9999", "10.0.0.1"), ("tcp://node-1.lan:9999/", "node-1.lan"),
                              ("tcp://[fe80::1]:9999", "fe80::1")],
)  # fmt: skip
def test_the_command_of_torchrun(init_method, host):
    assert torchrun_command(init_method, 1, 2, 4, ["run.py", "--cfg", "a b.yaml"]) == [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node_rank", "1", "--nproc_per_node", "4"),
        *("--master_addr", host, "--master_port", "9999", "run.py", "--cfg", "a b.yaml"),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("env://", 0, 1, 1), "init_method 'env://': expected tcp://HOST:PORT"),
        (("tcp://node1", 0, 1, 1), "init_method 'tcp://node1'"),
        (("tcp://node1:70000", 0, 1, 1), "a port from 1 to 65535"),
        (("tcp://node1:9999", 2, 2, 1), r"shard_id 2: expected 0\.\.1, since num_shards is 2"),
        (("tcp://node1:9999", -1, 2, 1), r"shard_id -1: expected 0\.\.1"),
        (("tcp://node1:9999", 0, 0, 1), "num_shards 0: expected at least 1"),
        (("tcp://node1:9999", 0, 1, 0), "processes 0: expected at least 1"),
    ],
)
def test_what_torchrun_cannot_be_told(values, message):
    with pytest.raises(ValueError, match=message):
        torchrun_command(*values, ["run.py"])
