from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from mutualnet3d import distributed
from mutualnet3d.distributed import Launch, PreflightError, find_launch, joined

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
    assert distributed.tasks_per_node(text) == tasks


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
    assert distributed.forgotten_srun(environ) == tasks


@pytest.mark.parametrize(
    ("num_gpus", "local_rank", "device"), [(0, 3, "cpu"), (1, 0, "cuda:0"), (1, 3, "cuda:0"), (4, 3, "cuda:3")]
)
def test_the_device_of_a_process(num_gpus, local_rank, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    assert distributed.device_of(Launch(local_rank, 4, local_rank, 4)) == torch.device(device)


def test_more_processes_than_gpus_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"local rank 2 on .* 2 are visible, for local ranks 0..1"):
        distributed.device_of(Launch(2, 4, 2, 4))


@pytest.mark.parametrize(
    ("bound_to", "local_world", "started_by", "cpus_per_task", "threads"),
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
def test_the_threads_of_a_process(bound_to, local_world, started_by, cpus_per_task, threads, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound_to)), raising=False)
    environ = {"SLURM_CPUS_PER_TASK": cpus_per_task} if cpus_per_task else {}
    launch = Launch(0, local_world, 0, local_world, started_by=started_by)
    assert distributed.threads_of(launch, environ) == threads


def test_threads_that_are_no_number():
    with pytest.raises(ValueError, match="SLURM_CPUS_PER_TASK='many'"):
        distributed.threads_of(Launch(started_by="SLURM"), {"SLURM_CPUS_PER_TASK": "many"})


def test_alone_there_is_nothing_to_exchange():
    tensor = torch.tensor([1.0, 2.0])
    with joined(Launch(host="nowhere.invalid", port=1)):
        assert (distributed.rank(), distributed.world(), distributed.is_main()) == (0, 1, True)
        assert distributed.gather({"a": 1}) == [{"a": 1}]
        assert distributed.broadcast("a") == "a"
        distributed.barrier()
        assert distributed.sum_over_ranks(tensor) is tensor
    assert tensor.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("ranks", "text"),
    [([1], "rank 1"), ([0, 1], "ranks 0-1"), ([5, 1, 3, 4], "ranks 1, 3-5"), ([2, 0], "ranks 0, 2")],
)
def test_ranks_are_named_shortly(ranks, text):
    assert distributed._ranks(ranks) == text


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (torch.distributed.DistNetworkError("Connection reset by peer"), True),
        (torch.distributed.DistBackendError("NCCL error in: x.cpp:1, remote process exited"), True),
        (RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [10.0.0.2]:18600."), True),
        (RuntimeError("Operation timed out!"), True),
        (RuntimeError("decoder: Read error"), False),
        (RuntimeError("[enforce fail at gloo/transport/tcp/pair.cc:1] op.preamble.length <= op.nbytes. 8 vs 4"), False),
        (ConnectionResetError("Connection reset by peer"), False),
        (ValueError("gloo: Broken pipe"), False),
    ],
)
def test_lost_peers(error, lost):
    assert distributed.is_lost_peer(error) is lost
    outer, later = OSError("could not go on"), KeyError("while handling it")
    outer.__cause__, later.__context__ = error, outer
    assert distributed.is_lost_peer(later) is lost


@pytest.mark.parametrize(
    ("init_method", "host"), [("tcp://10.0.0.1:9999", "10.0.0.1"), ("tcp://node-1.lan:9999/", "node-1.lan"),
                              ("tcp://[fe80::1]:9999", "fe80::1")],
)  # fmt: skip
def test_the_command_of_torchrun(init_method, host):
    assert distributed.torchrun_command(init_method, 1, 2, 4, ["run.py", "--cfg", "a b.yaml"]) == [
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
        distributed.torchrun_command(*values, ["run.py"])


# The preflight ends before torch's one process group of a process is made, so threads do for ranks where it fails.

HERE = rf"{socket.gethostname()} \(127.0.0.1\)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def failures(
    world: int, timeout_seconds: float, fingerprints: dict[int, str], also: Callable[[int], object] = lambda port: None
) -> dict[int, str]:
    """Let some ranks try to join; what each was told. `also` runs beside them and is given the port."""
    port, told = free_port(), {}

    def join(rank: int, fingerprint: str) -> None:
        try:
            with joined(Launch(rank, world, 0, 1, "127.0.0.1", port), timeout_seconds, fingerprint):
                told[rank] = "joined"
        except PreflightError as error:
            told[rank] = str(error)

    threads = [threading.Thread(target=join, args=one, daemon=True) for one in fingerprints.items()]
    for thread in threads:
        thread.start()
    also(port)
    for thread in threads:
        thread.join(timeout_seconds + 20)
    return {rank: told[rank].replace(str(port), "PORT") for rank in sorted(told)}


def test_who_may_come_when_the_job_is_tried_again_is_told_apart():
    assert distributed.PreflightError("rank 1 did not come", is_lost=True).is_lost
    assert not distributed.PreflightError("rank 1 runs another config").is_lost


def test_missing_ranks_are_named():
    start = time.monotonic()
    told = failures(6, 1.0, {0: "", 2: ""})
    assert told == {
        rank: f"rank {rank} of 6 on {HERE}: ranks 1, 3-5 of 6 did not come to 127.0.0.1:PORT within 1 s; "
        f"there were {HERE}: ranks 0, 2".replace("\\", "")
        for rank in (0, 2)
    }
    assert 1.0 <= time.monotonic() - start < 6.0


def test_a_rank_that_another_has_taken():
    def second(port: int) -> None:
        torch.distributed.TCPStore("127.0.0.1", port, 3, False).wait(["rank/1"], timedelta(seconds=10))
        with (
            pytest.raises(PreflightError, match=rf"rank 1 of 3 on {HERE}: another process is this rank too, on {HERE}"),
            joined(Launch(1, 3, 0, 1, "127.0.0.1", port), 1.0),
        ):
            pass

    told = failures(3, 1.5, {0: "", 1: ""}, second)
    assert "rank 2 of 3 did not come" in told[0]


def test_ranks_that_run_something_else_are_named():
    told = failures(3, 20.0, {0: "torch 2.15", 1: "torch 2.6", 2: "torch 2.15"})
    assert told == {
        rank: f"rank {rank} of 3 on {HERE}: rank 1 of 3 ({HERE}: rank 1) run another config or other versions than "
        f"rank 0 on {socket.gethostname()}: rank 0 'torch 2.15', rank 1 'torch 2.6'".replace("\\", "")
        for rank in range(3)
    }


def test_a_store_that_cannot_be_reached_or_opened():
    told = failures(2, 1.0, {1: ""})
    assert told[1].startswith(
        f"rank 1 of 2 on {HERE} cannot reach rank 0 at 127.0.0.1:PORT within 1 s: ".replace("\\", "")
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(PreflightError, match=rf"cannot open the store .* 127.0.0.1:{port} within 1 s: .*in use"),
            joined(Launch(0, 2, 0, 1, "127.0.0.1", port), 1.0),
        ):
            pass


# Real processes, as many checks in each as it can take: torch takes seconds to load, and the package as long again, of
# which they load the one module.

PREAMBLE = f"""
import importlib.util, json, os, signal, sys, time
from datetime import timedelta
import torch
import torch.distributed as dist
spec = importlib.util.spec_from_file_location("distributed", {distributed.__file__!r})
distributed = sys.modules["distributed"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(distributed)
from distributed import Launch, PreflightError, find_launch, joined
said = {{}}
def place():
    return Launch(rank, 2, rank, 2, "127.0.0.1", ports.pop(0), "torchrun")
def say(**what):
    said.update(what)
def tell():
    print("SAID", json.dumps(said), flush=True)
"""
TOGETHER = """
with joined(place(), 30.0, "the same"):
    tensor = torch.tensor([1.0, rank])
    say(
        place=[distributed.rank(), distributed.world(), distributed.is_main()],
        gather=distributed.gather({"rank": rank, "text": "a" * (rank + 1)}),
        broadcast=distributed.broadcast(["from", rank]),
        same=distributed.sum_over_ranks(tensor) is tensor,
        sum=tensor.tolist(),
        timeout=dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout.total_seconds(),
    )
    start = time.monotonic()
    time.sleep(0.5 * rank)
    distributed.barrier()
    say(waited=time.monotonic() - start)
say(left=not dist.is_initialized())
if rank == 1:
    os.environ["GLOO_SOCKET_IFNAME"] = "nosuch0"
try:
    with joined(place(), 3.0):
        say(no_network="joined")
except PreflightError as error:
    say(no_network=str(error))
os.environ.pop("GLOO_SOCKET_IFNAME", None)
start = time.monotonic()
try:
    with joined(place(), 30.0):
        distributed._set_timeout(timedelta(seconds=0.5))
        if rank == 0:
            distributed.barrier()
        time.sleep(1.5)
        distributed.barrier()
except RuntimeError as error:
    say(silent=[distributed.is_lost_peer(error), str(error)])
tell()
tensor = torch.ones(100_000)
with joined(place(), 30.0):
    try:
        for step in range(1_000_000):
            dist.all_reduce(tensor)
            if rank == 1 and step == 20:
                os.kill(os.getpid(), signal.SIGKILL)
    except RuntimeError as error:
        say(killed=[distributed.is_lost_peer(error), str(error)])
tell()
"""
BACKWARD = """
distributed._LEAVING_SECONDS = 1.0
net = torch.nn.Sequential(*[torch.nn.Linear(100, 100) for _ in range(4)])
try:
    with joined(place(), 30.0):
        ddp = torch.nn.parallel.DistributedDataParallel(net, bucket_cap_mb=0.05)
        for step in range(1_000_000):
            ddp(torch.randn(2, 100)).sum().backward()
            if rank == 1 and step == 20:
                os.kill(os.getpid(), signal.SIGKILL)
except RuntimeError as error:
    say(killed=[distributed.is_lost_peer(error), str(error)])
tell()
"""
# Rank 0 fails while an exchange is under way that rank 1 never answers.
ABANDONED = """
distributed._LEAVING_SECONDS = 1.0
try:
    with joined(place(), 30.0):
        if rank == 1:
            time.sleep(60)
        work = dist.all_reduce(torch.ones(1), async_op=True)
        start = time.monotonic()
        raise KeyError("a bug")
except KeyError as error:
    say(error=str(error), seconds=time.monotonic() - start)
tell()
"""


def heard(output: str) -> dict[str, Any]:
    lines = [line for line in output.splitlines() if line.startswith("SAID ")]
    assert lines, output
    said: dict[str, Any] = json.loads(lines[-1].removeprefix("SAID "))
    return said


@contextlib.contextmanager
def two_processes(tmp_path: Path, body: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Ranks 0 and 1 run a script; what is left of them at the end is killed."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nrank, ports = int(sys.argv[1]), [int(port) for port in sys.argv[2:]]\n" + PREAMBLE + body
    )
    ports = [str(free_port()) for _ in range(body.count("place(),"))]
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), *ports],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )
        for rank in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def environment() -> dict[str, str]:
    return without(dict(os.environ), *TORCHRUN, *SLURM) | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def test_two_processes_meet_exchange_and_lose_each_other(tmp_path):
    with two_processes(tmp_path, TOGETHER) as processes:
        outputs = [process.communicate(timeout=60)[0] for process in processes]
    said = [heard(output) for output in outputs]
    for rank in range(2):
        assert said[rank]["place"] == [rank, 2, rank == 0]
        assert said[rank]["gather"] == [{"rank": 0, "text": "a"}, {"rank": 1, "text": "aa"}]
        assert said[rank]["broadcast"] == ["from", 0]
        assert said[rank]["same"]
        assert said[rank]["sum"] == [2.0, 1.0]
        # Not the preflight's.
        assert said[rank]["timeout"] == 1800.0
        assert said[rank]["left"]
        message = said[rank]["no_network"]
        assert f"rank {rank} of 2 on" in message
        assert "all 2 ranks came to 127.0.0.1:" in message
        assert "but cannot exchange data: " in message
        assert "GLOO_SOCKET_IFNAME" in message
        assert said[rank]["silent"][0] is True, said[rank]["silent"]
    assert said[0]["waited"] > 0.4
    assert "nosuch0" in said[1]["no_network"]
    assert said[0]["killed"][0] is True, said[0]["killed"]
    assert "killed" not in said[1]
    assert [process.returncode for process in processes] == [0, -signal.SIGKILL]


def test_a_process_that_dies_during_backward(tmp_path):
    with two_processes(tmp_path, BACKWARD) as processes:
        output = processes[0].communicate(timeout=40)[0]
        assert processes[1].wait(timeout=20) == -signal.SIGKILL
    said = heard(output)
    assert said["killed"][0] is True, said
    assert "gloo" in said["killed"][1]
    assert processes[0].returncode == 0


def test_an_error_leaves_without_waiting_for_the_others(tmp_path):
    with two_processes(tmp_path, ABANDONED) as processes:
        # Also the end of the process waits for nobody: rank 1 sleeps for a minute.
        said = heard(processes[0].communicate(timeout=40)[0])
        assert processes[1].poll() is None
    assert said["error"] == "'a bug'"
    assert said["seconds"] < 5.0
    assert processes[0].returncode == 0


def test_torchrun_starts_a_job(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        PREAMBLE
        + """
launch = find_launch(os.environ)
with joined(launch, 30.0):
    values = distributed.gather([launch.rank, launch.local_rank, launch.local_world, launch.started_by, launch.attempt])
    if distributed.is_main():
        say(values=values, hosts_store=launch.hosts_store, host=launch.host, port=launch.port)
        tell()
"""
    )
    port = free_port()
    command = distributed.torchrun_command(f"tcp://127.0.0.1:{port}", 0, 1, 2, [str(script)])
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, env=environment(), check=False
    )
    assert done.returncode == 0, done.stdout
    assert heard(done.stdout) == {
        "values": [[0, 0, 2, "torchrun", 0], [1, 1, 2, "torchrun", 0]],
        "hosts_store": False,
        "host": "127.0.0.1",
        "port": port,
    }
