#!/usr/bin/env python3
"""Difference of exported sub-networks from the eager ones: every row of the paper's results, in every format.

    pip install onnx onnxscript onnxruntime openvino
    python benchmarks/export_parity.py --list ../shared/videos/surv_fight/val.csv
    python benchmarks/export_parity.py --list ../shared/videos/surv_fight/val.csv --families x3d_m --first 2

Networks of random weights, batch norms' scales and shifts too, calibrated on real clips. Each sub-network goes to a
bundle as `tools/export.py` writes it, with batch norms folded and normalisation inside; the bundle is read again, and
its files run on other real clips, one and two at once: torch.export's by PyTorch, OpenVINO's IR by OpenVINO (as it is
written, for any batch size, and reshaped to one clip as our back end does), ONNX by ONNX Runtime. Given is the largest
difference of logits from the switched sub-network's in eager PyTorch, over the largest logit. Beside it are the largest
of all formats that `export` itself found, on clips of noise, for which the networks are not calibrated; and what
float32 leaves open: the eager sub-network's own difference from the same in float64.

The status is 1 where a difference on real clips is above 1e-4.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from inference import CPU, list_videos, markdown, random_source, read_clips, relative_difference, versions
from program_options import add

from mutualnet3d.deploy import BACKENDS, Bundle
from mutualnet3d.deploy import export as exporting
from mutualnet3d.deploy.export import MAX_DIFFERENCE, eager_logits
from mutualnet3d.deploy.networks import CheckpointNetworks, openvino_core
from mutualnet3d.ops import Normalize
from mutualnet3d.results.latency import device_name
from mutualnet3d.results.paper import paper_results
from mutualnet3d.shapes import SubnetConfig, union_of_shapes

# The paper's key -> our config.
FAMILIES = {
    "x3d_m": "X3D_M_mutual.yaml",
    "slow_8x8": "SLOW_8x8_R50_mutual.yaml",
    "slowfast_4x16": "SLOWFAST_4x16_R50_mutual.yaml",
}
BATCHES = (1, 2)
PT2, ONNX, OPENVINO, ONE_CLIP = "torch.export", "ONNX", "OpenVINO", "OpenVINO, one clip"
NOISE, FLOAT64 = "the worst on noise", "eager, from float64"
COLUMNS = (PT2, ONNX, OPENVINO, ONE_CLIP, NOISE, FLOAT64)

# uint8 clips (B, T, S, S, 3), one for each pathway -> logits (B, K).
Run = Callable[[Sequence[torch.Tensor]], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", required=True, metavar="FILE", help="list of videos, lines `path label`")
    parser.add_argument(
        "--families",
        nargs="+",
        default=list(FAMILIES),
        choices=list(FAMILIES),
        help="networks to compare; default: all",
    )
    parser.add_argument(
        "--first", type=int, metavar="N", help="number of sub-networks of a network, the cheapest ones; default: all"
    )
    add(parser, "--clips", 4, "N", "number of real clips to compare on")
    add(parser, "--calibrate", 8, "N", "number of other clips to calibrate on")
    add(parser, "--threads", 2, "N", "number of CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    videos = list_videos(args.list)
    if args.clips < max(BATCHES) or len(videos) < args.clips + args.calibrate:
        raise SystemExit(f"{args.clips} + {args.calibrate} clips of the list's {len(videos)} videos cannot be had")
    print(f"{device_name(CPU)}, {args.threads} threads, {versions()}", flush=True)
    worst = []
    for family in args.families:
        measured = dict(measure(family, videos, args))
        rows = [[str(config), *(f"{worst_of[name]:.1e}" for name in COLUMNS)] for config, worst_of in measured.items()]
        print(f"\n{FAMILIES[family]}\n\n" + markdown(("sub-network", *COLUMNS), rows), flush=True)
        largest = {name: max(of_format[name] for of_format in measured.values()) for name in COLUMNS}
        worst.append((family, len(measured), largest))
    rows = [[family, str(count), *(f"{value:.1e}" for value in largest.values())] for family, count, largest in worst]
    print(f"\nThe largest of all sub-networks; at most {MAX_DIFFERENCE:g} is asked for.\n")
    print(markdown(("family", "sub-networks", *COLUMNS), rows))
    exported = [value for _, _, largest in worst for name, value in largest.items() if name not in (NOISE, FLOAT64)]
    sys.exit(0 if max(exported) <= MAX_DIFFERENCE else 1)


def measure(
    family: str, videos: Sequence[str], args: argparse.Namespace
) -> Iterator[tuple[SubnetConfig, dict[str, float]]]:
    """Yield the largest difference of each format, for each sub-network."""
    configs = [row.config for row in paper_results()[family].rows]
    if args.first:
        configs = configs[-args.first :]
    source = random_source(FAMILIES[family], configs, videos[args.clips : args.clips + args.calibrate])
    read = read_clips(source.preprocessing, union_of_shapes(map(source.shapes, configs)), videos[: args.clips])
    for config in configs:
        clips = [torch.cat([clips_of[shape] for clips_of in read]) for shape in source.shapes(config)]
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            bundle = exported(source, config, folder)
            seconds = time.perf_counter() - started
            differences = compare(source, bundle, config, clips)
        differences[NOISE] = max(bundle.networks[config].differences.values())
        text = ", ".join(f"{name} {differences[name]:.1e}" for name in COLUMNS)
        print(f"{family} {config}: {text}; exported and read in {seconds:.0f} s", flush=True)
        yield config, differences


def exported(source: CheckpointNetworks, config: SubnetConfig, folder: str) -> Bundle:
    """Return a bundle of the one sub-network. `export` would refuse a large difference on clips of noise; here it goes
    on, so that everything is measured."""
    # A bundle says the hash of the checkpoint's file.
    source.path = os.path.join(folder, "weights.pyth")
    torch.save(source.network().state_dict(), source.path)
    with mock.patch.object(exporting, "MAX_DIFFERENCE", math.inf):
        return exporting.export(source, os.path.join(folder, "bundle"), [config], formats=("onnx", "openvino", "pt2"))


def compare(
    source: CheckpointNetworks, bundle: Bundle, config: SubnetConfig, clips: Sequence[torch.Tensor]
) -> dict[str, float]:
    """Return the largest difference of each format over all batches of `clips`."""
    runs: dict[str, Run] = {
        PT2: BACKENDS["pt2"](bundle, CPU, None).forward(config),
        ONNX: BACKENDS["onnxruntime"](bundle, CPU, None).forward(config),
        OPENVINO: _any_batch(bundle.openvino(config)),
        ONE_CLIP: BACKENDS["openvino"](bundle, CPU, None).forward(config),
    }
    largest = dict.fromkeys(COLUMNS, 0.0)
    for batch in BATCHES:
        for start in range(0, len(clips[0]) - batch + 1, batch):
            batch_clips = [clip[start : start + batch] for clip in clips]
            eager = eager_logits(source, config, batch_clips)
            for name, run in runs.items():
                largest[name] = max(largest[name], relative_difference(run(batch_clips), eager))
            exact = in_float64(source, config, batch_clips)
            largest[FLOAT64] = max(largest[FLOAT64], relative_difference(eager.double(), exact))
    return largest


def _any_batch(model: Any) -> Run:
    """Return the run of an OpenVINO model as it is in the file, for any batch size."""
    request = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()

    def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
        (logits,) = request.infer([clip.contiguous().numpy() for clip in clips]).values()
        return torch.from_numpy(logits.copy())

    return run


@torch.no_grad()
def in_float64(source: CheckpointNetworks, config: SubnetConfig, clips: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sub-network's logits computed in float64; its input is normalised in float32, as for all."""
    model, normalize = source.network(), Normalize(source.preprocessing.mean, source.preprocessing.std)
    inputs = [normalize(clip.permute(0, 1, 4, 2, 3)).double() for clip in clips]
    model.double()
    try:
        with model.active(config):
            return model(inputs)
    finally:
        model.float()  # the same numbers again: they were float32 before


if __name__ == "__main__":
    main()
