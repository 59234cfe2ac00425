#!/usr/bin/env python3
"""A live stream beside a CPU load that comes and goes: whether it holds its time per window, and when the full network
is back.

    python benchmarks/stream.py --cfg X3D_M_mutual.yaml --output stream.png

A network of the config with random weights, or a trained one (--checkpoint), sees a camera of 30 frames a second:
noise, or the frames of a video (--video). The budget is 1.15 times what a window of the full network takes. Then five
phases: without load, with it, without, with, without. The load is a number of processes that multiply matrices; they
are there all the time, and stopped and continued by signals, so that a load begins and ends at once. Printed is for
each phase the share of windows within 1.2 times the budget and the sub-networks that ran; the picture and the trace
(the same name with .json) are written to --output. Whatever else the machine does is load too: nothing else should
run.
"""

import argparse
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from program_options import add

import mutualnet3d as m3
from mutualnet3d.data.build_loaders import build_preprocessing
from mutualnet3d.deploy import Predictor
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.deploy.stream import Window
from mutualnet3d.models import build_model
from mutualnet3d.mutual import SubnetConfig, calibrate
from mutualnet3d.plots.stream_trace import save_trace_plot
from mutualnet3d.results.query_table import QueryTable, Row
from mutualnet3d.results.trace import TOLERANCE, TracePoint, fraction_within
from mutualnet3d.runner.build_space import build_test_space
from mutualnet3d.runner.session import build_normalize
from mutualnet3d.shapes import ClipBatch, union_of_shapes
from mutualnet3d.video.reader import VideoReader

FPS = 30.0
BUDGET = 1.15  # of what a window of the full network takes
TARGET = 0.9  # share of windows within TOLERANCE
PHASES = (False, True, False, True, False)  # with load?
WARM_WINDOWS = 10
LOAD = """
import numpy as np
matrix = np.random.default_rng(0).random((400, 400), dtype=np.float32)
print(flush=True)
while True:
    matrix @ matrix
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add(parser, "--cfg", "X3D_M_mutual.yaml", "FILE", "config of the network")
    parser.add_argument(
        "--checkpoint",
        metavar="PATH",
        help="calibrated.pyth of a test run, or the folder of a bundle, in place of --cfg; default: none",
    )
    parser.add_argument("--video", metavar="FILE", help="video whose frames the camera shows; default: noise")
    add(parser, "--backend", "auto", "NAME", "library that runs the network")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="number of CPU threads of the network; default: as many as the back end takes by itself",
    )
    add(parser, "--subnets", 10, "N", "number of sub-networks of --cfg to choose from")
    parser.add_argument(
        "--load",
        type=int,
        default=os.cpu_count(),
        metavar="N",
        help="number of processes of the load; default: that of the CPU cores",
    )
    add(parser, "--seconds", 20.0, "SECONDS", "length of a phase, seconds")
    parser.add_argument("--output", metavar="FILE", help="picture to write, .png or .svg; default: none")
    args = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the load ends with this process
    source = None if args.checkpoint else random_network(args.cfg, args.subnets)
    how = {"backend": args.backend, "threads": args.threads}
    predictor = Predictor.load(args.checkpoint, **how) if source is None else Predictor(source, **how)
    rows = predictor.points(views=1)
    camera = Camera(pictures_of(args.video, predictor.preprocessing.scale))
    full = milliseconds_of_full(predictor, camera)
    budget = BUDGET * full
    name = os.path.basename(args.checkpoint or args.cfg)
    title = f"{name}, {predictor.backend}, {os.cpu_count()} cores, load of {args.load} processes"
    print(title)
    for row in reversed(rows):
        print(f"  {row.config!s:16} {row.gflops:8.3f} GFLOPs {row.milliseconds:8.1f} ms, the network alone")
    print(f"a window of {rows[-1].config}: {full:.1f} ms; budget: {BUDGET} x that = {budget:.1f} ms", flush=True)

    camera.latest = 0.0
    with load_of(args.load, args.seconds) as is_over, predictor.stream(camera, budget, fps=FPS) as stream:
        num_windows = sum(1 for _ in itertools.takewhile(lambda window: not is_over.is_set(), stream))
        trace = stream.trace[:num_windows]
    report(trace, budget, rows, args.seconds)
    print(f"the camera was held up by at most {1e3 * camera.latest:.0f} ms")
    if args.output:
        busy = [(number * args.seconds, (number + 1) * args.seconds) for number, has in enumerate(PHASES) if has]
        save_trace_plot(trace, budget, args.output, title, [row.config for row in rows], busy)
        write_trace(os.path.splitext(args.output)[0] + ".json", trace, budget, title)


def random_network(cfg_name: str, num_configs: int) -> CheckpointNetworks:
    """A network with random weights and sub-networks from the cheapest to the full one, calibrated on noise. Which of
    them is more accurate is made up: the more expensive one."""
    cfg = m3.load_cfg(cfg_name, [])
    torch.manual_seed(0)
    model, normalize = build_model(cfg), build_normalize(cfg)
    space = build_test_space(cfg)
    grid = space.grid(cfg.MUTUAL.TEST_WIDTHS or space.width_range)
    gflops = {config: m3.multiply_adds(model, config) / 1e9 for config in grid}
    targets = np.geomspace(min(gflops.values()), max(gflops.values()), num_configs)
    configs = list(dict.fromkeys(min(grid, key=lambda config: abs(gflops[config] - target)) for target in targets))
    shapes = union_of_shapes(model.input_shapes(config) for config in configs)
    sizes = {shape: (2, shape.frames, 3, shape.size, shape.size) for shape in shapes}
    clips = {shape: torch.randint(0, 256, size, dtype=torch.uint8) for shape, size in sizes.items()}
    batch = ClipBatch(clips, torch.zeros(2, dtype=torch.int64), torch.arange(2))

    def prepare(batch: ClipBatch, config: SubnetConfig) -> list[torch.Tensor]:
        return [normalize(batch.clips[shape]) for shape in model.input_shapes(config)]

    calibrate(model, configs, [batch], prepare)
    ranked = sorted(configs, key=gflops.__getitem__)
    rows = [Row(config, gflops[config], 0, gflops[config], 50.0 + rank, 90.0) for rank, config in enumerate(ranked)]
    classes = tuple(map(str, range(cfg.MODEL.NUM_CLASSES)))
    return CheckpointNetworks(cfg_name, model, build_preprocessing(cfg), classes, QueryTable(tuple(rows)))


def pictures_of(video: str | None, scale: int) -> list[np.ndarray]:
    """Return the pictures of the camera, which it shows over and over."""
    if video is None:
        height, width = scale, scale * 4 // 3
        return list(np.random.default_rng(0).integers(0, 256, (60, height, width, 3), dtype=np.uint8))
    with VideoReader(video) as file:
        return [frame.copy() for frame in file.read(range(min(file.info.num_frames, 150)))]


class Camera:
    """Source of pictures at their times, whether the reader keeps up or not.

    Attributes:
        latest: the most seconds by which the reader came too late for one.
    """

    def __init__(self, pictures: Sequence[np.ndarray]):
        self._pictures = pictures
        self.latest = 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        began = time.monotonic()
        for number in itertools.count():
            ahead = began + number / FPS - time.monotonic()
            self.latest = max(self.latest, -ahead)
            time.sleep(max(ahead, 0.0))
            yield self._pictures[number % len(self._pictures)]


def milliseconds_of_full(predictor: Predictor, camera: Camera) -> float:
    """Of a window of the best row, without load: the median."""
    with predictor.stream(camera, 1e6, fps=FPS) as stream:
        windows: list[Window] = list(itertools.islice(stream, WARM_WINDOWS))
    return statistics.median(window.milliseconds for window in windows[1:])


@contextmanager
def load_of(num_processes: int, seconds: float) -> Iterator[threading.Event]:
    """Run the load in its phases, which begin with the block; the event is set when they are over."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LOAD]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(num_processes)]
    is_over = threading.Event()

    def tell(number: int) -> None:
        for process in processes:
            process.send_signal(number)

    def phases() -> None:
        for has_load in PHASES:
            tell(signal.SIGCONT if has_load else signal.SIGSTOP)
            if is_over.wait(seconds):
                return
        is_over.set()

    thread = threading.Thread(target=phases)
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # it is busy
        tell(signal.SIGSTOP)
        thread.start()
        yield is_over
    finally:
        is_over.set()
        if thread.ident is not None:
            thread.join()
        for process in processes:
            process.kill()
            process.communicate()


def report(trace: Sequence[TracePoint], budget: float, rows: Sequence[Row], seconds: float) -> None:
    full = rows[-1].config
    print(f"{'phase':8} {'windows':>7} {f'within {TOLERANCE} x budget':>22}   sub-networks, share of the phase's time")
    for number, has_load in enumerate(PHASES):
        points = [point for point in trace if number * seconds <= point.seconds < (number + 1) * seconds]
        times: Counter[SubnetConfig] = Counter()
        for point in points:
            times[point.config] += point.milliseconds  # type: ignore[assignment]
        used = ", ".join(f"{config} {spent / times.total():.0%}" for config, spent in times.most_common(4))
        within = fraction_within(points, TOLERANCE * budget)
        print(f"{'loaded' if has_load else 'idle':8} {len(points):7} {within:22.1%}   {used}")
        if number and not has_load:
            back = [point.seconds - number * seconds for point in points if point.config == full]
            when = f"{back[0]:.1f} s after its end" if back else "not in the phase after it"
            print(f"{'':8} the full network is back {when}")
    print(f"{'all':8} {len(trace):7} {fraction_within(trace, TOLERANCE * budget):22.1%}   (at least {TARGET:.0%})")


def write_trace(path: str, trace: Sequence[TracePoint], budget: float, title: str) -> None:
    points = [{**vars(point), "config": str(point.config)} for point in trace]
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"title": title, "milliseconds": budget, "windows": points}, file, indent=1)


if __name__ == "__main__":
    main()
