#!/usr/bin/env python3
"""Test of loading for leaks: the memory of the training loader's processes over some thousand clips.

    python benchmarks/soak.py
    python benchmarks/soak.py --lists data/kinetics/train.csv --more --clips 20000 --workers 8 --batch-size 8

Random clips in the shapes of mutual training, others in every step, as a training run of X3D-M loads them; the main
process reads every byte. Between the good videos stand broken ones: the list is repeated to the length of the run, as a
loader asks no bad video twice, so each of them comes, and fails, again and again.

Memory is the kernel's proportional set size (Pss of /proc/PID/smaps_rollup), in which a page that n processes share
counts 1/n in each, so that it can be added up. "private" is Pss_Anon, of the main process and of each worker; "shared"
is Pss_Shmem, of all: the batches that are under way. Pages of files are not counted: they are the libraries, whose
share goes up and down with the other programs that use them. "files" are open descriptors.

It is looked at after every batch; a line of the table has the means. As the allocator gives memory back when it suits
it, two looks may differ by more than what is allowed; so the growth is that of the straight line through all looks
after the first 500 clips. Exit status 1 if that of the private memory, or of private and shared, is more than allowed.
2: too few clips to judge by.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from iopath.common.file_io import g_pathmgr
from program_options import add

import mutualnet3d as m3
from mutualnet3d.data.batch_sampler import TrainBatchSampler
from mutualnet3d.data.check_videos import ANY_LABEL
from mutualnet3d.data.clip_order import ClipOrder
from mutualnet3d.data.clip_samplers import ClipSpan, RandomCrops, RandomSpans
from mutualnet3d.data.dataset import Failure, VideoDataset
from mutualnet3d.data.lists import Video, read_kinetics_list
from mutualnet3d.data.loader import TrainLoader
from mutualnet3d.data.workers import Workers
from mutualnet3d.shapes import ClipShape, union_of_shapes

SPACE = m3.SubnetSpace(width_range=(0.63, 1.0), sizes=(224, 192, 160, 128), frames=(16, 13, 10, 6))
SPANS = RandomSpans(ClipSpan(num_frames=16, sampling_rate=5, target_fps=30.0))
CROPS = RandomCrops((256, 320), 224, flip=True)
SEED = 0
SETTLED = 500  # clips after which memory should stay as it is
FEWEST = 20  # samples to judge by
SHARED = Path(__file__).resolve().parents[2] / "shared" / "videos"


@dataclass(frozen=True)
class Sample:
    """Bytes of each process when `clips` clips had been loaded: the main process, then the workers."""

    clips: int
    private: tuple[int, ...]
    shared: tuple[int, ...]
    open_files: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--clips", 3000, "N", "number of clips to load")
    add(parser, "--workers", 2, "N", "number of loader workers")
    add(parser, "--batch-size", 4, "N", "number of clips of a batch")
    add(parser, "--every", 100, "N", "number of clips that a line of the table is of")
    add(parser, "--allowed-mb", 30.0, "MB", "largest growth of the memory, 1e6 bytes")
    lists, more = SHARED / "surv_fight" / "train.csv", SHARED / "diverse"
    parser.add_argument(
        "--lists",
        nargs="*",
        default=[str(lists)],
        metavar="FILE",
        help="lists of videos, lines `path label`; default: %(default)s",
    )
    parser.add_argument(
        "--more",
        nargs="*",
        default=[str(more)],
        metavar="FOLDER",
        help="folders of more videos, good or not; default: %(default)s",
    )
    args = parser.parse_args()
    if not os.access("/proc/self/smaps_rollup", os.R_OK):
        parser.error("needs /proc/PID/smaps_rollup, which Linux has from 4.14 on")
    sys.exit(_run(args))


def _run(args: argparse.Namespace) -> int:
    videos = [video for path in args.lists for video in _listed(path)] + [
        video for folder in args.more for video in _in_folder(folder)
    ]
    if not videos:
        print("no videos: nothing is measured")
        return 0
    failures: dict[str, int] = {}

    def count(failure: Failure) -> None:
        path = listed[failure.request.index].path
        failures[path] = failures.get(path, 0) + 1

    # Twice the length of the run: the clips that fail come on top.
    listed = videos * -(-2 * args.clips // len(videos))
    num_steps = -(-args.clips // args.batch_size)
    batch_sampler = TrainBatchSampler(
        ClipOrder(len(listed), SEED), args.batch_size, _shapes_at_step, num_steps=num_steps
    )
    dataset = VideoDataset(listed, SPANS, CROPS, seed=SEED, timeout=60.0)
    loader = TrainLoader(dataset, batch_sampler, Workers(args.workers), count)

    print(f"torch {torch.__version__}, {len(videos)} videos, {args.workers} workers, batch {args.batch_size}")
    print(f"{'clips':>7} {'private MB':>30} {'sum':>7} {'shared':>7} {'all':>7} {'files':>6} {'failures':>9}")
    samples: list[Sample] = []
    printed = 0
    for step, batch in enumerate(loader, start=1):
        for clip in batch.clips.values():
            clip.amax()
        samples.append(_sample(step * args.batch_size))
        if samples[-1].clips >= (printed + 1) * args.every or step == num_steps:
            row = [sample for sample in samples if sample.clips > printed * args.every]
            print(_row(row, sum(failures.values())), flush=True)
            printed = samples[-1].clips // args.every
    print(f"{len(failures)} videos failed, each up to {max(failures.values(), default=0)} times")
    return _judge(samples, args.allowed_mb)


def _judge(samples: Sequence[Sample], allowed_mb: float) -> int:
    settled = [sample for sample in samples if sample.clips > SETTLED]
    if len(settled) < FEWEST:
        print(f"too few samples after {SETTLED} clips for a judgement: {len(settled)}; {FEWEST} are needed")
        return 2
    private = _growth(settled, lambda sample: sum(sample.private))
    both = _growth(settled, lambda sample: sum(sample.private) + sum(sample.shared))
    files = _growth(settled, lambda sample: sample.open_files)
    print(
        f"growth from {settled[0].clips} clips to {settled[-1].clips}: private {private / 1e6:+.1f} MB, with shared "
        f"memory {both / 1e6:+.1f} MB, open files {files:+.1f}; allowed: {allowed_mb:g} MB"
    )
    return 1 if max(private, both) > 1e6 * allowed_mb else 0


def _growth(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """Return the rise of the straight line through all samples, from the first to the last."""
    clips = [sample.clips for sample in samples]
    return statistics.linear_regression(clips, [value(sample) for sample in samples]).slope * (clips[-1] - clips[0])


def _row(samples: Sequence[Sample], failures: int) -> str:
    """Return a row of the table: the means of some samples."""
    private = [statistics.mean(sizes) / 1e6 for sizes in zip(*(sample.private for sample in samples), strict=True)]
    shared = statistics.mean(sum(sample.shared) for sample in samples) / 1e6
    files = statistics.mean(sample.open_files for sample in samples)
    return (
        f"{samples[-1].clips:7} {' '.join(f'{size:.1f}' for size in private):>30} {sum(private):7.1f} {shared:7.1f} "
        f"{sum(private) + shared:7.1f} {files:6.0f} {failures:9}"
    )


# ---- what is loaded --------------------------------------------------------------------------------------------------


def _listed(path: str) -> list[Video]:
    if not g_pathmgr.isfile(path):
        print(f"{path} is left out: there is no such list")
        return []
    return list(read_kinetics_list(path, num_classes=ANY_LABEL))


def _in_folder(folder: str) -> list[Video]:
    if not g_pathmgr.isdir(folder):
        print(f"{folder} is left out: there is no such folder")
        return []
    return [Video(os.path.join(folder, name), 0, folder) for name in sorted(g_pathmgr.ls(folder))]


def _shapes_at_step(step: int) -> tuple[ClipShape, ...]:
    return union_of_shapes([(config.clip_shape,) for config in SPACE.at_step(SEED, step)])


# ---- memory ----------------------------------------------------------------------------------------------------------


def _sample(clips: int) -> Sample:
    pids = [os.getpid(), *sorted(child.pid for child in multiprocessing.active_children() if child.pid)]
    sizes = [_sizes(pid) for pid in pids]
    files = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
    return Sample(clips, tuple(private for private, _ in sizes), tuple(shared for _, shared in sizes), files)


def _sizes(pid: int) -> tuple[int, int]:
    """Bytes of a process: its part of memory that is no file's, its part of shared memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kilobytes = {words[0]: int(words[1]) for words in map(str.split, lines) if words[-1] == "kB"}
    return 1024 * kilobytes["Pss_Anon:"], 1024 * kilobytes["Pss_Shmem:"]


if __name__ == "__main__":
    main()
