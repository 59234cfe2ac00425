"""The mutual step in two processes against one: the same mathematics, and one exchange of gradients."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from mutualnet3d.engine.step_metrics import reduce_metrics
from mutualnet3d.engine.train_network import TrainNetwork
from mutualnet3d.models.slowfast import build_slowfast
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import SubnetSpace, mutual_step
from mutualnet3d.shapes import ClipShape, SubnetConfig
from tests.gloo import in_processes

NUM_CLIPS, NUM_CLASSES = 8, 5
FAMILIES = ("x3d", "slowfast")


def build(family):
    """A network in float64, so that what is left of the two ways' difference is not rounding."""
    torch.manual_seed(0)
    if family == "x3d":
        model = build_x3d(
            full_clip=ClipShape(4, 32),
            num_classes=NUM_CLASSES,
            width_factor=1.0,
            depth_factor=0.3,
            dim_c5=32,
            dropout_rate=0.0,
        )
    else:
        model = build_slowfast(
            full_clip=ClipShape(4, 32),
            alpha=2,
            num_classes=NUM_CLASSES,
            dropout_rate=0.0,
            width_per_group=8,
            beta_inv=4,
        )
    for module in model.modules():  # not zero, as a new network's last ones are: nothing must be hidden by zeros
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.double().train()


def clips_of(model, rows):
    generator = torch.Generator().manual_seed(1)
    full_clip = torch.randn(NUM_CLIPS, 3, 8, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, NUM_CLASSES, (NUM_CLIPS,), generator=generator)

    def clips_for(config):
        clips = []
        for shape in model.input_shapes(config):
            chosen = full_clip[rows][:, :, torch.linspace(0, 7, shape.frames).long()]
            clips.append(F.interpolate(chosen, (shape.frames, shape.size, shape.size)))
        return clips

    return clips_for, labels[rows]


SPACE = SubnetSpace(width_range=(0.5, 1.0), sizes=(32, 24), frames=(4, 2))


def gradients(family, rows, sync_group=None, num_parts=1):
    """Return the gradients of a mutual step, tracked statistics, and the number of bytes exchanged."""
    model = build(family)
    for _, norm in model.norms():
        norm.sync_group = sync_group
    network = TrainNetwork(model)
    traffic = {"sent": 0}
    if network.parallel is not None:
        network.parallel.register_comm_hook(traffic, _count_and_average)
    parts = torch.arange(NUM_CLIPS)[rows].chunk(num_parts)
    full, *subnets = (SPACE.full, SPACE.smallest, SubnetConfig(0.8, 32, 2), SubnetConfig(0.8, 24, 4))
    results = []
    for number, part in enumerate(parts):
        with network.no_sync() if number < num_parts - 1 else torch.enable_grad():
            clips_for, labels = clips_of(model, part)
            results.append(
                mutual_step(
                    network,
                    clips_for,
                    labels,
                    full,
                    subnets,
                    backward=lambda loss: (loss / num_parts).backward(),
                    no_sync=network.no_sync,
                )
            )
    return {
        "gradients": {name: parameter.grad.clone() for name, parameter in model.named_parameters()},
        "tracked": {name: value.clone() for name, value in model.named_buffers() if "running" in name},
        "losses": reduce_metrics(0, results).losses,
        "sent": traffic["sent"],
        "size": sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()),
    }


def _count_and_average(traffic, bucket):
    traffic["sent"] += bucket.buffer().numel() * bucket.buffer().element_size()
    tensor = bucket.buffer().div_(dist.get_world_size())
    return dist.all_reduce(tensor, async_op=True).get_future().then(lambda future: future.value()[0])


def steps_of_a_half():
    """Run, in each of two processes, steps on its half of the clips."""
    half = slice(0, NUM_CLIPS // 2) if dist.get_rank() == 0 else slice(NUM_CLIPS // 2, NUM_CLIPS)
    return {
        (family, way): gradients(family, half, dist.group.WORLD if way == "sync" else None, 2 if way == "parts" else 1)
        for family in FAMILIES
        for way in ("sync", "own", "parts")
    }


@functools.cache
def two_processes():
    return in_processes("tests.engine.test_train_network", "steps_of_a_half")


def worst(values, expected):
    """Return the largest difference relative to each tensor's largest value."""
    assert values.keys() == expected.keys()
    return max(((values[name] - expected[name]).abs().max() / expected[name].abs().max()).item() for name in expected)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_with_sync_batchnorm_two_processes_are_one_on_the_joined_batch(family):
    whole = gradients(family, slice(0, NUM_CLIPS))
    for of_process in two_processes():
        half = of_process[family, "sync"]
        assert worst(half["gradients"], whole["gradients"]) < 1e-6
        assert worst(half["tracked"], whole["tracked"]) < 1e-6
        assert half["losses"] == pytest.approx(whole["losses"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_without_it_gradients_are_the_mean_of_the_halves(family):
    halves = [gradients(family, slice(start, start + NUM_CLIPS // 2)) for start in (0, NUM_CLIPS // 2)]
    mean = {name: (grad + halves[1]["gradients"][name]) / 2 for name, grad in halves[0]["gradients"].items()}
    whole = gradients(family, slice(0, NUM_CLIPS))
    assert worst(whole["gradients"], mean) > 1e-3  # it is not the joined batch's: batch norm saw halves
    for of_process, half in zip(two_processes(), halves, strict=True):
        assert worst(of_process[family, "own"]["gradients"], mean) < 1e-6
        assert worst(of_process[family, "own"]["tracked"], half["tracked"]) < 1e-12  # each process keeps its own


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_parts_add_up_to_the_mean_of_the_quarters(family):
    size = NUM_CLIPS // 4
    quarters = [gradients(family, slice(start, start + size))["gradients"] for start in range(0, NUM_CLIPS, size)]
    mean = {name: sum(quarter[name] for quarter in quarters) / 4 for name in quarters[0]}
    for of_process in two_processes():
        assert worst(of_process[family, "parts"]["gradients"], mean) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_exchanges_one_set_of_gradients(family):
    for of_process in two_processes():
        for way in ("own", "sync", "parts"):
            assert of_process[family, way]["sent"] == of_process[family, way]["size"]


def first_steps():
    """Compare, in each of four processes, the gradients of a first and a second step from the same weights, without and
    with an order that is fixed before; "untouched": fixing it changed nothing else."""
    results = {}
    for fixed in (False, True):
        model = build("slowfast").float()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.5  # draws random numbers
        network = TrainNetwork(model)
        before = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
        rank = dist.get_rank()
        clips_for, labels = clips_of(model, slice(2 * rank, 2 * rank + 2))
        as_floats = lambda config, clips_for=clips_for: [clip.float() for clip in clips_for(config)]  # noqa: E731
        if fixed:
            network.fix_order(SPACE.smallest, as_floats(SPACE.smallest))
            state, rng = before
            results["untouched"] = (
                all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
                and torch.equal(rng, torch.get_rng_state())
                and all(parameter.grad is None for parameter in model.parameters())
            )
        steps = []
        for _ in range(2):
            torch.manual_seed(rank)
            model.zero_grad(set_to_none=True)
            mutual_step(network, as_floats, labels, SPACE.full, [SPACE.smallest], no_sync=network.no_sync)
            steps.append([parameter.grad.clone() for parameter in model.parameters()])
        results[fixed] = sum(not torch.equal(first, second) for first, second in zip(*steps, strict=True))
    return results


@pytest.mark.slow
def test_the_first_step_of_many_processes_is_any_other_one_to_the_last_bit():
    for of_process in in_processes("tests.engine.test_train_network", "first_steps", world_size=4):
        assert of_process["untouched"]
        assert of_process[True] == 0
        assert of_process[False] > 0  # what torch's DDP does left alone: should that end, fix_order may go
