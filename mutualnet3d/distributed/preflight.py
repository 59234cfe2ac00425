"""Joining a job: how its processes meet, check each other and leave.

A rank that does not come, that runs something else, or that cannot be reached ends a job within minutes and with its
name, instead of a hang without a word.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist

from mutualnet3d.distributed.collectives import barrier
from mutualnet3d.distributed.launch import Launch, device_of

# How long an exchange may wait for the slowest rank once all have met: one may write a checkpoint or read a validation
# clip from a slow disk while the others wait.
GROUP_TIMEOUT = timedelta(minutes=30)
# How long a process that leaves waits for the others, and how long rank 0 keeps the store open for those that read in
# it why the preflight failed.
_LEAVING_SECONDS = 10.0
_POLL_SECONDS = 0.1


class PreflightError(RuntimeError):
    """The processes of a job did not come together; the message names who is missing, differs or cannot be reached.

    Args:
        is_lost: a process is not there, which may be so because its node died: the job may be tried again.
    """

    def __init__(self, message: str, is_lost: bool = False):
        super().__init__(message)
        self.is_lost = is_lost


@contextmanager
def joined(launch: Launch, timeout_seconds: float = 300.0, fingerprint: str = "") -> Iterator[None]:
    """Be one of the job's processes: meet the others, see that data goes around, and leave at the end.

    Alone it does nothing. Where there is a GPU it becomes torch's current one.

    Args:
        launch: this process's place.
        timeout_seconds: how long all may take to come, and then to exchange a first number.
        fingerprint: what must be the same everywhere, such as the versions and a hash of the config; short, since an
            error quotes it.

    Raises:
        PreflightError: a rank did not come in time, has another fingerprint, or cannot exchange data.
        ValueError: `device_of` finds no GPU for this process.
    """
    if launch.world_size == 1:
        yield
        return
    device = device_of(launch)
    store, came = _meet(launch, timeout_seconds, fingerprint)
    in_order = False
    try:
        _connect(launch, device, store, came, timeout_seconds)
        yield
        in_order = True
    finally:
        _leave(in_order)


@dataclass(frozen=True)
class _Came:
    """What a rank writes down when it comes."""

    host: str
    address: str
    fingerprint: str


def _meet(launch: Launch, timeout_seconds: float, fingerprint: str) -> tuple[dist.Store, dict[int, _Came]]:
    """Wait until every rank has written into the store who it is."""
    deadline = time.monotonic() + timeout_seconds
    me = _Came(socket.gethostname(), _own_address(launch.host, launch.port), fingerprint)
    i_am, there = _who(launch, me), f"{launch.host}:{launch.port}"
    timeout = timedelta(seconds=timeout_seconds)
    try:
        store: dist.Store = dist.TCPStore(
            launch.host, launch.port, launch.world_size, launch.hosts_store, timeout, wait_for_workers=False
        )
    except RuntimeError as error:
        what = "cannot open the store where all meet," if launch.hosts_store else "cannot reach rank 0 at"
        text = f"{i_am} {what} {there} within {timeout_seconds:g} s: {_said(error)}"
        raise PreflightError(text, is_lost=not launch.hosts_store) from error
    if launch.attempt is not None:
        store = dist.PrefixStore(f"mutualnet3d/attempt_{launch.attempt}", store)
    try:
        if store.add(f"taken/{launch.rank}", 1) > 1:
            other = _Came(**json.loads(store.get(f"rank/{launch.rank}")))
            raise PreflightError(f"{i_am}: another process is this rank too, on {other.host} ({other.address})")
        store.set(f"rank/{launch.rank}", json.dumps(vars(me)))
        missing = _missing(store, launch.world_size, deadline)
        came = {
            rank: _Came(**json.loads(store.get(f"rank/{rank}")))
            for rank in range(launch.world_size)
            if rank not in missing
        }
        problem = ""
        if missing:
            problem = (
                f"{_ranks(missing)} of {launch.world_size} did not come to {there} within {timeout_seconds:g} s; "
                f"there were {_hosts(came)}"
            )
        else:
            others = {rank: one for rank, one in came.items() if one.fingerprint != came[0].fingerprint}
            if others:
                each = [f"rank {rank} {one.fingerprint!r}" for rank, one in list(others.items())[:4]]
                problem = (
                    f"{_ranks(others)} of {launch.world_size} ({_hosts(others)}) run another config or other versions "
                    f"than rank 0 on {came[0].host}: rank 0 {came[0].fingerprint!r}, {', '.join(each)}"
                )
        if problem:
            _let_others_read(store, launch, came)
    except dist.DistError as error:
        raise PreflightError(
            f"{i_am} lost rank 0 at {there} before all had come: {_said(error)}", is_lost=True
        ) from error
    if problem:
        raise PreflightError(f"{i_am}: {problem}", is_lost=bool(missing))
    return store, came


def _missing(store: dist.Store, world_size: int, deadline: float) -> list[int]:
    """Wait for all ranks; those that were not there when the first rank gave up."""
    rank = 0
    while rank < world_size or store.check(["given up"]):
        if rank < world_size and store.check([f"rank/{rank}"]):
            rank += 1
        elif store.check(["given up"]):
            # One list for all, also for a rank that came just now.
            return [int(one) for one in json.loads(store.get("given up"))]
        elif time.monotonic() > deadline:
            missing = [one for one in range(rank, world_size) if not store.check([f"rank/{one}"])]
            store.set("given up", json.dumps(missing))
        else:
            time.sleep(_POLL_SECONDS)
    return []


def _let_others_read(store: dist.Store, launch: Launch, came: Iterable[int]) -> None:
    """The store ends with the process that opened it: this one waits until all that came know why."""
    store.set(f"knows/{launch.rank}", "")
    deadline = time.monotonic() + _LEAVING_SECONDS
    while launch.hosts_store and time.monotonic() < deadline and not store.check([f"knows/{rank}" for rank in came]):
        time.sleep(_POLL_SECONDS)


def _connect(
    launch: Launch, device: torch.device, store: dist.Store, came: Mapping[int, _Came], timeout_seconds: float
) -> None:
    """Make the process group and send a first number around, on the CPU and on the GPU."""
    timeout = timedelta(seconds=timeout_seconds)

    def send(device: torch.device) -> None:
        total = torch.full((1,), launch.rank + 1.0, dtype=torch.float64, device=device)
        work = dist.all_reduce(total, async_op=True)
        assert work is not None, "this rank is in the group"
        work.wait(timeout)
        expected = launch.world_size * (launch.world_size + 1) / 2
        if total.item() != expected:
            raise RuntimeError(f"the sum over the ranks is {total.item():g} and should be {expected:g}")

    try:
        backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.world_size, timeout=timeout)
        # Before the first exchange: NCCL's watchdog kills a process at the group's timeout, before it can say why.
        _set_timeout(GROUP_TIMEOUT)
        for each in dict.fromkeys((torch.device("cpu"), device)):
            # NCCL connects in its first call and knows no time limit there.
            if not _within(timeout_seconds, partial(send, each)):
                raise RuntimeError(f"no answer within {timeout_seconds:g} s on {each}")
    except RuntimeError as error:
        others = {rank: one for rank, one in came.items() if rank != launch.rank}
        raise PreflightError(
            f"{_who(launch, came[launch.rank])}: all {launch.world_size} ranks came to {launch.host}:{launch.port} but "
            f"cannot exchange data: {_said(error)}; the others: {_hosts(others)}. Where a machine has several "
            "networks, GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME (such as eth0) choose the one that joins them all"
        ) from error


def _set_timeout(timeout: timedelta) -> None:
    # Public since torch 2.15.
    set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout
    set_timeout(timeout, dist.group.WORLD)


def _leave(in_order: bool) -> None:
    """Take the process group down, which waits without a limit for exchanges that another rank never answers: in a
    thread that the end of the process ends. In order, the ranks wait for each other, so that none closes a connection
    from which another still reads."""
    if not dist.is_initialized():
        return

    def leave() -> None:
        if in_order:
            with contextlib.suppress(RuntimeError):
                barrier()
        dist.destroy_process_group()

    with contextlib.suppress(RuntimeError):
        _within(_LEAVING_SECONDS, leave)


def _within(seconds: float, work: Callable[[], None]) -> bool:
    """Do work that may hang, in a thread; whether it was done in time. What it raises is raised here."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    return not thread.is_alive()


def _own_address(host: str, port: int) -> str:
    """This machine's address on the way to `host`; no packet is sent."""
    try:
        family, kind, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError as error:
        return f"no way to {host}: {error.strerror or error}"


def _who(launch: Launch, me: _Came) -> str:
    return f"rank {launch.rank} of {launch.world_size} on {me.host} ({me.address})"


def _ranks(ranks: Iterable[int]) -> str:
    """`rank 1` or `ranks 1, 3-5`."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and rank == spans[-1][1] + 1:
            spans[-1][1] = rank
        else:
            spans.append([rank, rank])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in spans]
    return f"rank{'s' if len(spans) > 1 or '-' in texts[0] else ''} {', '.join(texts)}"


def _hosts(came: Mapping[int, _Came]) -> str:
    """`node1 (10.0.0.1): ranks 0-3; node2 (10.0.0.2): ranks 4-7`."""
    ranks_at: dict[str, list[int]] = {}
    for rank, one in came.items():
        ranks_at.setdefault(f"{one.host} ({one.address})", []).append(rank)
    return "; ".join(f"{host}: {_ranks(ranks)}" for host, ranks in ranks_at.items())


def _said(error: BaseException) -> str:
    # torch adds its own stack of C++ calls below.
    return " ".join(str(error).split("\nException raised from")[0].split()) or repr(error)
