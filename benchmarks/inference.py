#!/usr/bin/env python3
"""Milliseconds of a clip on the CPU: our default path against pytorchvideo's network, as it is, compiled, and in ONNX
Runtime.

    pip install onnx onnxscript onnxruntime openvino
    python benchmarks/inference.py --list ../shared/videos/surv_fight/val.csv
    python benchmarks/inference.py --list ../shared/videos/surv_fight/val.csv --networks x3d_m --rounds 5

One clip at a time, evaluation mode, float32 but where a name says bf16. All take turns in one run, in another order
every round; a turn is a pass that is not timed, which brings weights and threads to where they are in a program that
does nothing else, and one that is. Given are medians, and medians and quartiles of the ratios of the same round.

    pytorchvideo eager   its own network, of its own builders, in its own memory format
    ... channels last    the same with weights and clip in channels_last_3d, which pytorchvideo does not do by itself
    torch.compile        the same network (contiguous), default mode; the time to compile is given apart. A function may
                         be compiled as often as it takes: SlowFast's stages take more than the 8 times of the default
    ONNX Runtime         the same network by torch.onnx.export (dynamo); all of its own graph optimisations are on
    accelerator          pytorchvideo's X3D for mobile CPUs: its layers as they are, in their deployable form
                         (convert_to_deployable_form), and that traced; the fastest takes part. Its weights cannot be
                         ours, and its channels are fixed: where ours is a narrow sub-network, this one is of width 1
    default              our Predictor with backend="auto": of the back ends in float32 the one that it found to be the
                         fastest with this sub-network
    openvino-bf16        our back end of that name

**Ours starts from the uint8 clip that a decoder gives and normalises it within the time; all others get a float clip
that was normalised, and put into their memory format, before.** That is in the others' favour.

Weights are random, batch norms' scales and shifts too; statistics are calibrated on real clips. All but the accelerator
have the same weights. Where ours is a sub-network, pytorchvideo's is its network with smaller layers: what somebody who
trains that size alone would have. The last table compares the classes on clips that were not calibrated on: how many
have the same best five of 400, and in the same order, as pytorchvideo's network in eager mode. (What bfloat16 does to
the classes of random weights says little about trained ones, whose classes lie further apart.)
"""

from __future__ import annotations

import argparse
import importlib.metadata
import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from program_options import add
from torch import nn

import mutualnet3d as m3
from mutualnet3d.data.build_loaders import build_preprocessing
from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.data.lists import read_kinetics_list
from mutualnet3d.data.preprocessing import Preprocessing
from mutualnet3d.deploy import BACKENDS, Predictor
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.models import build_model
from mutualnet3d.mutual import calibrate
from mutualnet3d.ops import Normalize
from mutualnet3d.results.latency import device_name
from mutualnet3d.shapes import ClipBatch, ClipShape, SubnetConfig, union_of_shapes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pytorchvideo.models.resnet import create_resnet
    from pytorchvideo.models.slowfast import create_slowfast
    from pytorchvideo.models.x3d import create_x3d

EAGER, LAST, COMPILED, ORT = "pytorchvideo eager", "... channels last", "torch.compile", "ONNX Runtime"
ACCELERATOR, DEFAULT, BF16 = "accelerator", "default", "openvino-bf16"
CPU = torch.device("cpu")

# With 0 as the scale of every block's last batch norm a network of random weights would be its shortcuts alone.
OVERRIDES = ["RESNET.ZERO_INIT_FINAL_BN", False]

# A clip of each pathway -> logits (1, K).
Run = Callable[[Sequence[torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A network to measure: a config's, as a sub-network; how many times as fast as eager it shall be at least."""

    title: str
    cfg: str
    config: SubnetConfig
    target: float | None = None


CASES = {
    "x3d_m": Case("X3D-M", "X3D_M_mutual.yaml", SubnetConfig(1.0, 224, 16), 4.0),
    "x3d_m_small": Case("X3D-M", "X3D_M_mutual.yaml", SubnetConfig(0.63, 144, 6)),
    "slow_8x8": Case("Slow-8x8", "SLOW_8x8_R50_mutual.yaml", SubnetConfig(1.0, 224, 8), 2.5),
    "slowfast_4x16": Case("SlowFast-4x16", "SLOWFAST_4x16_R50_mutual.yaml", SubnetConfig(1.0, 224, 4)),
}


@dataclass
class Contender:
    """Network in one form, which is timed.

    Args:
        name: name in the tables.
        run: function from one clip to its logits.
        prepare: function from uint8 clips (1, T, S, S, 3) to the input of `run`; it is not timed.
        has_our_weights: True if its logits can be compared with the others'.
        milliseconds: time of each round.
    """

    name: str
    run: Run
    prepare: Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]
    has_our_weights: bool = True
    milliseconds: list[float] = field(default_factory=list)

    def logits(self, clips: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.run(self.prepare(clips)).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", required=True, metavar="FILE", help="list of videos, lines `path label`")
    parser.add_argument(
        "--networks", nargs="+", default=list(CASES), choices=list(CASES), help="networks to time; default: all"
    )
    add(parser, "--rounds", 15, "N", "number of timed passes of a network")
    add(parser, "--threads", 2, "N", "number of CPU threads")
    add(parser, "--clips", 50, "N", "number of clips whose classes are compared, 0: none")
    add(parser, "--calibrate", 16, "N", "number of other clips to calibrate on")
    parser.add_argument(
        "--without",
        nargs="*",
        default=[],
        choices=(LAST, COMPILED, ORT, ACCELERATOR, BF16),
        help="ways of the table to leave out; default: none",
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    videos = list_videos(args.list)
    num_needed = max(args.clips, 1) + args.calibrate
    if len(videos) < num_needed:
        raise SystemExit(f"{args.list} has {len(videos)} videos; {num_needed} are needed (--clips, --calibrate)")
    print(f"{device_name(CPU)}, {args.threads} threads, {args.rounds} rounds, {versions()}", flush=True)
    speeds, classes = [], []
    for name in args.networks:
        case = CASES[name]
        print(f"\n{case.title} {case.config}", flush=True)
        contenders, clips = prepared(case, videos, args)
        with torch.no_grad():
            take_turns(contenders, clips[0], args.rounds)
            speeds += speed_rows(case, contenders, clips[0])
            if args.clips:
                classes += class_rows(case, contenders, clips)
        print("\n".join(verdicts(case, contenders)), flush=True)
    columns = ("network", "sub-network", "what", "ms", "times as fast as eager", "quartiles", "logits differ by")
    print("\n" + markdown(columns, speeds))
    if classes:
        columns = ("network", "sub-network", "what", "same five", "same order", "largest difference of logits")
        print("\n" + markdown(columns, classes))


# ---- random networks and real clips, which other benchmarks use too --------------------------------------------------


def list_videos(path: str) -> list[str]:
    """Paths of a list's videos that are there, in its order."""
    videos = read_kinetics_list(path, num_classes=1_000_000)
    return [video.path for video in videos if Path(video.path).is_file()]


def random_source(cfg_name: str, configs: Sequence[SubnetConfig], videos: Sequence[str]) -> CheckpointNetworks:
    """A config's network of random weights, calibrated for `configs` on the middle clips of `videos`."""
    cfg = m3.load_cfg(cfg_name, OVERRIDES)
    torch.manual_seed(0)
    model, how = build_model(cfg), build_preprocessing(cfg)
    for _, norm in model.norms():
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    normalize = Normalize(how.mean, how.std)
    clips = read_clips(how, union_of_shapes(model.input_shapes(config) for config in configs), videos)

    def prepare(batch: ClipBatch, config: SubnetConfig) -> list[torch.Tensor]:
        return [normalize(batch.clips[shape]) for shape in model.input_shapes(config)]

    calibrate(model, configs, [_batch(clips[start : start + 8]) for start in range(0, len(clips), 8)], prepare)
    names = tuple(f"class {number}" for number in range(cfg.MODEL.NUM_CLASSES))
    return CheckpointNetworks("random weights", model, how, names, None)


def read_clips(
    preprocessing: Preprocessing, shapes: Sequence[ClipShape], videos: Sequence[str]
) -> list[dict[ClipShape, torch.Tensor]]:
    """Return the middle clip of each video in all `shapes`, uint8 (1, T, S, S, 3)."""
    reader = ClipReader(preprocessing)
    return [reader.read(path, shapes).clips for path in videos]


def _batch(clips: Sequence[dict[ClipShape, torch.Tensor]]) -> ClipBatch:
    """Return clips of several videos as a loader gives them."""
    joined = {shape: torch.cat([of_video[shape] for of_video in clips]).permute(0, 1, 4, 2, 3) for shape in clips[0]}
    return ClipBatch(joined, torch.zeros(len(clips), dtype=torch.int64), torch.arange(len(clips)))


def pytorchvideo_twin(source: CheckpointNetworks, config: SubnetConfig) -> nn.Module:
    """Return pytorchvideo's own network, with layers of the sub-network's shapes and its weights."""
    extracted = source.network().extract(config)
    network = _builder(extracted, config)()
    layers = dict(extracted.named_modules())
    for name, layer in list(network.named_modules()):
        like = layers.get(name)
        if isinstance(layer, nn.Conv3d):
            network.set_submodule(name, _conv(layer, like))
        elif isinstance(layer, nn.BatchNorm3d):
            network.set_submodule(name, nn.BatchNorm3d(like.num_features, layer.eps))  # type: ignore[union-attr]
        elif isinstance(layer, nn.Linear):
            network.set_submodule(name, nn.Linear(like.in_features, like.out_features))  # type: ignore[union-attr]
    network.load_state_dict(extracted.state_dict())
    return network.eval()


def _builder(extracted: nn.Module, config: SubnetConfig) -> Callable[[], nn.Module]:
    """Return a function that builds the network in pytorchvideo, with the pooling of the sub-network's clip. Class
    scores are logits: its X3D would put a softmax after them."""
    side = -(-config.size // 32)
    if hasattr(extracted.blocks[-1].pool, "pre_conv"):
        return lambda: create_x3d(input_clip_length=config.frames, input_crop_size=config.size, head_activation=None)
    if extracted.num_pathways == 1:
        return lambda: create_resnet(
            model_depth=50, stem_conv_kernel_size=(1, 7, 7), head_pool_kernel_size=(config.frames, side, side)
        )
    alpha = 8
    assert config.width == 1.0, "pytorchvideo's laterals fit the full Slow pathway alone"
    return lambda: create_slowfast(
        model_depth=50,
        slowfast_fusion_conv_kernel_size=(5, 1, 1),
        slowfast_fusion_conv_stride=(alpha, 1, 1),
        head_pool_kernel_sizes=((config.frames, side, side), (alpha * config.frames, side, side)),
    )


def _conv(layer: nn.Conv3d, like: nn.Module | None) -> nn.Conv3d:
    assert isinstance(like, nn.Conv3d), layer
    return nn.Conv3d(
        like.in_channels,
        like.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        groups=1 if layer.groups == 1 else like.in_channels,
        bias=layer.bias is not None,
    )


# ---- the contenders --------------------------------------------------------------------------------------------------


def prepared(
    case: Case, videos: Sequence[str], args: argparse.Namespace
) -> tuple[list[Contender], list[list[torch.Tensor]]]:
    """Return all that take part, and the clips (of each pathway) that are compared; the first is for timing."""
    number = max(args.clips, 1)
    source = random_source(case.cfg, [case.config], videos[number : number + args.calibrate])
    shapes = source.shapes(case.config)
    read = read_clips(source.preprocessing, shapes, videos[:number])
    clips = [[of_video[shape] for shape in shapes] for of_video in read]
    contenders = [*_peers(source, case.config, clips[0], args), *_ours(source, case.config, args)]
    return contenders, clips


def _peers(
    source: CheckpointNetworks, config: SubnetConfig, clips: list[torch.Tensor], args: argparse.Namespace
) -> list[Contender]:
    preprocessing = source.preprocessing
    contiguous = Normalize(preprocessing.mean, preprocessing.std, torch.contiguous_format)
    last = Normalize(preprocessing.mean, preprocessing.std, torch.channels_last_3d)

    def normalized(normalize: Normalize) -> Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]:
        return lambda clips: [normalize(clip.permute(0, 1, 4, 2, 3)) for clip in clips]

    before, example = normalized(contiguous), normalized(contiguous)(clips)
    peers = [Contender(EAGER, _call(pytorchvideo_twin(source, config)), before)]
    if LAST not in args.without:
        network = pytorchvideo_twin(source, config).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        peers.append(Contender(LAST, _call(network), normalized(last)))
    if COMPILED not in args.without:
        peers.append(Contender(COMPILED, _compiled(pytorchvideo_twin(source, config), example), before))
    if ORT not in args.without:
        peers.append(Contender(ORT, _in_onnx_runtime(pytorchvideo_twin(source, config), example, args.threads), before))
    if ACCELERATOR not in args.without and hasattr(source.network().blocks[-1].pool, "pre_conv"):
        peers.append(Contender(ACCELERATOR, _accelerator(example), before, has_our_weights=False))
    return peers


def _call(network: nn.Module) -> Run:
    # A new list every time: pytorchvideo's SlowFast writes into the one that it is given.
    return lambda clips: network(clips[0] if len(clips) == 1 else list(clips))


@torch.no_grad()
def _compiled(network: nn.Module, example: Sequence[torch.Tensor]) -> Run:
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 1000
    run = _call(torch.compile(network))
    started = time.perf_counter()
    run(example)
    print(f"torch.compile: {time.perf_counter() - started:.1f} s to compile", flush=True)
    return run


def _in_onnx_runtime(network: nn.Module, example: Sequence[torch.Tensor], threads: int) -> Run:
    import onnxruntime

    network_input = example[0] if len(example) == 1 else list(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(network, (network_input,), dynamo=True, verbose=False, optimize=True)
    assert exported is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(
        exported.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [port.name for port in session.get_inputs()]

    def run(clips: Sequence[torch.Tensor]) -> torch.Tensor:
        feed = {name: clip.numpy() for name, clip in zip(names, clips, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


@torch.no_grad()
def _accelerator(example: Sequence[torch.Tensor]) -> Run:
    """Return the fastest form of pytorchvideo's X3D for mobile CPUs; print the forms' times, and errors."""
    from pytorchvideo.accelerator.deployment.mobile_cpu.utils.model_conversion import convert_to_deployable_form
    from pytorchvideo.models.accelerator.mobile_cpu.efficient_x3d import EfficientX3d

    (clip,) = example
    network = EfficientX3d(expansion="M", head_act="identity").eval()
    forms: dict[str, Run] = {"its layers as they are": _call(network)}
    deployed = network
    try:
        deployed = convert_to_deployable_form(network, clip)
        deployed(clip)
        forms["deployable form"] = _call(deployed)
    except RuntimeError as error:
        deployed = network
        print(f"accelerator: convert_to_deployable_form fails for {tuple(clip.shape)}: {str(error).splitlines()[0]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(deployed, clip)
        forms["traced"] = _call(traced)
        try:
            from torch.utils.mobile_optimizer import optimize_for_mobile

            forms["traced and optimised for mobile"] = _call(optimize_for_mobile(traced))
        except (ImportError, RuntimeError) as error:
            print(f"accelerator: optimize_for_mobile fails: {str(error).splitlines()[0]}")
    milliseconds = {}
    for name, run in forms.items():
        for _ in range(3):  # tracing optimises in the first two
            started = time.perf_counter()
            run([clip])
            milliseconds[name] = 1e3 * (time.perf_counter() - started)
    best = min(milliseconds, key=lambda name: milliseconds[name])
    print(f"accelerator: {_times_text(milliseconds)}; '{best}' takes part", flush=True)
    return forms[best]


def _ours(source: CheckpointNetworks, config: SubnetConfig, args: argparse.Namespace) -> list[Contender]:
    predictor = Predictor(source, "auto", device="cpu", threads=args.threads)
    predictor.prepare([config])
    print(f"default: back end {predictor.backend}; the trial: {_times_text(predictor.trials)}", flush=True)
    for name, reason in predictor.rejected.items():
        print(f"default: {name} is left out: {reason}")
    names = {DEFAULT: predictor.backend}
    if BF16 not in args.without:
        if problem := BACKENDS[BF16].why_not(source, config, CPU):
            print(f"{BF16} is left out: {problem}")
        else:
            names[BF16] = BF16
    return [
        Contender(name, BACKENDS[backend](source, CPU, args.threads).forward(config), list)
        for name, backend in names.items()
    ]


def _times_text(milliseconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f} ms" for name, value in milliseconds.items())


# ---- what is measured ------------------------------------------------------------------------------------------------


def take_turns(contenders: Sequence[Contender], clips: Sequence[torch.Tensor], rounds: int) -> None:
    """Time each, in another order every round; the first round warms up."""
    inputs = {contender.name: contender.prepare(clips) for contender in contenders}
    for number in range(-1, rounds):
        for contender in random.Random(number).sample(list(contenders), len(contenders)):
            contender.run(inputs[contender.name])
            started = time.perf_counter()
            contender.run(inputs[contender.name])
            if number >= 0:
                contender.milliseconds.append(1e3 * (time.perf_counter() - started))


def speed_rows(case: Case, contenders: Sequence[Contender], clips: Sequence[torch.Tensor]) -> list[list[str]]:
    by_name = {contender.name: contender for contender in contenders}
    eager = by_name[EAGER]
    eager_logits = eager.logits(clips)
    rows = []
    for contender in contenders:
        low, middle, high = quartiles(eager, contender)
        differ = (
            f"{relative_difference(contender.logits(clips), eager_logits):.1e}"
            if contender.has_our_weights
            else "its own weights"
        )
        is_wide = contender.name == ACCELERATOR and case.config.width < 1
        row = [
            contender.name + ", width 1.0" * is_wide,
            f"{statistics.median(contender.milliseconds):.1f}",
            f"{middle:.2f}",
            "" if contender is eager else f"{low:.2f} to {high:.2f}",
            "" if contender is eager else differ,
        ]
        rows.append([case.title, str(case.config), *row])
    return rows


def class_rows(case: Case, contenders: Sequence[Contender], clips: Sequence[Sequence[torch.Tensor]]) -> list[list[str]]:
    by_name = {contender.name: contender for contender in contenders}
    eager = torch.cat([by_name[EAGER].logits(clip) for clip in clips])
    best_five = eager.topk(5).indices
    sets = {tuple(sorted(row)) for row in best_five.tolist()}
    print(f"classes: {len(clips)} clips have {len(sets)} different sets of the best five", flush=True)
    rows = []
    for name in (DEFAULT, BF16):
        if name in by_name:
            logits = torch.cat([by_name[name].logits(clip) for clip in clips])
            own = logits.topk(5).indices
            same = int((own.sort().values == best_five.sort().values).all(dim=1).sum())
            in_order = int((own == best_five).all(dim=1).sum())
            worst = max(relative_difference(a, b) for a, b in zip(logits, eager, strict=True))
            counts = [f"{same} of {len(clips)}", f"{in_order} of {len(clips)}", f"{worst:.1e}"]
            rows.append([case.title, str(case.config), name, *counts])
    return rows


def verdicts(case: Case, contenders: Sequence[Contender]) -> list[str]:
    """Return lines of the measured ratios, contender with its target."""
    by_name = {contender.name: contender for contender in contenders}
    lines = []
    for other, target in ((EAGER, case.target), (ORT, 1.0)):
        if other in by_name and target is not None:
            low, middle, high = quartiles(by_name[other], by_name[DEFAULT])
            lines.append(
                f"{DEFAULT} is {middle:.2f} times as fast as {other} (quartiles {low:.2f} to {high:.2f}; "
                f"at least {target:g})"
            )
    return lines


def quartiles(slow: Contender, fast: Contender) -> tuple[float, float, float]:
    """Return the quartiles of the ratios of milliseconds, round by round."""
    ratios = [a / b for a, b in zip(slow.milliseconds, fast.milliseconds, strict=True)]
    if len(ratios) < 2:
        return ratios[0], ratios[0], ratios[0]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, middle, high


def relative_difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest of `expected`."""
    return float((got - expected).abs().max() / expected.abs().max())


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def versions() -> str:
    names = ("torch", "pytorchvideo", "onnxruntime", "openvino")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


if __name__ == "__main__":
    main()
