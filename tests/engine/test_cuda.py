"""Tests that need a GPU; benchmarks/step.py measures on one."""

from __future__ import annotations

import pytest
import torch

from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.checkpoint_writer import BackgroundWriter
from mutualnet3d.engine.optim import build_sgd
from mutualnet3d.engine.optimizer_step import OptimizerStep
from mutualnet3d.engine.train_network import TrainNetwork
from mutualnet3d.engine.train_step import TrainStep
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import SubnetConfig, SubnetSpace
from mutualnet3d.ops import Normalize, triton_switch
from mutualnet3d.shapes import ClipBatch, ClipShape, union_of_shapes

pytestmark = [
    pytest.mark.needs_cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

SPACE = SubnetSpace((0.5, 1.0), (64, 48), (4, 2))
SOLVER = {"base_lr": 0.01, "momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 1e-4}


def make_step(device, precision=None, scale_losses=False):
    torch.manual_seed(0)
    model = build_x3d(
        full_clip=ClipShape(4, 64), num_classes=5, width_factor=1.0, depth_factor=0.3, dim_c5=32, dropout_rate=0.0
    )
    model = model.to(device, memory_format=torch.channels_last_3d).train()
    every = [SubnetConfig(1.0, size, frames) for size in SPACE.sizes for frames in SPACE.frames]
    shapes = union_of_shapes(model.input_shapes(config) for config in every)
    clips = {
        shape: torch.randint(0, 256, (4, shape.frames, 3, shape.size, shape.size), dtype=torch.uint8)
        for shape in shapes
    }
    batch = ClipBatch(clips, torch.arange(4), torch.arange(4)).pin_memory()
    normalize = Normalize((0.45,) * 3, (0.225,) * 3, torch.channels_last_3d).to(device)
    averaged = AveragedWeights(model, 0.9)
    run = TrainStep(
        TrainNetwork(model, precision),
        OptimizerStep(build_sgd(model, **SOLVER), scale_losses=scale_losses, clip_norm=1.0),
        lambda step: SPACE.at_step(0, step),
        lambda batch, config: [normalize(batch.clips[shape]) for shape in model.input_shapes(config)],
        torch.device(device),
        averaged=averaged,
    )
    return model, batch, run


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize(("precision", "scale_losses"), [(None, False), (torch.bfloat16, False), (torch.float16, True)])
def test_a_step_does_not_wait_for_the_device(precision, scale_losses, on):
    with triton_switch.switched(on, torch.device("cuda", torch.cuda.current_device())):
        _, batch, run = make_step("cuda", precision, scale_losses)
        for step in (0, 1, 2) if on else (0,):  # the first ones set up: constants, workspaces, kernels
            run(step, batch)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            metrics_of_steps = [run(step, batch) for step in (1, 2)]
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert all(0 <= fraction <= 1 for metrics in metrics_of_steps for fraction in metrics.top1.values())


def test_losses_are_those_of_the_cpu(monkeypatch):
    # By default a GPU convolves float32 in TensorFloat-32, which moves the small losses of sub-networks by percents.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    losses = []
    for device in ("cpu", "cuda"):
        _, batch, run = make_step(device)
        losses.append([run(step, batch).losses for step in range(3)])
    for expected, of_gpu in zip(*losses, strict=True):
        assert of_gpu == pytest.approx(expected, rel=2e-3, abs=1e-5)


@pytest.mark.parametrize(("precision", "allowed"), [(None, 2e-3), (torch.bfloat16, 5e-2)])
def test_losses_with_tritons_kernels_are_those_without(precision, allowed, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    losses = []
    device = torch.device("cuda", torch.cuda.current_device())
    for on in (False, True):
        with triton_switch.switched(on, device):
            _, batch, run = make_step("cuda", precision)
            losses.append([run(step, batch).losses for step in range(3)])
    for expected, by_kernels in zip(*losses, strict=True):
        assert by_kernels == pytest.approx(expected, rel=allowed, abs=1e-4 if precision is None else 5e-3)


def test_a_loss_that_is_not_finite_leaves_the_weights_without_the_hosts_looking():
    model, batch, run = make_step("cuda")
    run(0, batch)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    broken = ClipBatch(batch.clips, batch.label_B, batch.video_B)
    prepare = run.prepare
    run.prepare = lambda batch, config: [clip * float("nan") for clip in prepare(batch, config)]
    metrics = run(1, broken)
    run.prepare = prepare
    run(2, batch)  # what the host does before it looks
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    with pytest.raises(FloatingPointError, match="step 2: the loss of"):
        metrics.check_finite()


def test_the_writer_copies_what_is_there_when_it_is_called():
    written = []
    weights = torch.ones(1000, device="cuda")
    with BackgroundWriter(lambda content: written.append(content["w"]) or "path") as writer:
        writer.save({"w": weights})
        weights.zero_()
    (copy,) = written
    assert copy.device.type == "cpu"
    assert torch.equal(copy, torch.ones(1000))
