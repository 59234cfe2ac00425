"""The processes of a job: where each stands, how they meet, and what they exchange."""

from mutualnet3d.distributed.collectives import (
    barrier,
    broadcast,
    broadcast_tensors,
    gather,
    group_of,
    is_lost_peer,
    is_main,
    rank,
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
    "sum_over_ranks",
    "world_size",
]
