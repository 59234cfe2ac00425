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
nothing. On a GPU: peak memory of both, and the kernels that take longest. benchmarks/gpu_report.py measures all of this
on a GPU in one go, with the networks, steps and timing of this file.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from program_options import add
from pytorchvideo.models.resnet import create_resnet
from pytorchvideo.models.slowfast import create_slowfast
from pytorchvideo.models.x3d import create_x3d
from torch import multiprocessing, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import mutualnet3d as m3
from mutualnet3d.engine.optim import build_sgd
from mutualnet3d.engine.optimizer_step import OptimizerStep
from mutualnet3d.engine.train_network import TrainNetwork
from mutualnet3d.engine.train_step import TrainStep
from mutualnet3d.mutual.losses import distillation_loss, label_loss
from mutualnet3d.ops import Normalize
from mutualnet3d.shapes import ClipBatch, ClipShape, SubnetConfig, union_of_shapes

NUM_CLASSES, SEED = 400, 0
SOLVER = {"base_lr": 0.001, "momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 1e-4}
AUTOCAST = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Workload:
    """A network and its training clips.

    Args:
        name: name of the network, as `create_model` takes it.
        sizes: sides of the square crops, pixels, the full network's first.
        frames: frame counts, the full network's first (SlowFast: the Slow pathway's).
        draw: number of a training step with typical sub-networks: of steps 0 to 39, one of those whose multiply-adds
            are nearest to the mean.
    """

    name: str
    sizes: tuple[int, ...]
    frames: tuple[int, ...]
    draw: int = 0

    @property
    def space(self) -> m3.SubnetSpace:
        return m3.SubnetSpace((0.63, 1.0), self.sizes, self.frames)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("x3d_s", (160, 144, 128, 112), (13, 10, 8, 5), draw=12),
        Workload("x3d_m", (224, 192, 160, 128), (16, 13, 10, 6), draw=25),
        Workload("slow_8x8_r50", (224, 192, 160, 128), (8, 6, 5, 3), draw=19),
        Workload("slowfast_4x16_r50", (224, 192, 160, 128), (4, 3, 2), draw=32),
    )
}


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Set, for the block, float32 products on a GPU: plain for fp32, TensorFloat-32 for tf32, torch's default else."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    if precision in ("fp32", "tf32"):
        convolutions.allow_tf32 = products.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def network_of(workload: Workload) -> Any:
    """Our network of that name, whose full clip is the workload's, the published one or not."""
    model = m3.create_model(workload.name, NUM_CLASSES)
    model.full_clip = workload.space.full.clip_shape
    assert model.full == workload.space.full
    return model


def pytorchvideos_network(name: str, clip: ClipShape) -> nn.Module:
    """The network that ours is converted from, for clips of one shape (SlowFast: the Slow pathway's)."""
    pool = (clip.frames, clip.size // 32, clip.size // 32)
    if name.startswith("x3d"):
        return create_x3d(
            input_clip_length=clip.frames,
            input_crop_size=clip.size,
            model_num_class=NUM_CLASSES,
            depth_factor=2.2,
            width_factor=2.0,
            head_activation=None,
            head_output_with_global_average=True,
        )
    if name.startswith("slow_"):
        return create_resnet(
            model_num_class=NUM_CLASSES,
            stem_conv_kernel_size=(1, 7, 7),
            stem_conv_stride=(1, 2, 2),
            stem_pool=nn.MaxPool3d,
            head_pool_kernel_size=pool,
        )
    return create_slowfast(
        slowfast_fusion_conv_kernel_size=(5, 1, 1),
        slowfast_fusion_conv_stride=(8, 1, 1),
        head_pool_kernel_sizes=(pool, (8 * pool[0], *pool[1:])),
        model_num_class=NUM_CLASSES,
    )


@dataclass
class Bench:
    """Our network, ready to train on clips that do not change.

    Args:
        model: slimmable network in training mode, on `device`.
        batch: uint8 clips on `device`, in all shapes that the steps take.
        precision: key of `AUTOCAST`.
        memory_format: format of the clips that the network gets.
    """

    model: Any
    space: m3.SubnetSpace
    batch: ClipBatch
    device: torch.device
    precision: str
    memory_format: torch.memory_format = torch.channels_last_3d

    @classmethod
    def make(
        cls,
        workload: Workload,
        num_clips: int,
        device: torch.device,
        precision: str,
        steps: Iterable[int] | None = None,
    ) -> Bench:
        """Build the network and random clips: in the shapes of `steps` alone, or in all shapes of the space."""
        torch.manual_seed(SEED)
        space = workload.space
        model = network_of(workload).to(device, memory_format=torch.channels_last_3d).train()
        if steps is None:
            configs = [SubnetConfig(1.0, size, frames) for size in space.sizes for frames in space.frames]
        else:
            configs = [config for step in steps for config in space.at_step(SEED, step)]
        batch = random_batch(union_of_shapes(model.input_shapes(config) for config in configs), num_clips)
        return cls(model, space, batch.to(device), device, precision)

    def use(self, memory_format: torch.memory_format) -> None:
        """Take another memory format for weights and clips."""
        self.memory_format = memory_format
        self.model.to(memory_format=memory_format)

    def step(self, mutual: bool) -> Callable[[int], Any]:
        """Our training step: the number of a step, which draws its sub-networks, to its outcome."""
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
        return [self._normalize(batch.clips[shape]) for shape in self.model.input_shapes(config)]

    @cached_property
    def _normalizers(self) -> dict[torch.memory_format, Normalize]:
        formats = (torch.channels_last_3d, torch.contiguous_format)
        normalizers = {memory_format: Normalize((0.45,) * 3, (0.225,) * 3, memory_format) for memory_format in formats}
        return {memory_format: normalize.to(self.device) for memory_format, normalize in normalizers.items()}

    def _normalize(self, clip_BTCHW: torch.Tensor) -> torch.Tensor:
        return self._normalizers[self.memory_format](clip_BTCHW)

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


def random_batch(shapes: Iterable[ClipShape], num_clips: int) -> ClipBatch:
    """Random uint8 clips in `shapes`, of as many classes, as a loader delivers them."""
    order_B = torch.arange(num_clips)
    return ClipBatch({shape: _uint8_clip(num_clips, shape) for shape in shapes}, order_B, order_B)


def _uint8_clip(num_clips: int, shape: ClipShape) -> torch.Tensor:
    clip = torch.randint(0, 256, (num_clips, shape.frames, shape.size, shape.size, 3), dtype=torch.uint8)
    return clip.permute(0, 1, 4, 2, 3)  # B, T, C, H, W with the channels last in memory, as the loader has it


def pytorchvideo_loop(bench: Bench, name: str) -> Callable[[int], Any]:
    """Return a step of pytorchvideo's network in an ordinary training loop, which gives its loss; its losses are
    checked to be ours."""
    network = pytorchvideos_network(name, bench.space.full.clip_shape).to(bench.device).train()
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

    network.eval()
    bench.model.eval()
    try:
        with torch.no_grad(), bench.model.active(bench.space.full):
            own = F.cross_entropy(bench.model(bench.prepare(bench.batch, bench.space.full)), bench.batch.label_B)
            difference = abs(loss().item() - own.item())
    finally:
        network.train()
        bench.model.train()
    allowed = {"fp32": 1e-3, "tf32": 1e-2}.get(bench.precision, 0.1)
    assert difference < allowed, f"not the same network: losses differ by {difference}"

    def step(number: int) -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        return value.detach()

    return step


def timed(device: torch.device, run: Callable[[], Any]) -> float:
    """Seconds until the device is done."""
    wait(device)
    started = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - started


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
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


def exchanged(workload: Workload, backend: str = "gloo", devices: Sequence[str] = ("cpu", "cpu")) -> tuple[int, int]:
    """Bytes that a process gives to the exchange in a mutual step of two, and the gradients' size.

    Args:
        workload: network; its clips are replaced by small ones, as gradients are of the same size.
        backend: backend of torch.distributed, gloo or nccl.
        devices: device of each of the two processes.
    """
    small = Workload(workload.name, (64, 32), workload.frames)
    with tempfile.TemporaryDirectory() as folder:
        queue = multiprocessing.get_context("spawn").SimpleQueue()
        multiprocessing.spawn(_exchange, args=(small, backend, devices, folder, queue), nprocs=len(devices))
        return queue.get()


def _exchange(rank: int, workload: Workload, backend: str, devices: Sequence[str], folder: str, queue: Any) -> None:
    torch.set_num_threads(1)
    device = torch.device(devices[rank])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, init_method=f"file://{folder}/meet", rank=rank, world_size=len(devices))
    bench = Bench.make(workload, 1, device, "fp32")
    network = TrainNetwork(bench.model)
    sent = [0]

    def count(state, bucket):  # torch looks at the annotations, if there are any, and wants no strings
        buffer = bucket.buffer()
        sent[0] += buffer.numel() * buffer.element_size()
        dist.all_reduce(buffer.div_(len(devices)))
        averaged = torch.futures.Future(devices=[device] if device.type == "cuda" else None)
        averaged.set_result(buffer)
        return averaged

    assert network.parallel is not None
    network.parallel.register_comm_hook(None, count)
    optimizer_step = OptimizerStep(build_sgd(bench.model, **SOLVER))
    run = TrainStep(network, optimizer_step, lambda step: bench.space.at_step(SEED, step), bench.prepare, device)
    run(0, bench.batch).check_finite()
    if rank == 0:
        size = sum(parameter.numel() * parameter.element_size() for parameter in bench.model.parameters())
        queue.put((sent[0], size))
    dist.barrier()
    dist.destroy_process_group()


@dataclass(frozen=True)
class Kernel:
    """A kernel of a GPU, or an operator on a CPU: its calls, and the time of all of them."""

    name: str
    calls: int
    milliseconds: float


def kernel_times(device: torch.device, run: Callable[[], Any]) -> list[Kernel]:
    """The kernels of `run` on a GPU; on a CPU its operators, without those that they call."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        run()
        wait(device)
    events = profiler.key_averages()
    if device.type == "cpu":
        return [Kernel(event.key, event.count, 1e-3 * event.self_cpu_time_total) for event in events]
    return [
        Kernel(event.key, event.count, 1e-3 * event.self_device_time_total)
        for event in events
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="x3d_m", choices=WORKLOADS, help="network to train; default: %(default)s")
    add(parser, "--batch", 2, "N", "number of clips of a step")
    add(parser, "--steps", 3, "N", "number of steps, with different sub-networks")
    add(parser, "--rounds", 3, "N", "number of timings of a step")
    parser.add_argument(
        "--device", default="cpu", choices=("cpu", "cuda"), help="device of PyTorch; default: %(default)s"
    )
    parser.add_argument(
        "--precision", default="fp32", choices=AUTOCAST, help="arithmetic of the training; default: %(default)s"
    )
    parser.add_argument("--compile", action="store_true", help="time torch.compile of the full network's step too")
    args = parser.parse_args()
    with arithmetic(args.precision):
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Measure and print what the module's docstring lists."""
    device, workload = torch.device(args.device), WORKLOADS[args.model]
    bench = Bench.make(workload, args.batch, device, args.precision)
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{args.model}, {args.batch} clips, {where}, {args.precision}, torch {torch.__version__}", flush=True)
    sent, size = exchanged(workload)
    print(f"bytes exchanged in a step by each of two processes / size of the gradients: {sent / size:.4f}", flush=True)
    mutual, static, parts = bench.step(mutual=True), bench.step(mutual=False), bench.parts()
    steps = range(args.steps)

    of_parts: list[float] = []

    def parts_of(step: int) -> None:
        of_parts.append(sum(parts(step)))

    of_mutual, of_static, _ = take_turns(device, [mutual, static, parts_of], steps, args.rounds)
    sums = [
        seconds for index, seconds in enumerate(of_parts) if index % (args.rounds + 1)
    ]  # without those that warm up
    print(f"mutual step / sum of its parts alone: {ratio(of_mutual, sums)}; target: at most 1.05")
    adds = [
        sum(m3.multiply_adds(bench.model, config) for config in bench.space.at_step(SEED, step))
        / m3.multiply_adds(bench.model, bench.space.full)
        for step in steps
    ]
    print(
        f"mutual step / full network's own: {ratio(of_mutual, of_static)}; multiply-adds: {statistics.mean(adds):.3f}"
    )
    loop = pytorchvideo_loop(bench, args.model)
    of_static, of_loop = take_turns(device, [static, loop], [0], 2 * args.rounds)
    print(f"static training, clips/s: ours / pytorchvideo's in a loop: {ratio(of_loop, of_static)}; CPU target: 1.8")
    if args.device == "cuda":
        speeds = [args.batch / statistics.median(seconds) for seconds in (of_static, of_mutual, of_loop)]
        print("clips/s: ours {:.1f}, mutual {:.1f}, plain loop {:.1f}".format(*speeds))
        for name, run in (("mutual step", mutual), ("full network's", static), ("plain loop", loop)):
            torch.cuda.reset_peak_memory_stats()
            run(0)
            print(f"peak memory, {name}: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
        kernels = sorted(kernel_times(device, lambda: static(0)), key=lambda kernel: -kernel.milliseconds)
        for kernel in kernels[:12]:
            print(f"{kernel.milliseconds:9.3f} ms {kernel.calls:5} x {kernel.name[:90]}")
    if args.compile:
        whole = bench.model.extract(bench.space.full).to(device, memory_format=torch.channels_last_3d).train()
        clip = bench.prepare(bench.batch, bench.space.full)

        def train(network: Callable[[Any], torch.Tensor]) -> Callable[[int], None]:
            def run(step: int) -> None:
                with torch.autocast(
                    device.type,
                    dtype=AUTOCAST[args.precision] or torch.bfloat16,
                    enabled=AUTOCAST[args.precision] is not None,
                ):
                    logits_BK = network(clip)
                F.cross_entropy(logits_BK.float(), bench.batch.label_B).backward()

            return run

        eager, compiled = take_turns(device, [train(whole), train(torch.compile(whole))], [0], 2 * args.rounds)
        print(f"torch.compile / eager, full network forward and backward: {ratio(compiled, eager)}")


if __name__ == "__main__":
    main()
