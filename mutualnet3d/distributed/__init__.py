"""The processes of a job: the place of each, their meeting, and their exchanges."""

from mutualnet3d.distributed.collectives import (
    barrier,
    broadcast,
    broadcast_tensors,
    gather,
    group_of,
    is_lost_peer,
    is_main,
    rank,
    start_sum_over_ranks,
    sum_over_ranks,
    world_size,
)
from mutualnet3d.distributed.launch import Launch
from mutualnet3d.distributed.preflight import PreflightError, joined

__all__ = [
    "Launch",
    "PreflightError",
    "barrier",
    "broadcast",
    "broadcast_tensors",
    "gather",
    "group_of",
    "is_lost_peer",
    "is_main",
    "joined",
    "rank",
    "start_sum_over_ranks",
    "sum_over_ranks",
    "world_size",
]
