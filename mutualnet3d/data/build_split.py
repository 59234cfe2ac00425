"""Splits by a config: the videos of train, val and test, names of the classes. One of the places that read `cfg`."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode
from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.bad_videos import BadVideoFile, BadVideos, TooManyBadVideos
from mutualnet3d.data.clip_sampling import span_length
from mutualnet3d.data.find_videos import FoundVideos, find_videos
from mutualnet3d.data.found_cache import default_cache_folder
from mutualnet3d.data.label_names import read_label_names
from mutualnet3d.data.list_labels import LabelSets
from mutualnet3d.data.lists import read_kinetics_list
from mutualnet3d.data.outage import DataAway
from mutualnet3d.data.shared_videos import shared_paths
from mutualnet3d.data.ssv2 import label_file_of, read_ssv2
from mutualnet3d.data.video_lengths import sampled_seconds, shorter_than_clips
from mutualnet3d.data.video_list import Video, VideoList
from mutualnet3d.log import logger

_CHUNK = 4096  # videos whose names are in memory at once


@dataclass(frozen=True)
class Split:
    """Videos of a list that exist, and the account of those that do not or cannot be used.

    Args:
        name: train, val or test.
        videos: the videos that exist.
        bad: account of the missing and the bad ones.
        num_in_list: length of the whole list; `TEST.NUM_VIDEOS` may take some of it, which `bad` counts.
        num_videos_K: number of listed videos of each class, up to the largest label.
        label_sets: sets of labels that the videos' labels are the numbers of (`MODEL.LOSS_FUNC` bce); None: each video
            has one label.
    """

    name: str
    videos: Sequence[Video]
    bad: BadVideos
    num_in_list: int
    num_videos_K: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    label_sets: LabelSets | None = None

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that stand for these videos in this order, wherever their folders are.

        Data may be copied to a faster disk in the middle of a training.
        """
        videos, digest = VideoList.of(self.videos), hashlib.sha256()
        texts = None if self.label_sets is None else self.label_sets.texts()
        for start in range(0, len(videos), _CHUNK):
            stop = min(start + _CHUNK, len(videos))
            labels: list[Any] = videos.label_N[start:stop].tolist()
            if texts is not None:
                labels = [texts[label] for label in labels]
            pairs = zip(videos.files(start, stop), labels, strict=True)
            names = "\n".join(f"{os.path.basename(path)} {label}" for (path, _), label in pairs)
            digest.update(("\n" * (start > 0) + names).encode("utf-8", errors="backslashreplace"))
        return digest.hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.name}: found {len(self.videos)} of {self.bad.num_listed} videos"


def read_split(
    cfg: CfgNode,
    name: str,
    bad_videos: BadVideoFile,
    run_once: Callable[[Callable[[], bytes]], bytes] | None = None,
    checkpoint: str | None = None,
) -> Split:
    """Read the list of a split and find its videos; log their number, and write down the missing ones.

    Args:
        cfg: config of the run.
        name: train, val or test.
        bad_videos: file of missing and bad videos.
        run_once: see `find_videos`.
        checkpoint: path of a checkpoint of this training, which would not have begun without the split's videos; None:
            there is none.

    Raises:
        FileNotFoundError, ValueError: see `read_kinetics_list` and `read_ssv2`.
        TooManyBadVideos: none exists; of the training list, too few.
        DataAway: the same with a checkpoint, after `DATA.DISK_TIMEOUT` seconds.
    """
    label_sets = LabelSets(cfg.MODEL.NUM_CLASSES) if is_multi_label(cfg) else None
    with _keys_named(cfg):
        videos = _read_list(cfg, name, label_sets)
    num_in_list = len(videos)
    if name == "test" and 0 < cfg.TEST.NUM_VIDEOS < num_in_list:
        chosen = np.random.default_rng(cfg.RNG_SEED).permutation(num_in_list)[: cfg.TEST.NUM_VIDEOS]
        videos = videos.take(np.sort(chosen))
        logger.info("test: %d of the list's %d videos (TEST.NUM_VIDEOS)", len(videos), num_in_list)
    num_videos_K = np.bincount(videos.label_N)
    if label_sets is not None:
        num_videos_K = np.trim_zeros(num_videos_K @ label_sets.matrix()[: len(num_videos_K)], "b")
    max_fraction = cfg.DATA.MAX_BAD_FRACTION if name == "train" else None
    max_missing = math.inf if max_fraction is None else max_fraction * len(videos)
    if checkpoint is not None:
        max_missing = min(max_missing, len(videos) - 1)
    patience = 0.0 if checkpoint is None else cfg.DATA.DISK_TIMEOUT
    if cfg.DATA.FIND_VIDEOS == "none":
        result = FoundVideos(videos, videos[:0], is_searched=False)
    else:
        cache_folder = default_cache_folder() if cfg.DATA.FIND_VIDEOS == "cached" else None
        result = find_videos(videos, run_once, max_missing, patience, cache_folder)
    logger.info("%s: %s", name, result)
    if checkpoint is not None and cfg.DATA.DISK_TIMEOUT and len(result.missing) > max_missing:
        raise DataAway(
            f"{name}: {result}; enough were there when the training of {checkpoint} began: their disk is away"
        )
    with _keys_named(cfg):
        bad = BadVideos(name, result.existing, result.missing, bad_videos, max_fraction, result.num_left)
    if not is_ssv2(cfg, name):
        (run_once or _run)(partial(_tell_of_short_videos, cfg, name, result.existing))
    return Split(name, result.existing, bad, num_in_list, num_videos_K, label_sets)


def _read_list(cfg: CfgNode, name: str, label_sets: LabelSets | None) -> VideoList:
    if is_ssv2(cfg, name):
        return VideoList.of(read_ssv2(cfg.DATA.PATH_TO_DATA_DIR, name, cfg.MODEL.NUM_CLASSES, cfg.DATA.PATH_PREFIX))
    return read_kinetics_list(
        os.path.join(cfg.DATA.PATH_TO_DATA_DIR, f"{name}.csv"),
        num_classes=cfg.MODEL.NUM_CLASSES,
        path_prefix=cfg.DATA.PATH_PREFIX,
        separator=cfg.DATA.PATH_LABEL_SEPARATOR,
        label_file=cfg.DATA.LABEL_FILE,
        skip_rows=cfg.DATA.SKIP_ROWS,
        label_sets=label_sets,
    )


@contextmanager
def _keys_named(cfg: CfgNode) -> Iterator[None]:
    """Context in which an error about a list names the config's keys that say how it is read."""
    try:
        yield
    except (ValueError, FileNotFoundError, TooManyBadVideos) as error:
        is_of_labels = f"from 0 to {cfg.MODEL.NUM_CLASSES - 1}" in str(error)
        values = {
            "MODEL.NUM_CLASSES": cfg.MODEL.NUM_CLASSES if is_of_labels else 0,
            "DATA.PATH_PREFIX": cfg.DATA.PATH_PREFIX,
            "DATA.LABEL_FILE": cfg.DATA.LABEL_FILE,
            "DATA.SKIP_ROWS": cfg.DATA.SKIP_ROWS,
        }
        keys = [f"{key} {value!r:.60}" for key, value in values.items() if value]
        if not keys:
            raise
        kind = next(kind for kind in (FileNotFoundError, TooManyBadVideos, ValueError) if isinstance(error, kind))
        raise kind(f"{error} ({', '.join(keys)})") from error


def warn_of_shared_videos(train: Split, tested: Split) -> None:
    """Log the number of a tested split's videos that are in the training list too, by their paths, if any are."""
    shared = shared_paths(tested.videos, train.videos)
    if shared.first is not None:
        video, trained = shared.first
        logger.warning(
            "%s: %d of %d videos are in the training list too, and the accuracy on them is no accuracy on new videos; "
            "the first: %s, listed at %s and %s",
            tested.name,
            shared.num_shared,
            len(tested.videos),
            video.path,
            video.listed_at,
            trained.listed_at,
        )


def steps_per_epoch(cfg: CfgNode, split: Split) -> int:
    """Return the steps that the schedule counts as an epoch: the whole batches of the list.

    Args:
        cfg: config of the training.
        split: videos of the training list.

    Raises:
        ValueError: it does not fill one.
    """
    steps = len(split.videos) // cfg.TRAIN.BATCH_SIZE
    if steps < 1:
        raise ValueError(
            f"TRAIN.BATCH_SIZE is {cfg.TRAIN.BATCH_SIZE}, but the training list has only {len(split.videos)} videos"
        )
    return steps


def read_class_names(cfg: CfgNode, names_of_weights: Sequence[str] = ()) -> list[str]:
    """Return the names of the classes, for people to read.

    They are read from `DATA.LABEL_FILE`, Something-Something's file, or classes.json or labels.json beside the lists;
    without any they are those of the weights; without these, and for classes that the file lacks, the numbers.

    Args:
        cfg: config of the run.
        names_of_weights: names that the weights brought, one for each class; none where they have none.

    Raises:
        FileNotFoundError, ValueError: see `read_label_names`.
    """
    path = _label_file(cfg, "test")
    if not path and names_of_weights:
        return list(names_of_weights)
    with _keys_named(cfg):
        ids = read_label_names(path) if path else {}
    names = {number: name for name, number in ids.items()}
    return [names.get(number, str(number)) for number in range(cfg.MODEL.NUM_CLASSES)]


def _label_file(cfg: CfgNode, split: str) -> str:
    """Return the file of class names of a split; "" for none."""
    path: str = cfg.DATA.LABEL_FILE
    if not path and is_ssv2(cfg, split):
        path = label_file_of(cfg.DATA.PATH_TO_DATA_DIR)
    for name in ("classes.json", "labels.json"):  # the names that the tools for demo data and lists write
        beside = os.path.join(cfg.DATA.PATH_TO_DATA_DIR, name)
        if not path and g_pathmgr.isfile(beside):
            path = beside
    return path


def check_classes(cfg: CfgNode, split: Split) -> None:
    """Refuse a classifier with more outputs than the training data have classes.

    A test needs no such check: its weights bring their number of classes, and its list may have some of them only.

    Args:
        cfg: config of the run.
        split: the training list.

    Raises:
        ValueError: MODEL.NUM_CLASSES is larger than the labels, and the names of classes, go, and
            DATA.ALLOW_UNUSED_CLASSES is False.
    """
    num_outputs, num_labels = cfg.MODEL.NUM_CLASSES, len(split.num_videos_K)
    file = _label_file(cfg, split.name)
    num_names = len(read_label_names(file)) if file else 0
    num_classes = max(num_labels, num_names)
    if num_outputs > num_classes and not cfg.DATA.ALLOW_UNUSED_CLASSES:
        names = f" and {file} names {num_names}" if file else ""
        raise ValueError(
            f"MODEL.NUM_CLASSES is {num_outputs}, but the list of {split.name} in {cfg.DATA.PATH_TO_DATA_DIR} has "
            f"labels up to {num_labels - 1}{names}: set MODEL.NUM_CLASSES {num_classes}, or "
            "DATA.ALLOW_UNUSED_CLASSES True for "
            "a classifier with outputs that have no videos"
        )


def warn_of_empty_classes(cfg: CfgNode, split: Split) -> None:
    """Log a warning if a split has no video of some classes."""
    num_used = int(np.count_nonzero(split.num_videos_K))
    if num_used < cfg.MODEL.NUM_CLASSES:
        logger.warning("%s: the list has videos of %d of %d classes", split.name, num_used, cfg.MODEL.NUM_CLASSES)


def is_multi_label(cfg: CfgNode) -> bool:
    """Return True if videos have several labels each, by which the network is trained and tested."""
    return bool(cfg.MODEL.LOSS_FUNC != "cross_entropy")


def is_ssv2(cfg: CfgNode, split: str) -> bool:
    """Return True for a split of Something-Something V2, False for Kinetics-style lists."""
    return bool((cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET).lower() == "ssv2")


def _run(function: Callable[[], bytes]) -> bytes:
    return function()


def _tell_of_short_videos(cfg: CfgNode, name: str, videos: Sequence[Video]) -> bytes:
    """Warn if most videos of a list are shorter than a clip."""
    seconds = sampled_seconds(videos, cfg.DATA.TARGET_FPS)
    span = span_length(cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TARGET_FPS, 1.0)
    text = shorter_than_clips(seconds, span, 1 / cfg.DATA.TARGET_FPS)
    if text is not None:
        logger.warning(
            "%s: %s (DATA.NUM_FRAMES %d * DATA.SAMPLING_RATE %d / DATA.TARGET_FPS %g)",
            name,
            text,
            cfg.DATA.NUM_FRAMES,
            cfg.DATA.SAMPLING_RATE,
            cfg.DATA.TARGET_FPS,
        )
    return b""
