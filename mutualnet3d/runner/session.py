"""What training and testing of one config share: the network on its device, and how it is fed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from fvcore.common.config import CfgNode

from mutualnet3d import distributed
from mutualnet3d.data.bad_videos import BadVideoFile
from mutualnet3d.data.build_loaders import Split, build_calibration_loader, read_split
from mutualnet3d.data.loader import TestLoader
from mutualnet3d.data.transforms import Normalize
from mutualnet3d.distributed.launch import Launch, device_of, threads_of
from mutualnet3d.engine.evaluate import Evaluation, evaluate, evaluation_forward
from mutualnet3d.files.atomic import write_text
from mutualnet3d.log import JsonLines, logger, progress, setup_logging
from mutualnet3d.models import build_model, full_clip_of
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.mutual import SubnetConfig, SubnetSpace, calibrate
from mutualnet3d.results.paper import PaperResults, paper_results, results_of
from mutualnet3d.results.query_table import COSTS, QueryTable
from mutualnet3d.shapes import ClipBatch, ClipShape, Shard, union_of_shapes

# oneDNN keeps 1024 compiled kernels by default; random widths x sizes x frames x layers are more, and compiling them
# again makes the demo's training step 1.2 times as long. Read when the first convolution runs.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")


class Session:
    """What training and testing of one config share, in one process of a job.

    Attributes:
        launch: this process; shard: its part of the work; device: where it computes.
        model: the network; space: its sub-networks as they are trained.
        records: the JSON lines of the run.
        bad_videos: where missing and bad videos are written down.
    """

    def __init__(self, cfg: CfgNode, launch: Launch):
        self.cfg, self.launch = cfg, launch
        self.shard = Shard(distributed.rank(), distributed.world_size())
        setup_logging(cfg.OUTPUT_DIR, self.shard.rank)
        self.records = JsonLines(os.path.join(cfg.OUTPUT_DIR, "log.jsonl"))
        is_main = self.shard.rank == 0
        self.bad_videos = BadVideoFile(os.path.join(cfg.OUTPUT_DIR, "bad_videos.csv"), is_writer=is_main)
        if is_main:
            write_text(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), cfg.dump())
        self.space = build_space(cfg)
        self.device = device_of(launch)
        self.normalize = build_normalize(cfg)
        torch.manual_seed(cfg.RNG_SEED)  # the weights' start; everything else but dropout has generators of its own
        self.model = build_model(cfg).to(self.device, memory_format=memory_format_of(cfg))  # type: ignore[call-overload]
        if self.shard.rank:  # each process drops other features
            torch.manual_seed(int(np.random.SeedSequence((cfg.RNG_SEED, self.shard.rank)).generate_state(1)[0]))

    @contextmanager
    def sharing_the_cores(self) -> Iterator[None]:
        """On a CPU, leave a core to each loader worker, but at most half of them: threads that wait for a worker's core
        spin, and took twice as long for a training step as half the threads do."""
        before = torch.get_num_threads()
        if self.device.type == "cpu":
            cores = threads_of(self.launch, os.environ)
            free = max(cores - self.cfg.DATA_LOADER.NUM_WORKERS, cores // 2, 1)
            torch.set_num_threads(min(before, free))
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def shapes(self, configs: Iterable[SubnetConfig]) -> tuple[ClipShape, ...]:
        """The clip shapes that `configs` need between them."""
        return union_of_shapes(self.model.input_shapes(config) for config in configs)

    def prepare(self, batch: ClipBatch, config: SubnetConfig) -> list[torch.Tensor]:
        """A batch on the device to the network's input under `config`."""
        return [self.normalize(batch.clips[shape].to(self.device)) for shape in self.model.input_shapes(config)]

    def blank_clips(self, config: SubnetConfig, num_clips: int = 1) -> list[torch.Tensor]:
        """The network's input under `config`, black clips."""
        return blank_clips(self.model, self.normalize, self.device, config, num_clips)

    def read_split(self, name: str) -> Split:
        """The videos of train, val or test; one process looks which of them are there."""
        return read_split(self.cfg, name, self.bad_videos, look=on_main)

    def calibrate(
        self, model: SlimmableNet, configs: Sequence[SubnetConfig], train_split: Split, crop_scale: float = 1.0
    ) -> None:
        """Recompute the statistics of `configs` over training clips; all processes call it with the same configs.

        Args:
            crop_scale: as of `build_calibration_loader`.
        """
        loader = build_calibration_loader(self.cfg, train_split, self.shapes(configs), self.shard, crop_scale)
        batches = progress(loader, len(loader), "calibrating")
        num_clips = calibrate(model, configs, batches, self.prepare, distributed.sum_over_ranks)
        self.exchange_bad_videos(train_split)
        logger.info("calibrated %d sub-networks on %d training clips", len(configs), num_clips)

    def to_calibrate(self, model: SlimmableNet, configs: Sequence[SubnetConfig], precise: bool) -> list[SubnetConfig]:
        """Those of `configs` that have no statistics from data; the full network has its tracked ones, unless `precise`
        ones are asked for."""
        without = [config for config in configs if config not in model.calibrated]
        # A sub-network that is trained alone tracks nothing.
        return [config for config in without if precise or self.cfg.TRAIN.SUBNET or config != model.full]

    def evaluate(
        self,
        model: SlimmableNet,
        configs: Sequence[SubnetConfig],
        loader: TestLoader,
        split: Split,
        num_views: int,
        keep_scores: bool = False,
    ) -> Evaluation:
        """Accuracy of `configs` over the videos of `split` that the processes' loaders can give; says how many these
        are."""
        batches = progress(loader, len(loader), "evaluating")
        with evaluation_forward(model) as forward:
            result = evaluate(
                forward,
                configs,
                batches,
                self.prepare,
                self.device,
                videos=range(self.shard.rank, len(split.videos), self.shard.world_size),
                num_videos=len(split.videos),
                num_views=num_views,
                num_classes=self.cfg.MODEL.NUM_CLASSES,
                failed_videos=loader.failed,
                ensemble=self.cfg.DATA.ENSEMBLE_METHOD,
                keep_scores=keep_scores,
                batch_context=model.shared_fast_features,
            )
        self.exchange_bad_videos(split)
        tested = len(result.video_V)
        if tested < split.bad.num_listed:
            logger.warning(
                "%s: the accuracy is over %d of %d listed videos: %d are missing, %d could not be decoded (%s)",
                split.name,
                tested,
                split.bad.num_listed,
                split.bad.num_missing,
                len(split.videos) - tested,
                self.bad_videos.path,
            )
        return result

    def exchange_bad_videos(self, split: Split) -> None:
        """Let all processes know which videos of `split` any of them has found bad."""
        split.bad.take(finding for findings in distributed.gather(split.bad.findings()) for finding in findings)


def on_main(make: Callable[[], bytes]) -> bytes:
    """What `make` gives on rank 0, on all processes."""
    return distributed.broadcast(make() if distributed.is_main() else None)


def memory_format_of(cfg: CfgNode) -> torch.memory_format:
    """How tensors of clips lie in memory."""
    return torch.channels_last_3d if cfg.MODEL.CHANNELS_LAST else torch.contiguous_format


def build_normalize(cfg: CfgNode) -> Normalize:
    """From a loader's clips to a network's input."""
    return Normalize(cfg.DATA.MEAN, cfg.DATA.STD, memory_format_of(cfg), cfg.DATA.REVERSE_INPUT_CHANNEL)


def blank_clips(
    model: SlimmableNet, normalize: Normalize, device: torch.device, config: SubnetConfig, num_clips: int = 1
) -> list[torch.Tensor]:
    """The network's input under `config`, black clips, on `device`."""
    shapes = [(num_clips, each.frames, 3, each.size, each.size) for each in model.input_shapes(config)]
    return [normalize(torch.zeros(shape, dtype=torch.uint8, device=device)) for shape in shapes]


def build_space(cfg: CfgNode) -> SubnetSpace:
    """The sub-networks that `cfg` trains and tests; empty lists mean the full network's own value."""
    full_clip = full_clip_of(cfg)
    return SubnetSpace(
        width_range=tuple(cfg.MUTUAL.WIDTH_RANGE),
        sizes=tuple(cfg.MUTUAL.SIZES) or (full_clip.size,),
        frames=tuple(cfg.MUTUAL.FRAMES) or (full_clip.frames,),
    )


def build_test_space(cfg: CfgNode) -> SubnetSpace:
    """The sub-networks of `cfg` at the sizes that they are tested at: see `TEST.SIZES`."""
    space = build_space(cfg)
    scale = cfg.DATA.TEST_CROP_SIZE / cfg.DATA.TRAIN_CROP_SIZE
    sizes = cfg.TEST.SIZES or [round(size * scale) for size in space.sizes]
    return SubnetSpace(space.width_range, tuple(sizes), space.frames)


def configs_to_test(cfg: CfgNode) -> tuple[SubnetConfig, ...]:
    """What `TEST.SUBNETS` names, each once, at the sizes that are tested. Keys may have training's sizes too.

    Raises:
        ValueError: nothing is named, a key is none, the spaces do not have its sub-network, or the paper has no results
            of this network.
        FileNotFoundError: "pareto" without an earlier table.
    """
    space, tested = build_space(cfg), build_test_space(cfg)
    both = SubnetSpace(space.width_range, tuple(dict.fromkeys([*tested.sizes, *space.sizes])), space.frames)
    configs: list[SubnetConfig] = []
    for entry in cfg.TEST.SUBNETS:
        if entry == "grid":
            configs += tested.grid(cfg.MUTUAL.TEST_WIDTHS or space.width_range)
        elif entry == "full":
            configs.append(tested.full)
        elif entry == "paper":
            configs += [both.check(config) for config in _of_the_paper(cfg)]
        elif entry == "pareto":
            table = QueryTable.load(cfg.TEST.QUERY_TABLE or os.path.join(cfg.OUTPUT_DIR, "query_table.json"))
            configs += [both.check(row.config) for cost in COSTS for row in table.pareto(cost)]
        else:
            configs.append(both.check(SubnetConfig.parse(entry)))
    if not configs:
        raise ValueError(
            "TEST.SUBNETS is empty; name 'grid', 'full', 'paper', 'pareto' or keys such as 'w0.63-s160-t10'"
        )
    return tuple(dict.fromkeys(configs))


def paper_results_of(cfg: CfgNode) -> PaperResults | None:
    """The paper's results of the config's network; None where it has none."""
    return results_of(
        arch=cfg.MODEL.ARCH,
        depth=cfg.RESNET.DEPTH,
        alpha=cfg.SLOWFAST.ALPHA,
        num_frames=cfg.DATA.NUM_FRAMES,
        sampling_rate=cfg.DATA.SAMPLING_RATE,
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
    )


def _of_the_paper(cfg: CfgNode) -> list[SubnetConfig]:
    results = paper_results_of(cfg)
    if results is None:
        raise ValueError(
            f"TEST.SUBNETS: the paper has no results of this network ({cfg.MODEL.ARCH}, {cfg.DATA.NUM_FRAMES} frames "
            f"at every {cfg.DATA.SAMPLING_RATE}th); it has them of {', '.join(paper_results())}"
        )
    return [row.config for row in results.rows]
