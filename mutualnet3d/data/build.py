"""From a config to loaders. One of the places that read `cfg`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch.utils.data import DataLoader

from mutualnet3d.data.annotations import Video, check_found, read_kinetics_list
from mutualnet3d.data.dataset import ClipSampler, RandomClips, UniformClips, VideoDataset, collate
from mutualnet3d.data.requests import ClipRequest, TestRequests, TrainRequests
from mutualnet3d.shapes import ClipShape


def read_split(cfg: CfgNode, split: str) -> list[Video]:
    """The videos of `split` (train, val or test), all of them found.

    Raises:
        FileNotFoundError, ValueError: as `read_kinetics_list` and `check_found`; a kind of data set that is not read.
    """
    key = "TEST.DATASET" if split == "test" else "TRAIN.DATASET"
    dataset = cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET
    if dataset not in ("kinetics", "ptvkinetics"):
        raise ValueError(
            f"{key} is {dataset!r}; lists of `path label` are read so far: write such lists and set it to 'kinetics'"
        )
    videos = read_kinetics_list(
        os.path.join(cfg.DATA.PATH_TO_DATA_DIR, f"{split}.csv"),
        num_classes=cfg.MODEL.NUM_CLASSES,
        path_prefix=cfg.DATA.PATH_PREFIX,
        separator=cfg.DATA.PATH_LABEL_SEPARATOR,
    )
    check_found(videos)
    return videos


def build_train_requests(
    cfg: CfgNode, num_videos: int, shapes_at_step: Callable[[int], tuple[ClipShape, ...]]
) -> TrainRequests:
    """All batches of a training run, `SOLVER.MAX_EPOCH` epochs of them."""
    requests = TrainRequests(num_videos, cfg.TRAIN.BATCH_SIZE, shapes_at_step, cfg.RNG_SEED)
    requests.num_steps = cfg.SOLVER.MAX_EPOCH * requests.steps_per_epoch
    return requests


def build_train_loader(cfg: CfgNode, videos: list[Video], requests: TrainRequests) -> DataLoader[Any]:
    """Random clips of `videos`, as `requests` ask for them."""
    scales = cfg.DATA.TRAIN_JITTER_SCALES
    clips = RandomClips(
        (scales[0], scales[1]), cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.RANDOM_FLIP, cfg.DATA.INV_UNIFORM_SAMPLE
    )
    return _loader(cfg, _dataset(cfg, videos, clips), requests)


def build_calibration_loader(cfg: CfgNode, videos: list[Video], shapes: tuple[ClipShape, ...]) -> DataLoader[Any]:
    """The first `BN.NUM_BATCHES_PRECISE` training batches, at most an epoch of them, in `shapes`."""
    requests = TrainRequests(len(videos), cfg.TRAIN.BATCH_SIZE, lambda step: shapes, cfg.RNG_SEED)
    requests.num_steps = min(cfg.BN.NUM_BATCHES_PRECISE, requests.steps_per_epoch)
    return build_train_loader(cfg, videos, requests)


def build_val_loader(cfg: CfgNode, videos: list[Video], shapes: tuple[ClipShape, ...]) -> DataLoader[Any]:
    """One clip of each video, from its middle, the centre crop of the training's size."""
    clips = UniformClips(scale=cfg.DATA.TRAIN_JITTER_SCALES[0], crop_size=cfg.DATA.TRAIN_CROP_SIZE)
    return _loader(cfg, _dataset(cfg, videos, clips), TestRequests(len(videos), 1, cfg.TEST.BATCH_SIZE, shapes))


def build_test_loader(cfg: CfgNode, videos: list[Video], shapes: tuple[ClipShape, ...]) -> DataLoader[Any]:
    """Every view of each video: `TEST.NUM_ENSEMBLE_VIEWS` spans x `TEST.NUM_SPATIAL_CROPS` crops."""
    three = cfg.TEST.NUM_SPATIAL_CROPS > 1
    clips = UniformClips(
        # PySlowFast's geometry: see DATA.TEST_CROP_SIZE.
        scale=cfg.DATA.TEST_CROP_SIZE if three else cfg.DATA.TRAIN_JITTER_SCALES[0],
        crop_size=cfg.DATA.TEST_CROP_SIZE,
        num_spans=cfg.TEST.NUM_ENSEMBLE_VIEWS,
        num_crops=cfg.TEST.NUM_SPATIAL_CROPS,
    )
    requests = TestRequests(len(videos), clips.num_views, cfg.TEST.BATCH_SIZE, shapes)
    return _loader(cfg, _dataset(cfg, videos, clips), requests)


def _dataset(cfg: CfgNode, videos: list[Video], clips: ClipSampler) -> VideoDataset:
    return VideoDataset(
        videos,
        clips,
        num_frames=cfg.DATA.NUM_FRAMES,
        sampling_rate=cfg.DATA.SAMPLING_RATE,
        target_fps=cfg.DATA.TARGET_FPS,
        choose_among_full=cfg.MODEL.ARCH == "slowfast",
        seed=cfg.RNG_SEED,
    )


def _loader(cfg: CfgNode, dataset: VideoDataset, requests: Iterable[list[ClipRequest]]) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_sampler=requests,
        num_workers=cfg.DATA_LOADER.NUM_WORKERS,
        collate_fn=collate,
        # Without a generator of its own a loader draws from the global one, and a resumed run would differ.
        generator=torch.Generator(),
        pin_memory=cfg.DATA_LOADER.PIN_MEMORY and torch.cuda.is_available(),
    )
