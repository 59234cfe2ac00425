"""Exchanges between the processes of a job; a process alone gets its own argument back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist

# Texts of gloo's errors (ordinary RuntimeErrors) when another process has ended or does not answer; the last one is a
# wait with a time limit.
_LOST_PEER = re.compile(
    r"gloo.*(Connection closed by peer|Connection reset by peer|Connection refused|Read error|Write error|Broken pipe"
    r"|Timed out waiting)|NCCL.*remote|^Operation timed out!",
    re.DOTALL,
)


def rank() -> int:
    """Return the number of this process in the job that it has joined; 0 alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes of the job that this one has joined; 1 alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Return True in the process that writes files and the log."""
    return rank() == 0


def gather(value: Any) -> list[Any]:
    """Return the values of all ranks, in their order, on every rank.

    Args:
        value: anything that pickles.
    """
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast(value: Any) -> Any:
    """Return rank 0's value, on every rank.

    Args:
        value: anything that pickles.
    """
    if world_size() == 1:
        return value
    values = [value if is_main() else None]
    dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def barrier() -> None:
    """Wait until every rank has called this function.

    The wait is the CPU's: work that a GPU still has queued is not waited for.
    """
    sum_over_ranks(torch.zeros(1))


def sum_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Add up a tensor of the same shape and type over the ranks, in place, and return it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def start_sum_over_ranks(tensor: torch.Tensor) -> dist.Work | None:
    """Start to add up a tensor over the ranks, in place.

    Exchanges that all ranks start in the same order may be under way at the same time.

    Args:
        tensor: tensor of the same shape and type on all ranks; it holds the sum after `wait()` of the returned work.

    Returns:
        The work; None alone.
    """
    return dist.all_reduce(tensor, async_op=True) if world_size() > 1 else None


def broadcast_tensors(tensors: Iterable[torch.Tensor]) -> None:
    """Overwrite the tensors, in their order, with those of rank 0."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def group_of(size: int) -> dist.ProcessGroup | None:
    """Return this process's group of `size` processes with neighbouring ranks.

    All processes call this.

    Args:
        size: processes of a group, a divisor of the job's.

    Returns:
        The group; None for a group of this process alone.

    Raises:
        ValueError: the job does not divide into such groups.
    """
    if size < 1 or world_size() % size:
        raise ValueError(f"a job of {world_size()} processes has no groups of {size}")
    if size == 1:
        return None
    return dist.group.WORLD if size == world_size() else dist.new_subgroups(size)[0]


def is_lost_peer(error: BaseException) -> bool:
    """Return True if an exception, or a cause of it, says that another process of the job has ended or is silent."""
    to_do: list[BaseException | None] = [error]
    done: set[int] = set()
    while to_do:
        current = to_do.pop()
        if current is None or id(current) in done:
            continue
        if isinstance(current, dist.DistError) or (
            isinstance(current, RuntimeError) and _LOST_PEER.search(str(current))
        ):
            return True
        done.add(id(current))
        to_do += [current.__cause__, current.__context__]
    return False
