#!/usr/bin/env python3
"""Prediction of a video's labels at three budgets: time of its parts, beside the usual way; time of a change of the
budget; and memory of every further sub-network.

    pip install onnx onnxscript onnxruntime openvino
    python benchmarks/prediction.py --list ../shared/videos/surv_fight/val.csv

X3D-M with random weights, calibrated on real clips for the sub-networks of the paper's results, as a checkpoint with
its query table, which `Predictor.load` reads. The table's GFLOPs and parameters are counted and its milliseconds
measured here; its top-1 is the paper's, of the paper's weights, because something has to say which sub-network is the
better one; its top-5 is not known and stands as 0. Budgets are the GFLOPs of the full, of a middle, and of the smallest
sub-network.

*File to label*: every video at every budget and by the peer, in another order every time, the first round not counted;
in milliseconds of each video's middle run, the mean over the videos. The peer is what a user of PyTorchVideo has: PyAV
decodes the whole file and makes RGB of every frame (its EncodedVideo; these videos are no longer than a clip), of which
16 are taken, scaled to a short side of 256 as floats, cropped to 224 and normalised, and pytorchvideo's X3D-M in eager
mode runs on them. Its pixels are not quite ours, so labels are not compared. Its normalisation counts as preparing,
ours as the network's.

*Change of the budget*: `choose` alone, over many calls; and the network's time in the first call after a change over
that in the next call.

*Memory*: in processes of their own, resident megabytes after the checkpoint is loaded, after a first sub-network was
made ready and run (libraries and all that is loaded with them), and what each further one adds, its room for
activations included; free memory is given back to the system before each look. Beside it the megabytes of the
sub-network's own weights. Of OpenVINO from the checkpoint, out of which each sub-network is exported in that process,
and from a bundle.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import av
import torch
import torch.nn.functional as F
from inference import CPU, OVERRIDES, list_videos, markdown, pytorchvideo_twin, random_source, versions
from program_options import add

import mutualnet3d as m3
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy import Predictor, Timing
from mutualnet3d.deploy import export as exporting
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.load import load_checkpoint_networks
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.engine.evaluate import evaluation_forward
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.models import ModelFile, costs, write_model_file
from mutualnet3d.models.build import space_of
from mutualnet3d.results.latency import device_name, measure_latencies
from mutualnet3d.results.paper import paper_results
from mutualnet3d.results.query_table import QueryTable, Row
from mutualnet3d.shapes import SubnetConfig

CFG = "X3D_M_mutual.yaml"
FULL, MIDDLE, SMALLEST = SubnetConfig(1.0, 224, 16), SubnetConfig(0.73, 192, 10), SubnetConfig(0.63, 144, 6)
CHOSEN = (FULL, MIDDLE, SMALLEST)
# Made ready before these where memory is looked at, so that they are not charged for libraries.
FIRST = SubnetConfig(1.0, 224, 13)
PEER = "PyAV and pytorchvideo"
BACKENDS = ("pytorch", "openvino")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", required=True, metavar="FILE", help="list of videos, lines `path label`")
    add(parser, "--videos", 20, "N", "number of videos to predict")
    add(parser, "--calibrate", 8, "N", "number of other videos to calibrate on")
    add(parser, "--rounds", 5, "N", "number of rounds over all videos")
    add(parser, "--threads", 2, "N", "number of CPU threads")
    add(parser, "--backend", "auto", "NAME", "library that runs the network of the first table")
    parser.add_argument("--memory-of", nargs=2, metavar=("BACKEND", "PATH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        print(json.dumps(memory(*args.memory_of, threads=args.threads)))
        return
    videos = list_videos(args.list)
    if len(videos) < args.videos + args.calibrate:
        raise SystemExit(f"{args.list} has {len(videos)} videos; {args.videos + args.calibrate} are needed")
    clips, others = videos[: args.videos], videos[args.videos : args.videos + args.calibrate]
    print(f"{device_name(CPU)}, {args.threads} threads, {args.rounds} rounds over {len(clips)} videos, {versions()}")
    source = random_source(CFG, [row.config for row in paper_results()["x3d_m"].rows], others)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = os.path.join(folder, "calibrated.pyth")
        write(source, checkpoint)
        file_to_label(source, checkpoint, clips, args)
        for backend in BACKENDS:
            change_of_budget(backend, checkpoint, clips, args)
        bundle = os.path.join(folder, "bundle")
        rows = [row for backend in BACKENDS for row in memory_rows(backend, checkpoint, args)]
        # Here it does not matter how far a network of random weights is off on clips of noise.
        with mock.patch.object(exporting, "MAX_DIFFERENCE", math.inf):
            exporting.export(load_checkpoint_networks(checkpoint), bundle, [*CHOSEN, FIRST], formats=("openvino",))
        rows += memory_rows("openvino", bundle, args)
    print("\n" + markdown(("back end", "after", "resident MB", "more than before", "its weights, MB"), rows))


def write(source: CheckpointNetworks, path: str) -> None:
    """Write the checkpoint and its query table, as a test run leaves them."""
    model = source.network()
    cfg = m3.load_cfg(CFG, OVERRIDES)
    model_file = ModelFile.of(
        model,
        class_names=source.class_names,
        preprocessing=source.preprocessing.to_json(),
        space=space_of(cfg),
        channels_last=cfg.MODEL.CHANNELS_LAST,
        config=cfg.dump(),
    )
    write_model_file(path, model_file)
    top1 = {row.config: row.top1 for row in paper_results()["x3d_m"].rows}

    def blank(config: SubnetConfig) -> list[torch.Tensor]:
        return [torch.zeros(1, 3, shape.frames, shape.size, shape.size) for shape in source.shapes(config)]

    with evaluation_forward(model) as forward:
        milliseconds = measure_latencies(forward, list(top1), blank, CPU, num_rounds=1).milliseconds
    rows = []
    for config, accuracy in top1.items():
        operations, params = costs(model, config)
        rows.append(Row(config, operations / 1e9, params, milliseconds[config], top1=accuracy, top5=0.0))
    context = {"model": "x3d", "checkpoint": file_hash(path), "accuracy_of": "the paper's weights; top-5 not known"}
    QueryTable(tuple(rows), context).save(os.path.join(os.path.dirname(path), "query_table.json"))


def budgets(predictor: Predictor) -> dict[SubnetConfig, float]:
    """Return the GFLOPs for which the predictor takes each of the three."""
    of_config = {row.config: row.gflops for row in predictor.table.rows if row.config in CHOSEN}
    for config, gflops in of_config.items():
        assert predictor.choose(gflops=gflops)[0] == config
    return of_config


# ---- file to label ---------------------------------------------------------------------------------------------------


def file_to_label(source: CheckpointNetworks, checkpoint: str, videos: Sequence[str], args: argparse.Namespace) -> None:
    """Print the table of the parts."""
    predictor = Predictor.load(checkpoint, backend=args.backend, device="cpu", threads=args.threads)
    predictor.prepare(CHOSEN)
    network = pytorchvideo_twin(source, FULL)
    works: dict[str, Callable[[str], Timing]] = {
        f"{config}, {gflops:.2f} GFLOPs": lambda path, gflops=gflops: predictor.predict(path, gflops=gflops).timing
        for config, gflops in budgets(predictor).items()
    }
    own = list(works)
    works[PEER] = lambda path: peer(path, source.preprocessing, network)
    timings: dict[str, dict[str, list[Timing]]] = {name: {path: [] for path in videos} for name in works}
    for number in range(-1, args.rounds):
        for place, path in enumerate(videos):
            for name in random.Random(100 * number + place).sample(list(works), len(works)):
                timing = works[name](path)
                if number >= 0:
                    timings[name][path].append(timing)
    means = {name: mean_of_middle_runs(list(of_name.values())) for name, of_name in timings.items()}
    print(
        f"\nback end {predictor.backend}; milliseconds, mean of {len(videos)} videos, of each the middle one of "
        f"{args.rounds} runs\n"
    )
    rows = [
        [name, *(f"{mean:.1f}" for mean in means[name]), f"{means[PEER][-1] / means[name][-1]:.1f}"] for name in works
    ]
    columns = ("what", "decoding", "preparing", "network", "all", "times as fast as the peer")
    print(markdown(columns, rows))
    sums = [means[name][-1] for name in own]
    falls = "falls" if all(more > less for more, less in itertools.pairwise(sums)) else "DOES NOT FALL"
    print(f"\nthe sum {falls} with the budget: {', '.join(f'{total:.1f}' for total in sums)}", flush=True)


def mean_of_middle_runs(timings: Sequence[Sequence[Timing]]) -> list[float]:
    """Return milliseconds of decoding, preparing, network and all: the mean over videos of the run whose total is the
    median of the video's runs, so that the parts add up to the whole."""
    middle = [sorted(of_video, key=lambda timing: timing.total)[len(of_video) // 2] for of_video in timings]
    return [
        statistics.mean(getattr(timing, part) for timing in middle)
        for part in ("decode", "prepare", "network", "total")
    ]


@torch.no_grad()
def peer(path: str, preprocessing: Preprocessing, network: torch.nn.Module) -> Timing:
    """Time a prediction in the way of pytorchvideo's EncodedVideo and transforms, with less work in two things: there
    is no audio, and frames become floats after they have been chosen."""
    times = [time.perf_counter()]
    with av.open(path) as container:
        frames = [torch.from_numpy(frame.to_rgb().to_ndarray()) for frame in container.decode(video=0)]
    times.append(time.perf_counter())
    indices = torch.linspace(0, len(frames) - 1, preprocessing.num_frames).long().tolist()
    clip_CTHW = torch.stack([frames[index] for index in indices]).permute(3, 0, 1, 2).float()
    height, width = clip_CTHW.shape[2:]
    scale = preprocessing.scale / min(height, width)
    sides = (round(height * scale), round(width * scale))
    clip_CTHW = F.interpolate(clip_CTHW, size=sides, mode="bilinear", align_corners=False)
    top, left = ((side - preprocessing.crop_size) // 2 for side in sides)
    clip_CTHW = clip_CTHW[:, :, top : top + preprocessing.crop_size, left : left + preprocessing.crop_size]
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    clip_BCTHW = ((clip_CTHW / 255 - mean) / std)[None].contiguous()
    times.append(time.perf_counter())
    network(clip_BCTHW).softmax(dim=1).topk(5)
    times.append(time.perf_counter())
    return Timing(*(1e3 * (later - before) for before, later in itertools.pairwise(times)))


# ---- change of the budget --------------------------------------------------------------------------------------------


def change_of_budget(backend: str, checkpoint: str, videos: Sequence[str], args: argparse.Namespace) -> None:
    """Print the time of a change of the budget."""
    predictor = Predictor.load(checkpoint, backend=backend, device="cpu", threads=args.threads)
    predictor.prepare(CHOSEN)
    of_config = budgets(predictor)
    started, calls = time.perf_counter(), 0
    for gflops in list(of_config.values()) * 300:
        predictor.choose(gflops=gflops)
        calls += 1
    microseconds = 1e6 * (time.perf_counter() - started) / calls
    milliseconds: dict[tuple[SubnetConfig, str], list[float]] = defaultdict(list)
    for number in range(-1, args.rounds):
        for path in videos[:4]:
            # Each comes after another one, the last of the round before included.
            for config in CHOSEN[number % 3 :] + CHOSEN[: number % 3]:
                for call in ("changed", "same"):
                    prediction = predictor.predict(path, gflops=of_config[config])
                    if number >= 0:
                        milliseconds[config, call].append(prediction.timing.network)
    texts = []
    for config in CHOSEN:
        changed, same = (milliseconds[config, call] for call in ("changed", "same"))
        ratio = statistics.median(a / b for a, b in zip(changed, same, strict=True))
        texts.append(f"{config} {statistics.median(same):.1f} ms, first call after a change x {ratio:.2f}")
    print(f"\nback end {backend}: choose takes {microseconds:.0f} microseconds; {'; '.join(texts)}", flush=True)


# ---- memory ----------------------------------------------------------------------------------------------------------


def memory(backend: str, path: str, threads: int) -> list[tuple[str, float, float]]:
    """Return (step, resident megabytes after it, megabytes of the sub-network's weights) of a checkpoint or bundle."""
    predictor = Predictor.load(path, backend=backend, device="cpu", threads=threads)
    params = {row.config: row.params for row in predictor.table.rows}
    measured = [(f"loading the {'bundle' if os.path.isdir(path) else 'checkpoint'}", _resident(), 0.0)]
    for config in (FIRST, *reversed(CHOSEN)):
        predictor.prepare([config])
        (shape,) = predictor._networks.shapes(config)
        (clip,) = random_clips((shape,), 1)
        for _ in range(2):
            predictor.predict(clip[0], config=config)
        step = f"{config}, and the libraries" if config == FIRST else str(config)
        measured.append((step, _resident(), 4e-6 * params[config]))
    for config in CHOSEN:
        predictor.prepare([config])
    measured.append(("all three once more", _resident(), 0.0))
    return measured


def _resident() -> float:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory_rows(backend: str, path: str, args: argparse.Namespace) -> list[list[str]]:
    command = [sys.executable, __file__, "--list", args.list, "--threads", str(args.threads)]
    done = subprocess.run([*command, "--memory-of", backend, path], check=True, stdout=subprocess.PIPE, text=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    rows = []
    for number, (step, resident, weights) in enumerate(measured):
        more = f"{resident - measured[number - 1][1]:+.0f}" if number else ""
        rows.append([backend, step, f"{resident:.0f}", more, f"{weights:.1f}" if weights else ""])
    return rows


if __name__ == "__main__":
    main()
