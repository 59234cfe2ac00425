"""Place of this process in its job, by the variables that torchrun or SLURM has put into its environment.

python tools/run_net.py ...                                            one process
torchrun --nproc_per_node 4 tools/run_net.py ...                       one node, four processes
srun --nodes 2 --ntasks-per-node 4 python tools/run_net.py ...         two nodes, in a SLURM job
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

# Below the range that Linux takes the ports of outgoing connections from.
_FIRST_PORT, _NUM_PORTS = 12000, 20000

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_TORCHRUN_NEEDS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_SLURM_NEEDS = (
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_TASKS_PER_NODE",
)


@dataclass(frozen=True)
class Launch:
    """Place of this process in its job.

    Args:
        rank: number of this process, 0..world_size-1.
        world_size: number of processes.
        local_rank: number of this process on its node.
        local_world_size: number of processes on this node.
        host: name or address of rank 0's host, where all meet; "" when alone.
        port: port of the meeting place; 0 when alone.
        started_by: "alone", "torchrun" or "SLURM".
        attempt: number of restarts by torchrun where its agent keeps the store open at host:port; None where rank 0
            opens the store.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    host: str = ""
    port: int = 0
    started_by: str = "alone"
    attempt: int | None = None

    @property
    def hosts_store(self) -> bool:
        """True if this process opens the store where all meet."""
        return self.rank == 0 and self.attempt is None


def find_launch(environ: Mapping[str, str]) -> Launch:
    """Return a process's place by its environment: torchrun's, else that of a task of srun, else alone.

    torchrun wins, since srun often starts it. SLURM's batch script and a step of one task are alone. An empty variable
    counts as absent.

    Args:
        environ: environment variables.

    Returns:
        The place.

    Raises:
        ValueError: variables are missing, are no numbers or contradict each other, or `scontrol`, which expands a SLURM
            node list, fails.
    """
    environ = {name: value for name, value in environ.items() if value}
    if any(name in environ for name in _TORCHRUN):
        return _torchrun_launch(environ)
    if "SLURM_STEP_ID" in environ:
        return _slurm_launch(environ)
    return Launch()


def forgotten_srun(environ: Mapping[str, str]) -> int:
    """Return the number of tasks of a SLURM job whose batch script started this process without srun.

    This process is alone then although the job asked for more. 0 in every other case.
    """
    if environ.get("SLURM_STEP_ID") or any(environ.get(name) for name in _TORCHRUN) or not environ.get("SLURM_NTASKS"):
        return 0
    tasks = _number(environ, "SLURM_NTASKS", 1)
    return tasks if tasks > 1 else 0


def _torchrun_launch(environ: Mapping[str, str]) -> Launch:
    _need(environ, _TORCHRUN_NEEDS, _TORCHRUN, "torchrun")
    world_size = _number(environ, "WORLD_SIZE", 1)
    rank = _number(environ, "RANK", 0, world_size - 1)
    local_rank = _number(environ, "LOCAL_RANK", 0, world_size - 1)
    # Without LOCAL_WORLD_SIZE, at least the processes up to this one are on the node.
    local_world_size = local_rank + 1
    if "LOCAL_WORLD_SIZE" in environ:
        local_world_size = _number(environ, "LOCAL_WORLD_SIZE", local_rank + 1, world_size)
    attempt = None
    if environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        attempt = _number({"TORCHELASTIC_RESTART_COUNT": "0", **environ}, "TORCHELASTIC_RESTART_COUNT", 0)
    port = _number(environ, "MASTER_PORT", 1, 65535)
    return Launch(rank, world_size, local_rank, local_world_size, environ["MASTER_ADDR"], port, "torchrun", attempt)


def _slurm_launch(environ: Mapping[str, str]) -> Launch:
    if environ.get("SLURM_STEP_NUM_TASKS") == "1":
        return Launch()
    _need(environ, _SLURM_NEEDS, ("SLURM_STEP_ID",), "srun")
    world_size = _number(environ, "SLURM_STEP_NUM_TASKS", 1)
    rank = _number(environ, "SLURM_PROCID", 0, world_size - 1)
    tasks = tasks_per_node(environ["SLURM_STEP_TASKS_PER_NODE"])
    if sum(tasks) != world_size:
        raise ValueError(
            f"SLURM_STEP_TASKS_PER_NODE={environ['SLURM_STEP_TASKS_PER_NODE']!r} are {sum(tasks)} tasks, "
            f"but SLURM_STEP_NUM_TASKS={world_size}"
        )
    local_world_size = tasks[_number(environ, "SLURM_NODEID", 0, len(tasks) - 1)]
    local_rank = _number(environ, "SLURM_LOCALID", 0, local_world_size - 1)
    job, step = _number(environ, "SLURM_JOB_ID", 0), _number(environ, "SLURM_STEP_ID", 0)
    # Two jobs, or two steps of a job, that share a node rarely get the same port. 1009: far from neighbouring numbers.
    port = _FIRST_PORT + (job + 1009 * step) % _NUM_PORTS
    if "MASTER_PORT" in environ:
        port = _number(environ, "MASTER_PORT", 1, 65535)
    host = environ.get("MASTER_ADDR") or _first_host(environ["SLURM_STEP_NODELIST"])
    return Launch(rank, world_size, local_rank, local_world_size, host, port, "SLURM")


def _need(environ: Mapping[str, str], names: Sequence[str], signs: Sequence[str], starter: str) -> None:
    missing = [name for name in names if name not in environ]
    if missing:
        present = [f"{name}={environ[name]}" for name in dict.fromkeys((*signs, *names)) if name in environ]
        raise ValueError(
            f"{', '.join(present)} in the environment says that {starter} started this process, but "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; {starter} sets them all: start with "
            f"torchrun or srun, or alone, without {', '.join(name for name in signs if name in environ)}"
        )


def _number(environ: Mapping[str, str], name: str, least: int, most: int | None = None) -> int:
    text = environ[name]
    number = int(text) if text.isascii() and text.isdecimal() else -1
    if number < least or (most is not None and number > most):
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"environment variable {name}={text!r}: expected a whole number {allowed}")
    return number


def tasks_per_node(text: str) -> list[int]:
    """Return the number of tasks on each node, from SLURM's short form.

    Args:
        text: short form, like "2(x3),1" for [2, 2, 2, 1].

    Returns:
        Tasks of each node, in the nodes' order.

    Raises:
        ValueError: the text is not of that form.
    """
    tasks = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]+)(?:\(x([0-9]+)\))?", part)
        if not match:
            raise ValueError(f"SLURM_STEP_TASKS_PER_NODE={text!r}: expected tasks on each node, like '2(x3),1'")
        tasks += [int(match[1])] * int(match[2] or 1)
    return tasks


def _first_host(nodes: str) -> str:
    # A single name needs no scontrol, which containers often lack.
    if re.fullmatch(r"[^][,]+", nodes):
        return nodes
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        is_done = done.returncode == 0 and done.stdout.strip()
        problem = "" if is_done else done.stderr.strip() or f"status {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        raise ValueError(
            f"cannot tell the first host of SLURM_STEP_NODELIST={nodes!r}: {' '.join(command)}: {problem}; "
            "export MASTER_ADDR, the name of that host, if scontrol does not run here"
        )
    return done.stdout.split()[0]


def device_of(launch: Launch) -> torch.device:
    """Return the device of this process: its own GPU, or the CPU where torch sees no GPU.

    A process that sees a single GPU (SLURM's --gpus-per-task=1) takes that GPU.

    Args:
        launch: place of this process.

    Returns:
        The device.

    Raises:
        ValueError: this node has fewer GPUs than processes.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    visible = torch.cuda.device_count()
    if visible == 1:
        return torch.device("cuda", 0)
    if launch.local_rank >= visible:
        raise ValueError(
            f"local rank {launch.local_rank} on {socket.gethostname()} needs a GPU of its own, but {visible} are "
            f"visible, for local ranks 0..{visible - 1}: start at most {visible} processes on this node"
        )
    return torch.device("cuda", launch.local_rank)


def threads_of(launch: Launch, environ: Mapping[str, str]) -> int:
    """Return the number of CPU cores that this process may use, at least 1.

    These are the cores that it is bound to, or its part of the node's cores if it is bound to none. SLURM_CPUS_PER_TASK
    limits a task of srun. (It may be the batch script's value although srun has bound the task to fewer cores.)

    Args:
        launch: place of this process.
        environ: environment variables.

    Returns:
        Number of cores.

    Raises:
        ValueError: SLURM_CPUS_PER_TASK is no number.
    """
    cores = len(os.sched_getaffinity(0))
    if launch.started_by == "SLURM" and environ.get("SLURM_CPUS_PER_TASK"):
        return min(cores, _number(environ, "SLURM_CPUS_PER_TASK", 1))
    if cores == os.cpu_count():
        cores //= launch.local_world_size
    return max(cores, 1)


def torchrun_command(
    init_method: str, shard_id: int, num_shards: int, processes: int, script: Sequence[str]
) -> list[str]:
    """Return torchrun's command line for one node, from PySlowFast's options.

    PySlowFast writes `--init_method tcp://HOST:PORT --shard_id I --num_shards N`.

    Args:
        init_method: meeting place, on node 0.
        shard_id: number of this node, 0..num_shards-1.
        num_shards: number of nodes.
        processes: number of processes on each node.
        script: script and its arguments.

    Raises:
        ValueError: `init_method` is of another form, or a number is out of range.
    """
    match = re.fullmatch(r"tcp://(?:\[([^\]/]+)\]|([^\[\]:/]+)):([0-9]{1,5})/?", init_method)
    if not match or not 1 <= int(match[3]) <= 65535:
        raise ValueError(f"init_method {init_method!r}: expected tcp://HOST:PORT, with a port from 1 to 65535")
    for name, number in (("num_shards", num_shards), ("processes", processes)):
        if number < 1:
            raise ValueError(f"{name} {number}: expected at least 1")
    if not 0 <= shard_id < num_shards:
        raise ValueError(f"shard_id {shard_id}: expected 0..{num_shards - 1}, since num_shards is {num_shards}")
    options = {
        "--nnodes": num_shards,
        "--node_rank": shard_id,
        "--nproc_per_node": processes,
        "--master_addr": match[1] or match[2],
        "--master_port": match[3],
    }
    words = [str(word) for option in options.items() for word in option]
    return [sys.executable, "-m", "torch.distributed.run", *words, *script]
