from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from mutualnet3d import distributed
from mutualnet3d.distributed import PreflightError, joined, launch, preflight
from mutualnet3d.distributed.launch import _SLURM_NEEDS, _TORCHRUN, Launch
from tests.copies import Script


def test_alone_there_is_nobody_to_meet():
    with joined(Launch(host="nowhere.invalid", port=1)):
        assert distributed.world_size() == 1


@pytest.mark.parametrize(
    ("ranks", "text"),
    [([1], "rank 1"), ([0, 1], "ranks 0-1"), ([5, 1, 3, 4], "ranks 1, 3-5"), ([2, 0], "ranks 0, 2")],
)
def test_ranks_are_named_shortly(ranks, text):
    assert preflight._ranks(ranks) == text


# The preflight ends before torch's one process group of a process is made, so threads do for ranks where it fails.

HERE = rf"{socket.gethostname()} \(127.0.0.1\)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def failures(
    world_size: int,
    timeout_seconds: float,
    fingerprints: dict[int, str],
    also: Callable[[int], object] = lambda port: None,
) -> dict[int, str]:
    """Let some ranks try to join; return the error of each. `also` runs beside them and is given the port."""
    port, messages = free_port(), {}

    def join(rank: int, fingerprint: str) -> None:
        try:
            with joined(Launch(rank, world_size, 0, 1, "127.0.0.1", port), timeout_seconds, fingerprint):
                messages[rank] = "joined"
        except PreflightError as error:
            messages[rank] = str(error)

    threads = [threading.Thread(target=join, args=item, daemon=True) for item in fingerprints.items()]
    for thread in threads:
        thread.start()
    also(port)
    for thread in threads:
        thread.join(timeout_seconds + 20)
    return {rank: messages[rank].replace(str(port), "PORT") for rank in sorted(messages)}


def test_a_job_that_may_be_tried_again_is_marked():
    assert distributed.PreflightError("rank 1 did not come", is_lost=True).is_lost
    assert not distributed.PreflightError("rank 1 runs another config").is_lost


def test_missing_ranks_are_named():
    start = time.monotonic()
    messages = failures(6, 1.0, {0: "", 2: ""})
    assert messages == {
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

    messages = failures(3, 1.5, {0: "", 1: ""}, second)
    assert "rank 2 of 3 did not come" in messages[0]


def test_ranks_that_run_something_else_are_named():
    messages = failures(3, 20.0, {0: "torch 2.15", 1: "torch 2.6", 2: "torch 2.15"})
    assert messages == {
        rank: f"rank {rank} of 3 on {HERE}: rank 1 of 3 ({HERE}: rank 1) run another config or other versions than "
        f"rank 0 on {socket.gethostname()}: rank 0 'torch 2.15', rank 1 'torch 2.6'".replace("\\", "")
        for rank in range(3)
    }


def test_a_store_that_cannot_be_reached_or_opened():
    messages = failures(2, 1.0, {1: ""})
    assert messages[1].startswith(
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


# Processes, as many checks in each as it can take.

PREAMBLE = """
import json, os, signal, sys, time
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # two processes cannot share a GPU by NCCL
from datetime import timedelta
import torch
import torch.distributed as dist
from mutualnet3d import distributed
from mutualnet3d.distributed import PreflightError, joined, preflight
from mutualnet3d.distributed.launch import Launch, find_launch
results = {}
def place():
    return Launch(rank, 2, rank, 2, "127.0.0.1", ports.pop(0), "torchrun")
def report(**values):
    results.update(values)
def print_results():
    print("RESULTS", json.dumps(results), flush=True)
"""
TOGETHER = """
with joined(place(), 30.0, "the same"):
    tensor = torch.tensor([1.0, rank])
    report(
        place=[distributed.rank(), distributed.world_size(), distributed.is_main()],
        gather=distributed.gather({"rank": rank, "text": "a" * (rank + 1)}),
        broadcast=distributed.broadcast(["from", rank]),
        same=distributed.sum_over_ranks(tensor) is tensor,
        sum=tensor.tolist(),
        timeout=dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout.total_seconds(),
    )
    start = time.monotonic()
    time.sleep(0.5 * rank)
    distributed.barrier()
    report(waited=time.monotonic() - start)
report(left=not dist.is_initialized())
if rank == 1:
    os.environ["GLOO_SOCKET_IFNAME"] = "nosuch0"
try:
    with joined(place(), 3.0):
        report(no_network="joined")
except PreflightError as error:
    report(no_network=str(error))
os.environ.pop("GLOO_SOCKET_IFNAME", None)
start = time.monotonic()
try:
    with joined(place(), 30.0):
        preflight._set_timeout(timedelta(seconds=0.5))
        if rank == 0:
            distributed.barrier()
        time.sleep(1.5)
        distributed.barrier()
except RuntimeError as error:
    report(silent=[distributed.is_lost_peer(error), str(error)])
print_results()
tensor = torch.ones(100_000)
with joined(place(), 30.0):
    try:
        for step in range(1_000_000):
            dist.all_reduce(tensor)
            if rank == 1 and step == 20:
                os.kill(os.getpid(), signal.SIGKILL)
    except RuntimeError as error:
        report(killed=[distributed.is_lost_peer(error), str(error)])
print_results()
"""
BACKWARD = """
preflight._LEAVING_SECONDS = 1.0
net = torch.nn.Sequential(*[torch.nn.Linear(100, 100) for _ in range(4)])
try:
    with joined(place(), 30.0):
        ddp = torch.nn.parallel.DistributedDataParallel(net, bucket_cap_mb=0.05)
        for step in range(1_000_000):
            ddp(torch.randn(2, 100)).sum().backward()
            if rank == 1 and step == 20:
                os.kill(os.getpid(), signal.SIGKILL)
except RuntimeError as error:
    report(killed=[distributed.is_lost_peer(error), str(error)])
print_results()
"""
# Rank 0 fails while an exchange is under way that rank 1 never answers.
ABANDONED = """
preflight._LEAVING_SECONDS = 1.0
try:
    with joined(place(), 30.0):
        if rank == 1:
            time.sleep(300)
        work = dist.all_reduce(torch.ones(1), async_op=True)
        start = time.monotonic()
        raise KeyError("a bug")
except KeyError as error:
    report(error=str(error), seconds=time.monotonic() - start)
print_results()
"""


def results_of(output: str) -> dict[str, Any]:
    lines = [line for line in output.splitlines() if line.startswith("RESULTS ")]
    assert lines, output
    results: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULTS "))
    return results


def write_script(tmp_path: Path, body: str) -> list[list[str]]:
    """Write a script for ranks 0 and 1, and return the words that run it as each of them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nrank, ports = int(sys.argv[1]), [int(port) for port in sys.argv[2:]]\n" + PREAMBLE + body
    )
    ports = [str(free_port()) for _ in range(body.count("place(),"))]
    return [[str(script), str(rank), *ports] for rank in range(2)]


def run_copies(tmp_path: Path, body: str) -> tuple[list[int], list[dict[str, Any]]]:
    """Run a script as ranks 0 and 1 to its end; return the exit statuses and results."""
    scripts = [Script(words, tmp_path / f"rank_{words[1]}") for words in write_script(tmp_path, body)]
    ends = [script.finish() for script in scripts]
    assert ends[0][0] == 0, ends[0][1][-4000:]
    outputs = [script.printed.read_text() for script in scripts]
    return [status for status, _ in ends], [results_of(output) if output else {} for output in outputs]


def environment() -> dict[str, str]:
    """Without what would say that this process is one of a job's."""
    environment = {name: value for name, value in os.environ.items() if name not in (*_TORCHRUN, *_SLURM_NEEDS)}
    return environment | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@pytest.mark.slow
def test_two_processes_meet_exchange_and_lose_each_other(tmp_path):
    statuses, results = run_copies(tmp_path, TOGETHER)
    for rank in range(2):
        assert results[rank]["place"] == [rank, 2, rank == 0]
        assert results[rank]["gather"] == [{"rank": 0, "text": "a"}, {"rank": 1, "text": "aa"}]
        assert results[rank]["broadcast"] == ["from", 0]
        assert results[rank]["same"]
        assert results[rank]["sum"] == [2.0, 1.0]
        # Not the preflight's.
        assert results[rank]["timeout"] == 1800.0
        assert results[rank]["left"]
        message = results[rank]["no_network"]
        assert f"rank {rank} of 2 on" in message
        assert "all 2 ranks came to 127.0.0.1:" in message
        assert "but cannot exchange data: " in message
        assert "GLOO_SOCKET_IFNAME" in message
        assert results[rank]["silent"][0] is True, results[rank]["silent"]
    assert results[0]["waited"] > 0.4
    assert "nosuch0" in results[1]["no_network"]
    assert results[0]["killed"][0] is True, results[0]["killed"]
    assert "killed" not in results[1]
    assert statuses == [0, -signal.SIGKILL]


def test_a_process_that_dies_during_backward(tmp_path):
    statuses, (results, _) = run_copies(tmp_path, BACKWARD)
    assert results["killed"][0] is True, results
    assert "gloo" in results["killed"][1]
    assert statuses == [0, -signal.SIGKILL]


@pytest.mark.slow
def test_an_error_leaves_without_waiting_for_the_others(tmp_path):
    """The end of the process too: no copies, whose ends are shorter. Rank 1 sleeps."""
    processes = [
        subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
        )
        for words in write_script(tmp_path, ABANDONED)
    ]
    try:
        results = results_of(processes[0].communicate(timeout=120)[0])
        assert processes[1].poll() is None
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert results["error"] == "'a bug'"
    assert results["seconds"] < 5.0
    assert processes[0].returncode == 0


@pytest.mark.slow
def test_torchrun_starts_a_job(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        PREAMBLE
        + """
launch = find_launch(os.environ)
with joined(launch, 30.0):
    own = [launch.rank, launch.local_rank, launch.local_world_size, launch.started_by, launch.attempt]
    values = distributed.gather(own)
    if distributed.is_main():
        report(values=values, hosts_store=launch.hosts_store, host=launch.host, port=launch.port)
        print_results()
"""
    )
    port = free_port()
    command = launch.torchrun_command(f"tcp://127.0.0.1:{port}", 0, 1, 2, [str(script)])
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert results_of(done.stdout) == {
        "values": [[0, 0, 2, "torchrun", 0], [1, 1, 2, "torchrun", 0]],
        "hosts_store": False,
        "host": "127.0.0.1",
        "port": port,
    }
