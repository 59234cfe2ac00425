from __future__ import annotations

import pytest
import torch

from mutualnet3d import distributed
from tests.gloo import in_processes


def test_alone_there_is_nothing_to_exchange():
    tensor = torch.tensor([1.0, 2.0])
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.gather({"a": 1}) == [{"a": 1}]
    assert distributed.broadcast("a") == "a"
    distributed.barrier()
    distributed.broadcast_tensors([tensor])
    assert distributed.sum_over_ranks(tensor) is tensor
    assert distributed.start_sum_over_ranks(tensor) is None
    assert distributed.group_of(1) is None
    assert tensor.tolist() == [1, 2]


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


def exchanges():
    """In each of two processes: a sum of which more than one is under way, finished in another order."""
    rank = float(distributed.rank())
    first, second = torch.tensor([1.0, rank]), torch.tensor([rank + 1.0])
    works = [distributed.start_sum_over_ranks(tensor) for tensor in (first, second)]
    third = distributed.sum_over_ranks(torch.tensor([10.0 * rank]))
    for work in reversed(works):
        work.wait()
    return {
        "place": (distributed.rank(), distributed.world_size(), distributed.is_main()),
        "sums": [first.tolist(), second.tolist(), third.tolist()],
        "gather": distributed.gather({"rank": rank, "text": "a" * int(rank + 1)}),
        "broadcast": distributed.broadcast(["from", rank]),
    }


def test_exchanges_of_two_processes():
    for rank, result in enumerate(in_processes("tests.distributed.test_collectives", "exchanges")):
        assert result == {
            "place": (rank, 2, rank == 0),
            "sums": [[2.0, 1.0], [3.0], [10.0]],
            "gather": [{"rank": 0.0, "text": "a"}, {"rank": 1.0, "text": "aa"}],
            "broadcast": ["from", 0.0],
        }


def in_groups() -> dict[str, object]:
    """In each of four processes: groups of neighbours, and the tensors of rank 0."""
    pair = distributed.group_of(2)
    assert pair is not None
    summed = torch.tensor([float(distributed.rank())])
    torch.distributed.all_reduce(summed, group=pair)
    tensors = [torch.full((2,), float(distributed.rank())), torch.tensor(distributed.rank())]
    distributed.broadcast_tensors(tensors)
    with pytest.raises(ValueError, match="a job of 4 processes has no groups of 3"):
        distributed.group_of(3)
    return {
        "pair": torch.distributed.get_process_group_ranks(pair),
        "sum": summed.item(),
        "alone": distributed.group_of(1),
        "whole": distributed.group_of(4) is torch.distributed.group.WORLD,
        "broadcast": [tensor.sum().item() for tensor in tensors],
    }


def test_groups_and_tensors_of_rank_0():
    for rank, result in enumerate(in_processes("tests.distributed.test_collectives", "in_groups", world_size=4)):
        first = rank - rank % 2
        assert result == {
            "pair": [first, first + 1],
            "sum": 2.0 * first + 1.0,
            "alone": None,
            "whole": True,
            "broadcast": [0.0, 0],
        }
