"""The common part of training and testing: the network on its device, its input, calibration and evaluation."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from fvcore.common.config import CfgNode

from mutualnet3d import distributed
from mutualnet3d.data.bad_videos import BadVideoFile
from mutualnet3d.data.build_loaders import build_calibration_loader, ensemble_of, label_sets_of
from mutualnet3d.data.build_split import Split, read_split, warn_of_shared_videos
from mutualnet3d.data.loader import TestLoader
from mutualnet3d.distributed.launch import Launch, device_of, threads_of
from mutualnet3d.engine.checkpoint_folder import CheckpointFolder
from mutualnet3d.engine.evaluate import Evaluation, evaluate, evaluation_forward
from mutualnet3d.engine.evaluation_state import EvaluationState
from mutualnet3d.files.atomic import remove_unfinished, write_text
from mutualnet3d.files.folder_lock import FolderLock, is_running
from mutualnet3d.files.output import check_output_file, check_output_folder
from mutualnet3d.log import JsonLines, logger, progress, setup_logging
from mutualnet3d.models import build_model
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.mutual import SubnetConfig, calibrate
from mutualnet3d.ops import Normalize
from mutualnet3d.results.row import Views
from mutualnet3d.runner import unfinished_test
from mutualnet3d.runner.build_space import build_space
from mutualnet3d.runner.kernel_choice import choose_kernels
from mutualnet3d.shapes import ClipBatch, ClipShape, Shard, union_of_shapes

# oneDNN keeps 1024 compiled kernels by default; random widths x sizes x frames x layers are more, and compiling them
# again makes the demo's training step 1.2 times as long. Read when the first convolution runs.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")
# Open files of a process with loader workers, and of each worker's tensors that are on their way, with room to spare.
_FILES, _FILES_OF_WORKER = 64, 32
_MOST_FILES = 65536  # some programs go through all files that they may have


class Session:
    """The common part of training and testing, in one process of a job.

    Args:
        cfg: config of the run.
        launch: place of this process in its job, which it has joined.
        lock: lock of OUTPUT_DIR, whose notices are logged; None: no notices.

    Attributes:
        shard: this process's part of the work.
        device: device of the network.
        model: network of the run.
        space: sub-networks of the training.
        normalize: layer from uint8 clips to the network's input.
        records: JSON lines of the run.
        bad_videos: file of missing and bad videos.
    """

    def __init__(self, cfg: CfgNode, launch: Launch, lock: FolderLock | None = None):
        self.cfg, self.launch = cfg, launch
        self.shard = Shard(distributed.rank(), distributed.world_size())
        is_main = self.shard.rank == 0
        provide_descriptors(cfg.DATA_LOADER.NUM_WORKERS)
        setup_logging(cfg.OUTPUT_DIR, self.shard.rank)
        for notice in lock.notices if lock else ():
            logger.info("%s", notice)
        self.records = JsonLines(os.path.join(cfg.OUTPUT_DIR, "log.jsonl"))
        self._splits: dict[str, Split] = {}  # those that were read, of the first process
        self.bad_videos = BadVideoFile(os.path.join(cfg.OUTPUT_DIR, "bad_videos.csv"), is_writer=is_main)
        if is_main:
            write_text(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), cfg.dump())
        self.space = build_space(cfg)
        self.device = device_of(launch)
        self.memory_format = configured_memory_format(cfg)
        choose_kernels(cfg, self.device)
        self.normalize = build_normalize(cfg).to(self.device)
        torch.manual_seed(cfg.RNG_SEED)  # the weights' start; everything else but dropout has generators of its own
        self.model = build_model(cfg).to(self.device, memory_format=self.memory_format)  # type: ignore[call-overload]
        if self.shard.rank:  # each process drops other features
            torch.manual_seed(int(np.random.SeedSequence((cfg.RNG_SEED, self.shard.rank)).generate_state(1)[0]))

    def use_memory_format(self, memory_format: torch.memory_format) -> None:
        """Put the network's weights into a memory format, and clips that are prepared from now on."""
        self.memory_format = self.normalize.memory_format = memory_format
        self.model.to(memory_format=memory_format)

    @contextmanager
    def sharing_the_cores(self) -> Iterator[None]:
        """Leave a core to each loader worker in the context, but at most half of the cores, on a CPU.

        Threads that wait for a worker's core spin, and took twice as long for a training step as half the threads do.
        """
        before = torch.get_num_threads()
        if self.device.type == "cpu":
            cores = threads_of(self.launch, os.environ)
            remaining = max(cores - self.cfg.DATA_LOADER.NUM_WORKERS, cores // 2, 1)
            torch.set_num_threads(min(before, remaining))
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def shapes(self, configs: Iterable[SubnetConfig]) -> tuple[ClipShape, ...]:
        """Return all clip shapes that `configs` need."""
        return union_of_shapes(self.model.input_shapes(config) for config in configs)

    def prepare(self, batch: ClipBatch, config: SubnetConfig) -> list[torch.Tensor]:
        """Return the network's input under `config`, from a batch."""
        return [self.normalize(batch.clips[shape].to(self.device)) for shape in self.model.input_shapes(config)]

    def blank_clips(self, config: SubnetConfig, num_clips: int = 1) -> list[torch.Tensor]:
        """Return black clips as the network's input under `config`."""
        return blank_clips(self.model, self.normalize, self.device, config, num_clips)

    def read_split(self, name: str) -> Split:
        """Return the videos of train, val or test.

        One process looks for the files, and logs which of them the training list has too.

        A training that goes on from a checkpoint had its videos when it began, so it waits for them; a test's videos
        may never have been there.

        Args:
            name: train, val or test.

        Raises:
            DataAway: the videos do not come back.
        """
        newest = None
        if name != "test":
            newest = distributed.broadcast(CheckpointFolder(self.cfg.OUTPUT_DIR).newest())
        split = read_split(self.cfg, name, self.bad_videos, on_main, newest)
        if self.shard.rank == 0:
            self._warn_of_shared_videos(split)
        return split

    def _warn_of_shared_videos(self, split: Split) -> None:
        """Log, once for each tested split, the number of its videos that the training list has too."""
        if split.name not in self._splits:
            self._splits[split.name] = split
            for tested in self._splits.values() if split.name == "train" else [split]:
                if "train" in self._splits and tested.name != "train":
                    warn_of_shared_videos(self._splits["train"], tested)

    def calibrate(
        self, model: SlimmableNet, configs: Sequence[SubnetConfig], train_split: Split, crop_scale: float = 1.0
    ) -> None:
        """Recompute the statistics of `configs` over training clips; all processes call it with the same configs.

        `crop_scale` is the argument of `build_calibration_loader`.
        """
        loader = build_calibration_loader(self.cfg, train_split, self.shapes(configs), self.shard, crop_scale)
        batches = progress(loader, len(loader), "calibrating")
        num_clips = calibrate(model, configs, batches, self.prepare, distributed.sum_over_ranks)
        self.exchange_bad_videos(train_split)
        logger.info("calibrated %d sub-networks on %d training clips", len(configs), num_clips)

    def to_calibrate(self, model: SlimmableNet, configs: Sequence[SubnetConfig], precise: bool) -> list[SubnetConfig]:
        """Return the sub-networks among `configs` that have no statistics from data.

        With `precise` the full network's tracked statistics do not count either.
        """
        without = [config for config in configs if config not in model.statistics.calibrated]
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
        subsets: Mapping[Views, Sequence[int]] | None = None,
        state: EvaluationState | None = None,
        after_batch: Callable[[EvaluationState], object] = lambda state: None,
        score_folder: str | None = None,
    ) -> Evaluation:
        """Return the accuracy of `configs` over the videos of `split` that the processes could decode.

        A warning is logged if these are not all. `num_views` and the later arguments are those of `engine.evaluate`.
        """
        batches = progress(loader, len(loader), "evaluating")
        with evaluation_forward(model) as forward:
            result = evaluate(
                forward,
                configs,
                batches,
                self.prepare,
                self.device,
                videos=self.videos_of(split),
                num_videos=len(split.videos),
                num_views=num_views,
                num_classes=self.cfg.MODEL.NUM_CLASSES,
                failed_videos=loader.failed,
                ensemble=ensemble_of(self.cfg),
                subsets=subsets,
                keep_scores=keep_scores,
                score_folder=score_folder,
                label_sets_SK=label_sets_of(split),
                batch_context=model.shared_fast_features,
                state=state,
                after_batch=after_batch,
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

    def videos_of(self, split: Split) -> range:
        """Return the positions of this process's part of a tested list."""
        return range(self.shard.rank, len(split.videos), self.shard.world_size)

    def exchange_bad_videos(self, split: Split) -> None:
        """Share the videos of `split` that turned out to be bad or damaged on any process with all processes."""
        split.bad.merge(entry for entries in distributed.gather(split.bad.new_entries()) for entry in entries)
        split.bad.damaged.update(*distributed.gather(split.bad.damaged))


@contextmanager
def holding_outputs(cfg: CfgNode) -> Iterator[FolderLock | None]:
    """Hold OUTPUT_DIR for this job in the context.

    The job's first process holds the lock, and has checked before that the run can write its files. Testing holds it
    too, since both write logs, config and bad videos.

    Args:
        cfg: config of the run.

    Yields:
        The lock; None on other processes than the first.

    Raises:
        ValueError: OUTPUT_DIR, or one of its files, cannot be written, or another run holds it.
    """
    if not distributed.is_main():
        yield None
        return
    _check_outputs(cfg)
    with FolderLock(cfg.OUTPUT_DIR, *job_of(os.environ)) as lock:
        for name in remove_unfinished(cfg.OUTPUT_DIR, is_running):
            lock.notices.append(f"removed {name}, which a killed process had not finished")
        yield lock


def job_of(environ: Mapping[str, str]) -> tuple[str, int]:
    """Return the name of this process's job, and the number of its starts before this one.

    A process that neither SLURM nor torchrun has named gets "" and 0.
    """
    if environ.get("SLURM_JOB_ID"):
        return f"SLURM job {environ['SLURM_JOB_ID']}", _count(environ.get("SLURM_RESTART_COUNT"))
    if environ.get("TORCHELASTIC_RUN_ID", "none") != "none":
        return f"torchrun {environ['TORCHELASTIC_RUN_ID']}", _count(environ.get("TORCHELASTIC_RESTART_COUNT"))
    return "", 0


def _count(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() else 0


def _check_outputs(cfg: CfgNode) -> None:
    """Refuse an output folder that the run cannot write its files into.

    Raises:
        ValueError: OUTPUT_DIR, or one of its files, cannot be written.
    """
    folder = cfg.OUTPUT_DIR
    check_output_folder(folder, "OUTPUT_DIR")
    names = ["log.txt", "log.jsonl", "bad_videos.csv", "config.yaml"]
    if cfg.TEST.ENABLE:
        check_output_folder(os.path.join(folder, unfinished_test.FOLDER), "OUTPUT_DIR")
        names += ["calibrated.pyth", "query_table.json", "query_table.csv", "query_table.md", "class_accuracy.csv"]
        if cfg.TEST.SAVE_RESULTS_PATH:
            check_output_file(os.path.join(folder, cfg.TEST.SAVE_RESULTS_PATH), "TEST.SAVE_RESULTS_PATH")
    for name in names:
        check_output_file(os.path.join(folder, name), "OUTPUT_DIR")
    if cfg.TRAIN.ENABLE:
        check_output_folder(os.path.join(folder, "checkpoints"), "OUTPUT_DIR")
        if cfg.PROFILE_STEPS:
            check_output_folder(os.path.join(folder, "profile"), "OUTPUT_DIR")
        if cfg.TENSORBOARD.ENABLE:
            log_dir = cfg.TENSORBOARD.LOG_DIR or os.path.join(folder, "tensorboard")
            check_output_folder(log_dir, "TENSORBOARD.LOG_DIR" if cfg.TENSORBOARD.LOG_DIR else "OUTPUT_DIR")


def provide_descriptors(num_workers: int) -> None:
    """Raise this process's limit of open files, to 65,536 if it may; loader workers inherit it.

    Each tensor on its way from a worker is an open file. A worker that can open none loses a batch, and the process
    that waits for it gets no message.

    Args:
        num_workers: number of loader workers.

    Raises:
        OSError: the limit is too low for so many workers.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    least = _FILES + _FILES_OF_WORKER * num_workers if num_workers else 0
    if hard != resource.RLIM_INFINITY and hard < least:
        raise OSError(
            f"Too many open files would be needed: this process may open {hard} (ulimit -Hn), and "
            f"{num_workers} loader workers need {least}; raise the limit, or take fewer DATA_LOADER.NUM_WORKERS"
        )


def on_main(make: Callable[[], bytes]) -> bytes:
    """Return the result that `make` has on rank 0, on all processes."""
    return distributed.broadcast(make() if distributed.is_main() else None)


def configured_memory_format(cfg: CfgNode) -> torch.memory_format:
    """Return the memory format of clips and weights: channels last where a training is to find out the faster one."""
    return torch.channels_last_3d if cfg.MODEL.CHANNELS_LAST else torch.contiguous_format


def build_normalize(cfg: CfgNode) -> Normalize:
    """Return the layer from a loader's clips to a network's input."""
    return Normalize(cfg.DATA.MEAN, cfg.DATA.STD, configured_memory_format(cfg), cfg.DATA.REVERSE_INPUT_CHANNEL)


def blank_clips(
    model: SlimmableNet, normalize: Normalize, device: torch.device, config: SubnetConfig, num_clips: int = 1
) -> list[torch.Tensor]:
    """Return black clips on `device` as the network's input under `config`."""
    shapes = [(num_clips, shape.frames, 3, shape.size, shape.size) for shape in model.input_shapes(config)]
    return [normalize(torch.zeros(shape, dtype=torch.uint8, device=device)) for shape in shapes]
