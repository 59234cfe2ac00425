#!/usr/bin/env python3
"""Growth of a mutual training step with processes, clips and sub-networks, on one machine's CPU.

    python benchmarks/scale.py
    python benchmarks/scale.py --videos data/kinetics/train

X3D-M, its clips smaller (--size, --frames), one thread a process, gloo. Printed are, over one process, clip or network:

- processes (1, 2, 4; each has the same number of clips): the CPU time of a step in each process, its peak resident
  memory, and the bytes that it sends in a step, counted at the loopback device, beside the formula of a ring,
  2 (W - 1) / W times the gradients; with sync_batchnorm too;
- clips a process, and sub-networks a step: CPU time of a step, beside the ratio of multiply-adds;
- a checkpoint: what the step waits for it, and what its writing takes in the background, over a step;
- decoding, for the shapes of X3D-M's mutual step at full size: CPU milliseconds a clip, as it is and prepared by
  tools/prepare_videos.py's encoding.

CPU time, not time on the clock: four processes on two cores wait for each other. (gloo's own threads are in it.)
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from program_options import add
from torch import multiprocessing

import mutualnet3d as m3
from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.clip_samplers import ClipSpan, RandomCrops, RandomSpans
from mutualnet3d.data.dataset import Failure, VideoDataset
from mutualnet3d.data.lists import Video
from mutualnet3d.data.video_files import find_video_files
from mutualnet3d.engine.checkpoint_folder import CheckpointFolder
from mutualnet3d.engine.checkpoint_writer import BackgroundWriter
from mutualnet3d.engine.optim import build_sgd
from mutualnet3d.engine.optimizer_step import OptimizerStep
from mutualnet3d.engine.train_network import TrainNetwork
from mutualnet3d.engine.train_step import TrainStep
from mutualnet3d.ops import Normalize
from mutualnet3d.shapes import ClipBatch, ClipShape, SubnetConfig, union_of_shapes
from mutualnet3d.video.transcode import Encoding, transcode

SEED = 0
VIDEOS = Path(__file__).resolve().parents[2] / "shared" / "videos" / "surv_fight"
SOLVER = {"base_lr": 0.001, "momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 1e-4}
NORMALIZE = Normalize((0.45,) * 3, (0.225,) * 3, torch.channels_last_3d)


class Step:
    """A mutual step of X3D-M on clips that do not change.

    Args:
        size: side of the full network's clip, pixels.
        frames: frames of the full network's clip.
        num_clips: number of clips.
        num_subnets: number of sub-networks beside the full one, 0 to 3.
        sync: True for batch norm over all processes.
    """

    def __init__(self, size: int, frames: int, num_clips: int, num_subnets: int = 3, sync: bool = False):
        torch.manual_seed(SEED)
        self.model = m3.create_model("x3d_m").to(memory_format=torch.channels_last_3d).train()
        if sync:
            for _, norm in self.model.norms():
                norm.sync_group = dist.group.WORLD
        space = m3.SubnetSpace((0.63, 1.0), (size, size * 3 // 4), (frames, frames * 3 // 4))
        every = [SubnetConfig(1.0, side, count) for side in space.sizes for count in space.frames]
        shapes = union_of_shapes(self.model.input_shapes(config) for config in every)
        clips = {shape: torch.randint(0, 256, (num_clips, *_thwc(shape)), dtype=torch.uint8) for shape in shapes}
        clips = {shape: clip.permute(0, 1, 4, 2, 3) for shape, clip in clips.items()}
        self.batch = ClipBatch(clips, torch.arange(num_clips), torch.arange(num_clips))
        self.configs = [space.at_step(SEED, step)[: 1 + num_subnets] for step in range(4)]
        self.optimizer_step = OptimizerStep(build_sgd(self.model, **SOLVER))
        self.run_step = TrainStep(
            TrainNetwork(self.model),
            self.optimizer_step,
            lambda step: self.configs[step],
            self.prepare,
            torch.device("cpu"),
        )
        self.multiply_adds = num_clips * sum(m3.multiply_adds(self.model, config) for config in self.configs[0])

    def prepare(self, batch: ClipBatch, config: SubnetConfig) -> list[torch.Tensor]:
        return [NORMALIZE(batch.clips[shape]) for shape in self.model.input_shapes(config)]

    def cpu_seconds(self, num_steps: int) -> float:
        """Return the median CPU time of the same step, after one to warm up."""
        seconds = []
        for _ in range(num_steps + 1):
            started = time.process_time()
            self.run_step(0, self.batch)
            seconds.append(time.process_time() - started)
        return statistics.median(seconds[1:])


def _thwc(shape: ClipShape) -> tuple[int, int, int, int]:
    return (shape.frames, shape.size, shape.size, 3)


def sent_over_loopback() -> int:
    return int(Path("/sys/class/net/lo/statistics/tx_bytes").read_text())


def of_processes(world_size: int, sync: bool, args: argparse.Namespace) -> dict[str, float]:
    """Return means over the processes of a job."""
    with tempfile.TemporaryDirectory() as folder:
        queue = multiprocessing.get_context("spawn").SimpleQueue()
        multiprocessing.spawn(_process, args=(world_size, sync, folder, queue, args), nprocs=world_size)
        results = [queue.get() for _ in range(world_size)]
    return {key: statistics.mean(result[key] for result in results) for key in results[0]}


def _process(rank: int, world_size: int, sync: bool, folder: str, queue: Any, args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size)
    step = Step(args.size, args.frames, args.batch, sync=sync and world_size > 1)
    seconds = step.cpu_seconds(args.steps)
    sent = 0.0
    if world_size > 1:
        dist.barrier()
        before = sent_over_loopback()
        for _ in range(args.steps):
            step.run_step(0, step.batch)
        dist.barrier()
        sent = (sent_over_loopback() - before) / args.steps / world_size
    gradients = sum(weight.numel() * weight.element_size() for weight in step.model.parameters())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    queue.put({"seconds": seconds, "sent": sent, "gradients": gradients, "memory": memory})
    if world_size > 1:
        dist.barrier()
        dist.destroy_process_group()


def checkpoint_costs(args: argparse.Namespace) -> tuple[float, float, float]:
    """Return seconds on the clock: a step's wait for a checkpoint, its writing, and a step."""
    step = Step(args.size, args.frames, args.batch)
    started = time.perf_counter()
    for number in range(args.steps + 1):
        if number == 1:
            started = time.perf_counter()
        step.run_step(0, step.batch)
    of_step = (time.perf_counter() - started) / args.steps
    waits, writes = [], []
    with tempfile.TemporaryDirectory() as output, BackgroundWriter(CheckpointFolder(output).save) as writer:
        for number in range(5):
            content = {
                "model_state": step.model.state_dict(),
                "optimizer_state": step.optimizer_step.state_dict()["optimizer"],
            }
            started = time.perf_counter()
            writer.save(content, number, None)
            waits.append(time.perf_counter() - started)
            writer.wait()
            writes.append(time.perf_counter() - started)
    return statistics.median(waits), statistics.median(writes), of_step


def decoding_milliseconds(paths: list[Path], num_clips: int) -> float:
    """Return the CPU milliseconds of a clip, in all shapes of a mutual step."""
    space = m3.SubnetSpace((0.63, 1.0), (224, 192, 160, 128), (16, 13, 10, 6))
    videos = [Video(str(path), 0, str(path)) for path in paths]
    crops = RandomCrops((256, 320), 224, flip=True)
    dataset = VideoDataset(videos, RandomSpans(ClipSpan(num_frames=16, sampling_rate=5, target_fps=30.0)), crops)
    started = time.process_time()
    for number in range(num_clips):
        shapes = union_of_shapes((config.clip_shape,) for config in space.at_step(SEED, number))
        clip = dataset[ClipRequest(number % len(videos), shapes, epoch=number)]
        assert not isinstance(clip, Failure), clip
    return 1e3 * (time.process_time() - started) / num_clips


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--size", 96, "PIXELS", "side of the full network's clip, pixels")
    add(parser, "--frames", 8, "N", "number of frames of the full network's clip")
    add(parser, "--batch", 4, "N", "number of clips of a process and step")
    add(parser, "--steps", 5, "N", "number of timed steps")
    parser.add_argument(
        "--videos", type=Path, default=VIDEOS, metavar="FOLDER", help="folder of videos to decode; default: %(default)s"
    )
    add(parser, "--num-clips", 60, "N", "number of clips to decode")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"X3D-M on {args.batch} clips of {args.frames} x {args.size} x {args.size} a process, torch {torch.__version__}"
    )
    print("processes  batch norm  CPU time of a step  peak memory  sent / gradients  2 (W - 1) / W")
    single: dict[str, float] = {}
    for world_size, sync in ((1, False), (2, False), (4, False), (2, True), (4, True)):
        result = of_processes(world_size, sync, args)
        single = single or result
        print(
            f"{world_size:9}  {'sync' if sync else 'own':>10}  {result['seconds'] / single['seconds']:18.2f}  "
            f"{result['memory'] / single['memory']:11.2f}  {result['sent'] / result['gradients']:16.3f}  "
            f"{2 * (world_size - 1) / world_size:13.3f}",
            flush=True,
        )
    table("clips", [(count, Step(args.size, args.frames, count)) for count in (1, 2, 4, 8)], args.steps)
    table("sub-networks", [(count, Step(args.size, args.frames, args.batch, count)) for count in range(4)], args.steps)
    waits, writes, of_step = checkpoint_costs(args)
    print(
        f"checkpoint over a step: the step waits {waits / of_step:.4f}, writing takes {writes / of_step:.3f} beside it"
    )
    if not args.videos.is_dir():
        print(f"no decoding: no folder {args.videos}")
        return 0
    files = [args.videos / name for name in find_video_files(str(args.videos))][:12]
    with tempfile.TemporaryDirectory() as folder:
        prepared = [Path(folder) / f"{number}.mp4" for number in range(len(files))]
        for path, target in zip(files, prepared, strict=True):
            transcode(str(path), str(target), Encoding())
        for name, paths in (("as they are", files), ("prepared", prepared)):
            cost = decoding_milliseconds(paths, args.num_clips)
            print(f"decoding, {len(files)} videos {name}: {cost:.1f} CPU ms a clip, {1e3 / cost:.0f} clips/s a core")
    return 0


def table(what: str, steps: list[tuple[int, Step]], num_steps: int) -> None:
    print(f"{what:>12}  CPU time of a step  multiply-adds")
    seconds = [step.cpu_seconds(num_steps) for _, step in steps]
    for (count, step), cpu_seconds in zip(steps, seconds, strict=True):
        print(
            f"{count:12}  {cpu_seconds / seconds[0]:18.2f}  {step.multiply_adds / steps[0][1].multiply_adds:13.2f}",
            flush=True,
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
