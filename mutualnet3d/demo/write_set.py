"""Data set of demo clips: encoded videos, Kinetics-style lists, names of the classes and a manifest in one folder."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mutualnet3d.demo.motion import CLASS_NAMES, DEFAULT_CLASSES, unused_of_style
from mutualnet3d.demo.render import check_frame_size, render_clip
from mutualnet3d.demo.style import DEFAULT_STYLE, MovingShapesStyle, Range, check_allowed
from mutualnet3d.files.atomic import write_text
from mutualnet3d.files.unfinished import remove_abandoned
from mutualnet3d.process_pool import LostItem, map_in_processes
from mutualnet3d.video.writer import open_video_writer

FORMAT_VERSION = 1
MANIFEST_NAME = "moving_shapes.json"
_LISTS_OF_SPLIT = {"train": ("train.csv",), "val": ("val.csv", "test.csv")}
_SPLITS = tuple(_LISTS_OF_SPLIT)

_Job = tuple[str, int]  # split, index of the clip


def make_data_set(
    folder: str | os.PathLike[str],
    num_train: int = 960,
    num_val: int = 240,
    seed: int = 0,
    num_workers: int = 1,
    fps: int = 24,
    height: int = 72,
    width: int = 96,
    clip_seconds: Range = (2.0, 2.5),
    style: MovingShapesStyle = DEFAULT_STYLE,
    classes: Iterable[str] = DEFAULT_CLASSES,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Write train/*.mp4, val/*.mp4, the lists train.csv, val.csv and test.csv, classes.json and the manifest.

    The lists hold lines `path label` in shuffled order, paths relative to the folder; test.csv equals val.csv. Clip i
    of a split depends on the seed, the split, i and its class alone. Lists and manifest come last: a folder without
    them is unfinished, and the next call makes it whole.

    Args:
        folder: place of the set, local.
        num_train: number of training clips, 1 or more.
        num_val: number of validation clips, 1 or more.
        seed: seed of all draws, 0 or more.
        num_workers: number of processes; with more than one the caller's main module must be importable
            (`if __name__ == "__main__":`).
        fps: frames per second.
        height: pixels, even, 16 or more.
        width: pixels, even, the height or more.
        clip_seconds: shortest and longest clip.
        style: appearance and difficulty.
        classes: two or more of `CLASS_NAMES`; labels are positions in them.
        overwrite: True to replace another set in the folder.
        progress: called after each clip with (clips done, clips in all).

    Returns:
        True if the set was written, False if the folder held it already.

    Raises:
        ValueError: a parameter is out of range, or the folder holds another set and `overwrite` is False.
        OSError: a clip cannot be written.
    """
    plan = _SetPlan(num_train, num_val, seed, fps, height, width, clip_seconds, style, tuple(classes))
    check_allowed(num_workers >= 1, "num_workers", num_workers, "1 or more")
    folder, jobs = Path(folder), plan.jobs()
    if _check_folder(folder, plan.manifest(), overwrite) and all((folder / _clip_name(*job)).exists() for job in jobs):
        return False

    for split in _SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
        remove_abandoned(str(folder / split))
    _write_clips(plan, folder, jobs, num_workers, progress)
    for number, split in enumerate(_SPLITS):
        indices = [index for name, index in jobs if name == split]
        # Streams that no clip draws from.
        np.random.default_rng([seed, len(_SPLITS) + number]).shuffle(indices)
        lines = "".join(f"{_clip_name(split, index)} {plan.label(index)}\n" for index in indices)
        for name in _LISTS_OF_SPLIT[split]:
            write_text(str(folder / name), lines)
    write_text(str(folder / "classes.json"), json.dumps(dict(enumerate(plan.classes)), indent=1) + "\n")
    write_text(str(folder / MANIFEST_NAME), json.dumps(plan.manifest(), indent=1) + "\n")
    return True


def write_clip(path: str | os.PathLike[str], frames_THWC: np.ndarray, fps: int) -> None:
    """Encode uint8 frames (T, H, W, 3) to an H.264 mp4 file, whole or absent.

    Args:
        path: path of the mp4 file.
        frames_THWC: frames, uint8 (T, H, W, 3), RGB, of even height and width.
        fps: frames per second.

    Raises:
        ValueError: the array is not such, or a side is odd.
    """
    dtype, shape = frames_THWC.dtype, frames_THWC.shape
    fits = dtype == np.uint8 and len(shape) == 4 and shape[0] > 0 and shape[3] == 3
    check_allowed(fits, "frames_THWC", f"{dtype} {shape}", "uint8 (T, H, W, 3), T 1 or more")
    _check_even(*shape[1:3])
    # Without mbtree: with it, x264 writes other bytes from run to run where a side is no multiple of 16.
    # crf 23 without mbtree looks like 20 with it. A keyframe per second: readers can start within the clip.
    options = {"preset": "superfast", "mbtree": "0", "crf": "23", "g": str(fps)}
    with open_video_writer(os.fspath(path), fps, options=options, sync=False) as writer:
        for frame_HWC in frames_THWC:
            writer.write(frame_HWC)


def _check_even(height: int, width: int) -> None:
    for name, value in (("height", height), ("width", width)):
        check_allowed(value % 2 == 0, name, value, "even numbers (yuv420p halves the colour planes)")


@dataclass(frozen=True)
class _SetPlan:
    """Values that a data set depends on, all of them."""

    num_train: int
    num_val: int
    seed: int
    fps: int
    height: int
    width: int
    clip_seconds: Range
    style: MovingShapesStyle
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, lowest in {"num_train": 1, "num_val": 1, "seed": 0}.items():
            check_allowed(getattr(self, name) >= lowest, name, getattr(self, name), f"{lowest} or more")
        are_classes = set(self.classes) <= set(CLASS_NAMES) and len(set(self.classes)) == len(self.classes) >= 2
        check_allowed(
            are_classes, "classes", list(self.classes), f"two or more, each once, of {', '.join(CLASS_NAMES)}"
        )
        shortest, longest = self.clip_seconds
        check_allowed(0 < shortest <= longest < math.inf, "clip_seconds", self.clip_seconds, "0 < shortest <= longest")
        check_frame_size(1, self.height, self.width, self.fps)
        _check_even(self.height, self.width)

    def manifest(self) -> dict[str, object]:
        """Return the content of the manifest, as JSON gives it back (tuples as lists): what the clips depend on."""
        values = {"format_version": FORMAT_VERSION, **asdict(self)}
        values |= {f"style.{name}": value for name, value in values.pop("style").items()}
        for name in unused_of_style(self.classes):
            del values[f"style.{name}"]
        return json.loads(json.dumps(values))

    def label(self, index: int) -> int:
        """Return the class of clip `index` of a split: they take turns, which balances them whatever the count."""
        return index % len(self.classes)

    def jobs(self) -> list[_Job]:
        """Return (split, index) of all clips."""
        return [("train", i) for i in range(self.num_train)] + [("val", i) for i in range(self.num_val)]


def _clip_name(split: str, index: int) -> str:
    return f"{split}/{index:05d}.mp4"


def _write_clips(
    plan: _SetPlan, folder: Path, jobs: list[_Job], num_workers: int, progress: Callable[[int, int], None] | None
) -> None:
    write, num_workers = partial(_write_clip_of_set, plan, folder), min(num_workers, len(jobs))
    with ExitStack() as stack:
        for split in _SPLITS:  # after the processes have ended: one that was killed had no time to do so itself
            stack.callback(remove_abandoned, str(folder / split))
        reasons: Iterable[tuple[int, str | LostItem]] = enumerate(map(write, jobs))
        if num_workers > 1:
            in_processes = map_in_processes(write, jobs, workers=num_workers, timeout=math.inf)
            reasons = stack.enter_context(closing(in_processes))
        for done, (index, reason) in enumerate(reasons, start=1):
            if reason:
                text = reason.reason if isinstance(reason, LostItem) else reason
                raise OSError(f"{folder / _clip_name(*jobs[index])}: {text}")
            if progress:
                progress(done, len(jobs))


def _write_clip_of_set(plan: _SetPlan, folder: Path, job: _Job) -> str:
    """Write one clip; return the reason if the file cannot be written, else ""."""
    split, index = job
    rng = np.random.default_rng([plan.seed, _SPLITS.index(split), index])
    num_frames = max(1, round(rng.uniform(*plan.clip_seconds) * plan.fps))
    motion = CLASS_NAMES.index(plan.classes[plan.label(index)])
    frames_THWC = render_clip(motion, rng, num_frames, plan.height, plan.width, plan.fps, plan.style)
    try:
        write_clip(folder / _clip_name(split, index), frames_THWC, plan.fps)
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _check_folder(folder: Path, manifest: dict[str, object], overwrite: bool) -> bool:
    """Return True if the folder holds the set of `manifest`; clear it if it has another set and `overwrite` is True."""
    path = folder / MANIFEST_NAME
    if not path.exists():
        if (folder / "train.csv").exists() and not overwrite:
            raise ValueError(f"{folder} holds a train.csv but no {MANIFEST_NAME}; pass overwrite to replace its lists")
        return False
    try:
        old_manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        old_manifest = {"format_version": "unreadable"}
    if old_manifest == manifest:
        return True
    if not overwrite:
        differing = [key for key in manifest if old_manifest.get(key) != manifest[key]]
        old, new = (", ".join(f"{key}={values.get(key)}" for key in differing) for values in (old_manifest, manifest))
        raise ValueError(f"{folder} holds a set with {old}; asked for {new}; pass overwrite to replace it")
    path.unlink()
    for split, lists in _LISTS_OF_SPLIT.items():
        for obsolete in (*(folder / name for name in lists), *(folder / split).glob("[0-9]*.mp4")):
            obsolete.unlink(missing_ok=True)
    return False
