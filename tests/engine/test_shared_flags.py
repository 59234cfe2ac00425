from __future__ import annotations

import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mutualnet3d.engine.shared_flags import CHECKPOINT, STOP, SharedFlags
from mutualnet3d.engine.step_metrics import reduce_metrics
from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.mutual import StepResult
from tests.engine.loops import BATCH, run_loop
from tests.gloo import in_processes


class Raised(Hook):
    """Notes the flags that are seen after each step."""

    def __init__(self, flags):
        self.flags, self.after_steps = flags, []

    def after_step(self, loop):
        self.after_steps.append([flag for flag in (STOP, CHECKPOINT) if self.flags.is_raised(flag)])


def test_alone_a_flag_is_seen_after_the_step_before_which_it_is_raised():
    flags, evaluated = SharedFlags(), iter([False, True, False])
    flags.add(STOP, lambda: next(evaluated))
    raised = Raised(flags)
    assert not flags.is_raised(STOP)
    assert not flags.is_raised(CHECKPOINT)
    run_loop([flags, raised], steps=3)
    assert raised.after_steps == [[], [STOP], []]


def train_with_flags():
    """In each of two processes: a network under DDP with an exchange of flags around each step. Rank 1 is late, raises
    STOP before step 2, and rank 0 raises CHECKPOINT before step 3."""
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(50, 50), torch.nn.Linear(50, 50))
    # Buckets so small that several exchanges of DDP's are under way with that of the flags.
    network = DistributedDataParallel(model, bucket_cap_mb=0.005)
    generator = torch.Generator().manual_seed(rank)
    clips = torch.randn(5, 4, 50, generator=generator)

    def run_step(step, batch):
        time.sleep(0.05 * rank)
        network.zero_grad()
        loss = network(clips[step]).square().mean()
        loss.backward()
        return reduce_metrics(step, [StepResult({"w1.0-s32-t4": loss.detach()}, {"w1.0-s32-t4": torch.tensor(1.0)})])

    flags = SharedFlags()
    flags.add(STOP, lambda: rank == 1 and loop.step == 2)
    flags.add(CHECKPOINT, lambda: rank == 0 and loop.step == 3)
    raised = Raised(flags)
    gradients = []

    class Gradients(Hook):
        def after_step(self, loop):
            gradients.append(model[0].weight.grad.clone())

    loop = TrainLoop(run_step, [BATCH] * 5, [flags, raised, Gradients()], 0, 5)
    loop.train()
    return raised.after_steps, gradients, clips


def test_all_processes_see_a_flag_after_the_same_step_and_gradients_are_the_mean():
    results = in_processes("tests.engine.test_shared_flags", "train_with_flags")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(50, 50), torch.nn.Linear(50, 50))
    for after_steps, gradients, _ in results:
        assert after_steps == [[], [], [STOP], [CHECKPOINT], []]
        for step, gradient in enumerate(gradients):
            model.zero_grad()
            for _, _, clips in results:
                (model(clips[step]).square().mean() / 2).backward()
            torch.testing.assert_close(gradient, model[0].weight.grad)
