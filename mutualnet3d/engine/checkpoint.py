"""Checkpoints: written whole, loaded without running code, refused by name when they do not fit."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from mutualnet3d.files.torch_file import CHECKPOINT, format_of, read_torch_file, write_torch_file
from mutualnet3d.log import logger

Loaded = TypeVar("Loaded")


def save_checkpoint(path: str, content: Mapping[str, Any]) -> None:
    """Write `content` (tensors, numbers, strings, and containers of them) to `path`, atomically."""
    write_torch_file(path, CHECKPOINT, content)


def load_checkpoint(path: str) -> dict[str, Any]:
    """The content of a checkpoint, tensors on the CPU.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is truncated or damaged, is no checkpoint of this project, or of a newer version of it.
    """
    content = read_torch_file(path, "a checkpoint")
    if format_of(content, path) != CHECKPOINT:
        raise ValueError(f"{path}: not a checkpoint of mutualnet3d")
    return dict(content)


def load_model_state(model: torch.nn.Module, state: Mapping[str, torch.Tensor], path: str) -> None:
    """Load weights that must fit name by name and shape by shape.

    Raises:
        ValueError: they are another model's; it names the file and what differs.
    """
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in state.items()}
    problems = [f"{name} is missing" for name in own if name not in theirs]
    problems += [f"{name} is unknown here" for name in theirs if name not in own]
    problems += [
        f"{name} is {theirs[name]}, here {own[name]}" for name in own if name in theirs and own[name] != theirs[name]
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"{path}: the checkpoint is of another model: {'; '.join(problems[:3])}{more}")
    model.load_state_dict(state)


class CheckpointFolder:
    """The checkpoints of one run, in `output_dir`/checkpoints: the newest ones, the newest ones of epochs, and
    `best.pyth`.

    The name carries the step (`checkpoint_epoch_00002_step_00000216.pyth`, `checkpoint_step_00000250.pyth`), so that
    the newest is found without opening any.

    Args:
        num_kept: how many newest ones are kept, and how many of epochs.
    """

    BEST = "best.pyth"
    _NAME = re.compile(r"checkpoint_(?:epoch_\d+_)?step_(\d+)\.pyth")

    def __init__(self, output_dir: str, num_kept: int = 3):
        self.folder, self.num_kept = os.path.join(output_dir, "checkpoints"), num_kept

    def newest_first(self) -> list[str]:
        """Paths of all checkpoints by their steps, without the best one, which is one of them or was."""
        names = self._names()
        return [os.path.join(self.folder, name) for name in sorted(names, key=lambda name: (-names[name], name))]

    def newest(self) -> str | None:
        """Path of the checkpoint with the highest step, or None."""
        return next(iter(self.newest_first()), None)

    def newest_usable(self, load: Callable[[str], Loaded]) -> Loaded | None:
        """What `load` makes of the newest checkpoint that it takes, with a warning for each newer one that it refuses
        by a `ValueError`; None if there are none.

        Raises:
            ValueError: it takes none of them; the newest one's.
        """
        refused: list[ValueError] = []
        for path in self.newest_first():
            try:
                loaded = load(path)
            except ValueError as error:
                refused.append(error)
                continue
            for reason in refused:
                logger.warning("refused: %s", reason)
            if refused:
                logger.warning("using the one before: %s", path)
            return loaded
        if refused:
            raise refused[0]
        return None

    def save(self, content: Mapping[str, Any], step: int, epoch: int | None, is_best: bool = False) -> str:
        """Write the checkpoint after `step` steps, `epoch` epochs if it is one of those, as the best if it is that;
        then drop what it supersedes. Returns its path."""
        name = (
            f"checkpoint_step_{step:08d}.pyth"
            if epoch is None
            else f"checkpoint_epoch_{epoch:05d}_step_{step:08d}.pyth"
        )
        path = os.path.join(self.folder, name)
        save_checkpoint(path, content)
        if is_best:
            self._link(path, os.path.join(self.folder, self.BEST))
        newest = [os.path.basename(each) for each in self.newest_first()]
        of_epochs = [each for each in newest if "_epoch_" in each]
        for old in set(newest) - set(newest[: self.num_kept]) - set(of_epochs[: self.num_kept]):
            os.remove(os.path.join(self.folder, old))
        return path

    def remove_unfinished(self) -> None:
        """Remove what killed processes left of files that they had not finished. To be called while no one writes."""
        if os.path.isdir(self.folder):
            for name in os.listdir(self.folder):
                if name.endswith(".tmp"):
                    os.remove(os.path.join(self.folder, name))

    @staticmethod
    def _link(path: str, link: str) -> None:
        """A second name for a file, put in place whole; a copy where the disk knows no links."""
        temporary = f"{link}.{os.getpid()}.tmp"
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        os.replace(temporary, link)

    def _names(self) -> dict[str, int]:
        if not os.path.isdir(self.folder):
            return {}
        matches = {name: self._NAME.fullmatch(name) for name in os.listdir(self.folder)}
        return {name: int(match[1]) for name, match in matches.items() if match}
