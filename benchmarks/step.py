#!/usr/bin/env python3
"""A mutual training step: against its parts, against the full network alone, against pytorchvideo in a plain loop.

    python benchmarks/step.py --model x3d_m
    python benchmarks/step.py --model slow_8x8_r50 --batch 8 --device cuda --precision bf16

Printed are ratios of medians, what is compared taking turns in one run:

- the mutual step over the sum of its four networks' passes and the optimizer's step, each run alone;
- the mutual step over the full network's own step, beside the ratio of their multiply-adds;
- static training of the full network: pytorchvideo's network, whose arithmetic PySlowFast trains with, in a plain loop
  (contiguous tensors, torch's default optimizer) over ours: as clips a second;
- with --compile, torch.compile of the full network's step over the plain one;
- what two processes exchange in a step over the gradients' size.

Ours takes uint8 clips, as the loader delivers them, and normalises them in the step; the plain loop gets float ones for
nothing. On a GPU: peak memory of both, and the kernels that take longest.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from pytorchvideo.models.resnet import create_resnet
from pytorchvideo.models.slowfast import create_slowfast
from pytorchvideo.models.x3d import create_x3d
from torch import multiprocessing, nn

import mutualnet3d as m3
from mutualnet3d.data.transforms import Normalize
from mutualnet3d.engine.optim import build_sgd
from mutualnet3d.engine.optimizer_step import OptimizerStep
from mutualnet3d.engine.train_network import TrainNetwork
from mutualnet3d.engine.train_step import TrainStep
from mutualnet3d.mutual.losses import distillation_loss, label_loss
from mutualnet3d.shapes import ClipBatch, ClipShape, SubnetConfig, union_of_shapes

NUM_CLASSES, SEED = 400, 0
FRAMES = {"x3d_m": (16, 13, 10, 6), "slow_8x8_r50": (8, 6, 5, 3), "slowfast_4x16_r50": (4, 3, 2)}
SOLVER = {"base_lr": 0.001, "momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 1e-4}
AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def pytorchvideos_network(name: str) -> nn.Module:
    """The network that ours is converted from."""
    if name == "x3d_m":
        return create_x3d(
            input_clip_length=16,
            input_crop_size=224,
            model_num_class=NUM_CLASSES,
            depth_factor=2.2,
            width_factor=2.0,
            head_activation=None,
            head_output_with_global_average=True,
        )
    if name == "slow_8x8_r50":
        return create_resnet(
            model_num_class=NUM_CLASSES,
            stem_conv_kernel_size=(1, 7, 7),
            stem_conv_stride=(1, 2, 2),
            stem_pool=nn.MaxPool3d,
            head_pool_kernel_size=(8, 7, 7),
        )
    return create_slowfast(
        slowfast_fusion_conv_kernel_size=(5, 1, 1),
        slowfast_fusion_conv_stride=(8, 1, 1),
        head_pool_kernel_sizes=((4, 7, 7), (32, 7, 7)),
        model_num_class=NUM_CLASSES,
    )


@dataclass
class Bench:
    """Ours, ready to train on clips that do not change."""

    model: Any
    space: m3.SubnetSpace
    batch: ClipBatch
    device: torch.device
    precision: str

    @classmethod
    def make(cls, name: str, num_clips: int, device: torch.device, precision: str) -> Bench:
        torch.manual_seed(SEED)
        model = m3.create_model(name, NUM_CLASSES).to(device, memory_format=torch.channels_last_3d).train()
        space = m3.SubnetSpace((0.63, 1.0), (224, 192, 160, 128), FRAMES[name])
        every = [SubnetConfig(1.0, size, frames) for size in space.sizes for frames in space.frames]
        shapes = union_of_shapes(model.input_shapes(config) for config in every)
        batch = ClipBatch(
            {shape: _uint8_clip(num_clips, shape) for shape in shapes}, torch.arange(num_clips), torch.arange(num_clips)
        )
        return cls(model, space, batch.to(device), device, precision)

    def step(self, mutual: bool) -> Callable[[int], Any]:
        """Our training step."""
        scale = self.precision == "fp16"
        run = TrainStep(
            TrainNetwork(self.model, AUTOCAST[self.precision]),
            OptimizerStep(build_sgd(self.model, **SOLVER), scale_losses=scale),
            (lambda step: self.space.at_step(SEED, step)) if mutual else (lambda step: (self.space.full,)),
            self.prepare,
            self.device,
        )
        return lambda step: run(step, self.batch)

    def prepare(self, batch: ClipBatch, config: SubnetConfig) -> list[torch.Tensor]:
        normalize = Normalize((0.45,) * 3, (0.225,) * 3, torch.channels_last_3d)
        return [normalize(batch.clips[shape]) for shape in self.model.input_shapes(config)]

    def parts(self) -> Callable[[int], list[float]]:
        """Seconds of each network's passes alone, and of the optimizer's step, for the networks of a step."""
        network, optimizer = TrainNetwork(self.model, AUTOCAST[self.precision]), build_sgd(self.model, **SOLVER)
        teacher_BK = torch.randn(len(self.batch), NUM_CLASSES, device=self.device)

        def pass_of(config: SubnetConfig, is_full: bool) -> None:
            if is_full:
                label_loss(network(self.prepare(self.batch, config)), self.batch.label_B).backward()
                return
            with network.active(config):
                distillation_loss(network(self.prepare(self.batch, config)), teacher_BK).backward()

        def run(step: int) -> list[float]:
            seconds = []
            for place, config in enumerate(self.space.at_step(SEED, step)):
                self.model.zero_grad(set_to_none=True)
                seconds.append(timed(self.device, lambda config=config, place=place: pass_of(config, place == 0)))
            return [*seconds, timed(self.device, optimizer.step)]

        return run


def _uint8_clip(num_clips: int, shape: ClipShape) -> torch.Tensor:
    clip = torch.randint(0, 256, (num_clips, shape.frames, shape.size, shape.size, 3), dtype=torch.uint8)
    return clip.permute(0, 1, 4, 2, 3)  # B, T, C, H, W with the channels last in memory, as the loader has it


def plain_loop(bench: Bench, name: str) -> Callable[[int], Any]:
    """pytorchvideo's network in a loop as anyone writes it; checked to have our losses."""
    network = pytorchvideos_network(name).to(bench.device).train()
    network.load_state_dict(bench.model.state_dict())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9, nesterov=True, weight_decay=1e-4)
    clips = [clip.contiguous().clone() for clip in bench.prepare(bench.batch, bench.space.full)]
    autocast, scaler = (
        AUTOCAST[bench.precision],
        torch.amp.GradScaler(bench.device.type, enabled=bench.precision == "fp16"),
    )

    def loss() -> torch.Tensor:
        with torch.autocast(bench.device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            # pytorchvideo's SlowFast writes into the list that it is given.
            logits_BK = network(list(clips) if len(clips) > 1 else clips[0])
        return F.cross_entropy(logits_BK.float(), bench.batch.label_B)

    with torch.no_grad():
        network.eval()
        bench.model.eval()
        with bench.model.active(bench.space.full):
            ours = F.cross_entropy(bench.model(bench.prepare(bench.batch, bench.space.full)), bench.batch.label_B)
        difference = abs(loss().item() - ours.item())
        assert difference < (1e-3 if autocast is None else 0.1), f"not the same network: losses differ by {difference}"
        network.train()
        bench.model.train()

    def step(number: int) -> None:
        optimizer.zero_grad()
        scaler.scale(loss()).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def timed(device: torch.device, run: Callable[[], Any]) -> float:
    """Seconds until the device is done."""
    _wait(device)
    started = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def take_turns(
    device: torch.device, runs: Sequence[Callable[[int], Any]], steps: Sequence[int], rounds: int
) -> list[list[float]]:
    """Seconds of each of `runs` over `steps`, `rounds` times each after one to warm up, by turns."""
    seconds: list[list[float]] = [[] for _ in runs]
    for step in steps:
        for turn in range(rounds + 1):
            for mine, run in zip(seconds, runs, strict=True):
                took = timed(device, lambda run=run, step=step: run(step))
                if turn:
                    mine.append(took)
    return seconds


def ratio(first: Sequence[float], second: Sequence[float]) -> str:
    """The median of the ratios of neighbours, and their spread."""
    ratios = sorted(a / b for a, b in zip(first, second, strict=True))
    return f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"


def exchanged(name: str) -> tuple[int, int]:
    """Bytes that a process gives to the exchange in a mutual step of two, and the gradients' size."""
    with tempfile.TemporaryDirectory() as folder:
        queue = multiprocessing.get_context("spawn").SimpleQueue()
        multiprocessing.spawn(_exchange, args=(name, folder, queue), nprocs=2)
        return queue.get()


def _exchange(rank: int, name: str, folder: str, queue: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = m3.create_model(name, NUM_CLASSES).to(memory_format=torch.channels_last_3d).train()
    frames = FRAMES[name]
    clips = {}
    space = m3.SubnetSpace((0.63, 1.0), (64, 32), frames)  # small clips: gradients are of the same size
    for config in [SubnetConfig(1.0, size, count) for size in space.sizes for count in frames]:
        for shape in model.input_shapes(config):
            clips[shape] = _uint8_clip(1, shape)
    batch = ClipBatch(clips, torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    bench = Bench(model, space, batch, torch.device("cpu"), "fp32")
    network = TrainNetwork(model)
    sent = [0]

    def count(state, bucket):  # torch looks at the annotations, if there are any, and wants no strings
        sent[0] += bucket.buffer().numel() * bucket.buffer().element_size()
        return dist.all_reduce(bucket.buffer().div_(2), async_op=True).get_future().then(lambda done: done.value()[0])

    assert network.parallel is not None
    network.parallel.register_comm_hook(None, count)
    run = TrainStep(
        network,
        OptimizerStep(build_sgd(model, **SOLVER)),
        lambda step: space.at_step(SEED, step),
        bench.prepare,
        bench.device,
    )
    run(0, batch)
    if rank == 0:
        queue.put((sent[0], sum(each.numel() * each.element_size() for each in model.parameters())))
    dist.barrier()
    dist.destroy_process_group()


def slowest_kernels(run: Callable[[int], Any]) -> str:
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    ) as profiler:
        run(0)
        torch.cuda.synchronize()
    return profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=12, max_name_column_width=60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="x3d_m", choices=FRAMES)
    parser.add_argument("--batch", type=int, default=2, help="clips a step")
    parser.add_argument("--steps", type=int, default=3, help="steps with other sub-networks")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="fp32", choices=AUTOCAST)
    parser.add_argument("--compile", action="store_true", help="time torch.compile of the full network's step too")
    args = parser.parse_args()
    device = torch.device(args.device)
    bench = Bench.make(args.model, args.batch, device, args.precision)
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{args.model}, {args.batch} clips, {where}, {args.precision}, torch {torch.__version__}", flush=True)
    sent, size = exchanged(args.model)
    print(f"bytes exchanged in a step by each of two processes / size of the gradients: {sent / size:.4f}", flush=True)
    mutual, static, parts = bench.step(mutual=True), bench.step(mutual=False), bench.parts()
    steps = range(args.steps)

    of_parts: list[float] = []

    def parts_of(step: int) -> None:
        of_parts.append(sum(parts(step)))

    of_mutual, of_static, _ = take_turns(device, [mutual, static, parts_of], steps, args.rounds)
    sums = [each for index, each in enumerate(of_parts) if index % (args.rounds + 1)]  # without those that warm up
    print(f"mutual step / sum of its parts alone: {ratio(of_mutual, sums)}; target: at most 1.05")
    adds = [
        sum(m3.multiply_adds(bench.model, config) for config in bench.space.at_step(SEED, step))
        / m3.multiply_adds(bench.model, bench.space.full)
        for step in steps
    ]
    print(
        f"mutual step / full network's own: {ratio(of_mutual, of_static)}; multiply-adds: {statistics.mean(adds):.3f}"
    )
    loop = plain_loop(bench, args.model)
    of_ours, of_theirs = take_turns(device, [static, loop], [0], 2 * args.rounds)
    clips = {
        name: args.batch / statistics.median(seconds) for name, seconds in (("ours", of_ours), ("theirs", of_theirs))
    }
    print(f"static training, clips/s: ours / pytorchvideo's in a loop: {ratio(of_theirs, of_ours)}; CPU target: 1.8")
    if args.device == "cuda":
        print(f"clips/s: ours {clips['ours']:.1f}, mutual {args.batch / statistics.median(of_mutual):.1f}, ", end="")
        print(f"plain loop {clips['theirs']:.1f}")
        for name, run in (("mutual step", mutual), ("full network's", static), ("plain loop", loop)):
            torch.cuda.reset_peak_memory_stats()
            run(0)
            print(f"peak memory, {name}: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
        print(slowest_kernels(static))
    if args.compile:
        whole = bench.model.extract(bench.space.full).to(device, memory_format=torch.channels_last_3d).train()
        clip = bench.prepare(bench.batch, bench.space.full)

        def train(network: Callable[[Any], torch.Tensor]) -> Callable[[int], None]:
            def run(step: int) -> None:
                with torch.autocast(
                    device.type, dtype=AUTOCAST[args.precision] or torch.bfloat16, enabled=args.precision != "fp32"
                ):
                    logits_BK = network(clip)
                F.cross_entropy(logits_BK.float(), bench.batch.label_B).backward()

            return run

        plain, compiled = take_turns(device, [train(whole), train(torch.compile(whole))], [0], 2 * args.rounds)
        print(f"torch.compile / eager, full network forward and backward: {ratio(compiled, plain)}")


if __name__ == "__main__":
    main()
