"""Joining a job: its processes meet, check each other, exchange a first number, and leave together.

A rank that does not come, that runs something else, or that cannot be reached ends the job within minutes and is named
in the error, instead of a silent hang.
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

# Time limit of an exchange once all have met: a rank may write a checkpoint or read a validation clip from a slow disk
# while the others wait.
GROUP_TIMEOUT = timedelta(minutes=30)
# Time that a leaving process waits for the others, and that rank 0 keeps the store open for those that read the reason
# of a failed preflight.
_LEAVING_SECONDS = 10.0
_POLL_SECONDS = 0.1


class PreflightError(RuntimeError):
    """Failure of a job's processes to come together.

    The message names the ranks that are missing, that differ or that cannot be reached.

    Args:
        message: text for people.
        is_lost: True for a missing process, perhaps of a node that died: the job may be tried again.
    """

    def __init__(self, message: str, is_lost: bool = False):
        super().__init__(message)
        self.is_lost = is_lost


@contextmanager
def joined(launch: Launch, timeout_seconds: float = 300.0, fingerprint: str = "") -> Iterator[None]:
    """Join the job for the time of the context: meet the other processes, exchange data with them, leave at the end.

    Alone it does nothing. Where there is a GPU it becomes torch's current one.

    Args:
        launch: place of this process.
        timeout_seconds: time for all to come, and then for the exchange of a first number.
        fingerprint: text that must be the same everywhere, such as the versions and a hash of the config; short, since
            an error quotes it.

    Raises:
        PreflightError: a rank did not come in time, has another fingerprint, or cannot exchange data.
        ValueError: `device_of` finds no GPU for this process.
    """
    if launch.world_size == 1:
        yield
        return
    device = device_of(launch)
    store, peers = _meet(launch, timeout_seconds, fingerprint)
    in_order = False
    try:
        _connect(launch, device, store, peers, timeout_seconds)
        yield
        in_order = True
    finally:
        _leave(in_order)


@dataclass(frozen=True)
class _Peer:
    """Entry of a rank in the store: its machine and its fingerprint."""

    host: str
    address: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.host} ({self.address})"


def _meet(launch: Launch, timeout_seconds: float, fingerprint: str) -> tuple[dist.Store, dict[int, _Peer]]:
    """Wait until every rank has written itself into the store, and compare them; return the store and all ranks."""
    deadline = time.monotonic() + timeout_seconds
    own = _Peer(socket.gethostname(), _own_address(launch.host, launch.port), fingerprint)
    name, meeting_place = _name(launch, own), f"{launch.host}:{launch.port}"
    store = _open_store(launch, timeout_seconds, name)
    try:
        if store.add(f"taken/{launch.rank}", 1) > 1:
            other = _read_peer(store, launch.rank)
            raise PreflightError(f"{name}: another process is this rank too, on {other}")
        store.set(f"rank/{launch.rank}", json.dumps(vars(own)))
        missing = _missing(store, launch.world_size, deadline)
        peers = {rank: _read_peer(store, rank) for rank in range(launch.world_size) if rank not in missing}
        problem = _difference(peers, launch.world_size)
        if missing:
            problem = (
                f"{_ranks(missing)} of {launch.world_size} did not come to {meeting_place} within "
                f"{timeout_seconds:g} s; there were {_hosts(peers)}"
            )
        if problem:
            _let_others_read(store, launch, peers)
    except dist.DistError as error:
        raise PreflightError(
            f"{name} lost rank 0 at {meeting_place} before all had come: {_short(error)}", is_lost=True
        ) from error
    if problem:
        raise PreflightError(f"{name}: {problem}", is_lost=bool(missing))
    return store, peers


def _open_store(launch: Launch, timeout_seconds: float, name: str) -> dist.Store:
    """Open the store where all meet, or connect to it."""
    timeout = timedelta(seconds=timeout_seconds)
    try:
        store: dist.Store = dist.TCPStore(
            launch.host, launch.port, launch.world_size, launch.hosts_store, timeout, wait_for_workers=False
        )
    except RuntimeError as error:
        failure = "cannot open the store where all meet," if launch.hosts_store else "cannot reach rank 0 at"
        raise PreflightError(
            f"{name} {failure} {launch.host}:{launch.port} within {timeout_seconds:g} s: {_short(error)}",
            is_lost=not launch.hosts_store,
        ) from error
    if launch.attempt is not None:
        store = dist.PrefixStore(f"mutualnet3d/attempt_{launch.attempt}", store)
    return store


def _read_peer(store: dist.Store, rank: int) -> _Peer:
    return _Peer(**json.loads(store.get(f"rank/{rank}")))


def _missing(store: dist.Store, world_size: int, deadline: float) -> list[int]:
    """Wait for all ranks; return those that were missing when the first rank gave up."""
    rank = 0
    while rank < world_size or store.check(["given up"]):
        if rank < world_size and store.check([f"rank/{rank}"]):
            rank += 1
        elif store.check(["given up"]):
            # One list for all, also for a rank that came just now.
            return [int(number) for number in json.loads(store.get("given up"))]
        elif time.monotonic() > deadline:
            missing = [number for number in range(rank, world_size) if not store.check([f"rank/{number}"])]
            store.set("given up", json.dumps(missing))
        else:
            time.sleep(_POLL_SECONDS)
    return []


def _difference(peers: Mapping[int, _Peer], world_size: int) -> str:
    """Return a sentence that names the ranks whose fingerprint is not rank 0's; "" without such ranks."""
    first = peers.get(0)
    others = {rank: peer for rank, peer in peers.items() if first and peer.fingerprint != first.fingerprint}
    if first is None or not others:
        return ""
    fingerprints = [f"rank {rank} {peer.fingerprint!r}" for rank, peer in list(others.items())[:4]]
    return (
        f"{_ranks(others)} of {world_size} ({_hosts(others)}) run another config or other versions than rank 0 on "
        f"{first.host}: rank 0 {first.fingerprint!r}, {', '.join(fingerprints)}"
    )


def _let_others_read(store: dist.Store, launch: Launch, peers: Iterable[int]) -> None:
    """Wait until all ranks that came have read the reason: the store ends with the process that opened it."""
    store.set(f"knows/{launch.rank}", "")
    deadline = time.monotonic() + _LEAVING_SECONDS
    while launch.hosts_store and time.monotonic() < deadline and not store.check([f"knows/{rank}" for rank in peers]):
        time.sleep(_POLL_SECONDS)


def _connect(
    launch: Launch, device: torch.device, store: dist.Store, peers: Mapping[int, _Peer], timeout_seconds: float
) -> None:
    """Make the process group and exchange a first number, on the CPU and on the GPU."""
    timeout = timedelta(seconds=timeout_seconds)

    def exchange(device: torch.device) -> None:
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
        for exchange_device in dict.fromkeys((torch.device("cpu"), device)):
            # NCCL connects in its first call, which has no time limit.
            if not _within(timeout_seconds, partial(exchange, exchange_device)):
                raise RuntimeError(f"no answer within {timeout_seconds:g} s on {exchange_device}")
    except RuntimeError as error:
        others = {rank: peer for rank, peer in peers.items() if rank != launch.rank}
        raise PreflightError(
            f"{_name(launch, peers[launch.rank])}: all {launch.world_size} ranks came to {launch.host}:{launch.port} "
            f"but cannot exchange data: {_short(error)}; the others: {_hosts(others)}. Where a machine has several "
            "networks, GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME (such as eth0) choose the one that joins them all"
        ) from error


def _set_timeout(timeout: timedelta) -> None:
    # Public since torch 2.15.
    set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout
    set_timeout(timeout, dist.group.WORLD)


def _leave(in_order: bool) -> None:
    """Destroy the process group, in a thread that ends with the process.

    The call waits without a limit for exchanges that another rank never answers.

    Args:
        in_order: True to wait for the other ranks first, so that none closes a connection that another still reads.
    """
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
    """Do work that may hang, in a thread; return True if it was done in time. Its error is raised in the caller."""
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
    """Return this machine's address on the way to `host`; no packet is sent."""
    try:
        family, kind, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError as error:
        return f"no way to {host}: {error.strerror or error}"


def _name(launch: Launch, own: _Peer) -> str:
    return f"rank {launch.rank} of {launch.world_size} on {own}"


def _ranks(ranks: Iterable[int]) -> str:
    """Return `rank 1` or `ranks 1, 3-5`."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and rank == spans[-1][1] + 1:
            spans[-1][1] = rank
        else:
            spans.append([rank, rank])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in spans]
    return f"rank{'s' if len(spans) > 1 or '-' in texts[0] else ''} {', '.join(texts)}"


def _hosts(peers: Mapping[int, _Peer]) -> str:
    """Return `node1 (10.0.0.1): ranks 0-3; node2 (10.0.0.2): ranks 4-7`."""
    ranks_of: dict[str, list[int]] = {}
    for rank, peer in peers.items():
        ranks_of.setdefault(str(peer), []).append(rank)
    return "; ".join(f"{host}: {_ranks(ranks)}" for host, ranks in ranks_of.items())


def _short(error: BaseException) -> str:
    """Return the text of an error without torch's stack of C++ calls."""
    return " ".join(str(error).split("\nException raised from")[0].split()) or repr(error)
