"""Exchanges between the processes of a job; alone they give back what they are given."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist

# What gloo says (an ordinary RuntimeError) when another process has ended or answers no more; the last is a wait with a
# time limit.
_LOST_PEER = re.compile(
    r"gloo.*(Connection closed by peer|Connection reset by peer|Connection refused|Read error|Write error|Broken pipe"
    r"|Timed out waiting)|NCCL.*remote|^Operation timed out!",
    re.DOTALL,
)


def rank() -> int:
    """Number of this process in the job it has joined; 0 alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes of the job that this one has joined; 1 alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and speaks."""
    return rank() == 0


def gather(value: Any) -> list[Any]:
    """The values (anything that pickles) of all ranks, in their order, on every rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast(value: Any) -> Any:
    """Rank 0's value (anything that pickles), on every rank."""
    if world_size() == 1:
        return value
    values = [value if is_main() else None]
    dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def barrier() -> None:
    """Wait until every rank has come here. (Through the CPU: what a GPU still computes is not waited for.)"""
    sum_over_ranks(torch.zeros(1))


def sum_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Add up a tensor of the same shape and kind on every rank, in place; the tensor."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def broadcast_tensors(tensors: Iterable[torch.Tensor]) -> None:
    """Make the tensors, in their order, those of rank 0, in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def group_of(size: int) -> dist.ProcessGroup | None:
    """This process's group, of `size` processes with neighbouring ranks; None if it is alone in it. All processes call
    this.

    Raises:
        ValueError: the job does not divide into such groups.
    """
    if size < 1 or world_size() % size:
        raise ValueError(f"a job of {world_size()} processes has no groups of {size}")
    if size == 1:
        return None
    return dist.group.WORLD if size == world_size() else dist.new_subgroups(size)[0]


def is_lost_peer(error: BaseException) -> bool:
    """Whether an exception, or one that it came from, says that another process of the job is gone or silent."""
    to_do: list[BaseException | None] = [error]
    seen: set[int] = set()
    while to_do:
        one = to_do.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, dist.DistError) or (isinstance(one, RuntimeError) and _LOST_PEER.search(str(one))):
            return True
        seen.add(id(one))
        to_do += [one.__cause__, one.__context__]
    return False
