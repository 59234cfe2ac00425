#!/usr/bin/env python3
"""Time of an epoch, and what it waits for, on a cluster: the arithmetic of docs/SCALE.md.

    python benchmarks/scale_model.py
    python benchmarks/scale_model.py --nodes 2 --gpus 4 --clips-per-second 60 --network 1.25 --disk 1 --cores 32
    python benchmarks/scale_model.py --check

What a GPU trains in a second (--clips-per-second, without exchange and waiting) has to be measured: benchmarks/step.py
--device cuda. A step takes as long as the slowest of three that go on at the same time: computing with what of the
exchange of gradients it does not hide, decoding, and reading the videos. --check measures 1, 2 and 4 processes with
gloo on this machine's CPU, and prints what the model says from one process and from the time of an exchange alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from program_options import add
from scale import Step
from torch import multiprocessing


@dataclass(frozen=True)
class Cluster:
    """Machines of a job.

    Args:
        nodes: number of nodes.
        gpus: GPUs a node, one process each.
        network: bytes a second that a node sends to the others.
        disk: bytes a second of the videos' disk.
        disk_is_shared: True if all nodes read from that disk; False if each node has one.
        cores: cores a node for decoding.
    """

    nodes: int
    gpus: int
    network: float
    disk: float
    disk_is_shared: bool
    cores: int

    @property
    def num_processes(self) -> int:
        return self.nodes * self.gpus


@dataclass(frozen=True)
class Work:
    """Training of a network.

    Args:
        rate: clips a second that one GPU trains, exchange and waiting left out.
        batch: clips a step of one GPU.
        gradients: bytes of the gradients.
        hidden: fraction of a step's computing that the exchange may go on beside: the last network's backward pass.
        exchanges: small exchanges a step, one after the other: of sync_batchnorm.
        latency: seconds of such an exchange.
        decode_seconds: seconds of one core for a clip.
        video_bytes: bytes of a video.
    """

    rate: float
    batch: int
    gradients: float
    hidden: float = 0.1
    exchanges: int = 0
    latency: float = 40e-6
    decode_seconds: float = 0.0284
    video_bytes: float = 0.6e6


@dataclass(frozen=True)
class StepTimes:
    """Seconds of a step's parts: computing, the whole exchange of gradients, what of it is not hidden, the small
    exchanges, decoding and reading of the step's clips."""

    compute: float
    exchange: float
    visible_exchange: float
    small_exchanges: float
    decode: float
    read: float

    @property
    def network(self) -> float:
        """Seconds of computing with its exchanges."""
        return self.compute + self.visible_exchange + self.small_exchanges

    @property
    def seconds(self) -> float:
        return max(self.network, self.decode, self.read)

    @property
    def bottleneck(self) -> str:
        """Name of the part that a step takes as long as: computing, network, decoding or disk."""
        if self.seconds == self.read:
            return "disk"
        if self.seconds == self.decode:
            return "decoding"
        return "network" if self.network - self.compute > self.compute else "computing"


def exchange_seconds(cluster: Cluster, gradients: float) -> float:
    """Return the seconds of a ring's all-reduce, in which a node sends 2 (W - 1) / W times the gradients."""
    num_processes = cluster.num_processes
    return 2 * (num_processes - 1) / num_processes * gradients / cluster.network


def step_times(cluster: Cluster, work: Work) -> StepTimes:
    """Return the times of a step of all processes."""
    compute = work.batch / work.rate
    exchange = exchange_seconds(cluster, work.gradients)
    clips_of_node = work.batch * cluster.gpus
    disk_clips = clips_of_node * (cluster.nodes if cluster.disk_is_shared else 1)
    return StepTimes(
        compute,
        exchange,
        max(exchange - work.hidden * compute, 0.0),
        work.exchanges * work.latency if cluster.num_processes > 1 else 0.0,
        clips_of_node * work.decode_seconds / cluster.cores,
        disk_clips * work.video_bytes / cluster.disk,
    )


def epoch_seconds(cluster: Cluster, work: Work, num_videos: int) -> float:
    """Return the seconds of an epoch of whole batches."""
    return num_videos // (work.batch * cluster.num_processes) * step_times(cluster, work).seconds


def _rank_main(rank: int, world_size: int, folder: str, queue: Any, num_steps: int) -> None:
    torch.set_num_threads(1)
    step = Step(64, 4, 2)
    gradient = torch.zeros(sum(weight.numel() for weight in step.model.parameters()))
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size)
    seconds = _median_seconds(lambda: step.run_step(0, step.batch), num_steps)
    exchange = _median_seconds(lambda: dist.all_reduce(gradient), num_steps) if world_size > 1 else 0.0
    if rank == 0:
        queue.put((seconds, exchange, gradient.numel() * 4, len(step.batch.label_B)))
    if world_size > 1:
        dist.barrier()
        dist.destroy_process_group()


def _median_seconds(run: Callable[[], object], number: int) -> float:
    seconds = []
    for _ in range(number + 1):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def measured(world_size: int, num_steps: int) -> tuple[float, float, int, int]:
    """Return the median seconds of a step and of an exchange of the gradients alone, their bytes, clips a process."""
    with tempfile.TemporaryDirectory() as folder:
        queue = multiprocessing.get_context("spawn").SimpleQueue()
        arguments = (world_size, folder, queue, num_steps)
        multiprocessing.spawn(_rank_main, args=arguments, nprocs=world_size)
        result: tuple[float, float, int, int] = queue.get()
        return result


def check(num_steps: int) -> None:
    """Print predicted beside measured times of 1, 2 and 4 processes of this machine."""
    num_cores = len(os.sched_getaffinity(0))
    alone, _, gradients, batch = measured(1, num_steps)
    _, exchange, _, _ = measured(2, num_steps)
    sent_of_two = gradients  # 2 (W - 1) / W is 1
    print(f"{num_cores} cores; one process: {alone:.3f} s a step; an exchange of two: {exchange * 1e3:.1f} ms")
    print("| processes | step, predicted, s | measured, s | measured / predicted |")
    print("|---:|---:|---:|---:|")
    for world_size in (1, 2, 4):
        # More processes than cores take turns, and share the memory's bandwidth, which is their network.
        crowd = max(world_size / num_cores, 1.0)
        cluster = Cluster(world_size, 1, sent_of_two / exchange / crowd, 1e12, False, 1)
        work = Work(batch / alone / crowd, batch, gradients, hidden=0.0, decode_seconds=0.0)
        predicted = step_times(cluster, work).seconds
        seconds = measured(world_size, num_steps)[0]
        print(f"| {world_size} | {predicted:.3f} | {seconds:.3f} | {seconds / predicted:.2f} |", flush=True)


def report(cluster: Cluster, work: Work, num_videos: int, num_epochs: int) -> str:
    """Return the times of a training as lines of text."""
    times, epoch = step_times(cluster, work), epoch_seconds(cluster, work, num_videos)
    rate = work.batch * cluster.num_processes / times.seconds
    rows = {
        "computing": times.compute,
        "exchange of gradients": times.exchange,
        "of it not hidden": times.visible_exchange,
        "small exchanges (sync_batchnorm)": times.small_exchanges,
        "decoding": times.decode,
        "reading": times.read,
    }
    lines = [
        f"| {name} | {seconds * 1e3:.1f} | {100 * seconds / times.seconds:.0f} |" for name, seconds in rows.items()
    ]
    return "\n".join(
        [
            f"{cluster.nodes} x {cluster.gpus} GPUs, {work.batch} clips a GPU, {work.rate:g} clips/s a GPU alone",
            "| part of a step | ms | % of the step |",
            "|---|---:|---:|",
            *lines,
            f"step: {times.seconds * 1e3:.1f} ms, {rate:.0f} clips/s, {rate:.0f} videos opened a second",
            f"bottleneck: {times.bottleneck}",
            f"epoch of {num_videos} videos: {epoch:.0f} s; {num_epochs} epochs: {epoch * num_epochs / 3600:.1f} h",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--nodes", 8, "N", "number of machines")
    add(parser, "--gpus", 8, "N", "number of GPUs of a machine")
    add(parser, "--clips-per-second", 100.0, "CLIPS", "mutual training speed of a GPU, clips per second")
    add(parser, "--batch", 16, "N", "number of clips of a GPU and step")
    add(parser, "--parameters", 3.79, "MILLIONS", "parameters of the network, millions")
    add(parser, "--network", 25.0, "GB", "data that a machine sends, GB per second")
    add(parser, "--hidden", 0.1, "SHARE", "share of the computing that hides the exchange, 0 to 1")
    add(parser, "--sync-exchanges", 0, "N", "number of exchanges of sync_batchnorm in a step, X3D-M: 664")
    add(parser, "--disk", 4.0, "GB", "speed of the videos' disk, GB per second")
    parser.add_argument(
        "--local-disks", action="store_true", help="give every machine a disk of its own with the videos"
    )
    add(parser, "--cores", 96, "N", "number of CPU cores of a machine, for decoding")
    add(parser, "--decode-ms", 28.4, "MILLISECONDS", "time of a core for decoding a clip, milliseconds")
    add(parser, "--video-mb", 0.6, "MB", "size of a video, MB")
    add(parser, "--videos", 240_000, "N", "number of videos of the list")
    add(parser, "--epochs", 256, "N", "number of epochs")
    parser.add_argument("--check", action="store_true", help="compare the model with processes of this machine")
    add(parser, "--steps", 5, "N", "number of timed steps of --check")
    args = parser.parse_args()
    if args.check:
        check(args.steps)
        return
    cluster = Cluster(args.nodes, args.gpus, args.network * 1e9, args.disk * 1e9, not args.local_disks, args.cores)
    work = Work(
        args.clips_per_second,
        args.batch,
        args.parameters * 4e6,
        args.hidden,
        args.sync_exchanges,
        decode_seconds=args.decode_ms / 1e3,
        video_bytes=args.video_mb * 1e6,
    )
    print(report(cluster, work, args.videos, args.epochs))


if __name__ == "__main__":
    main()
