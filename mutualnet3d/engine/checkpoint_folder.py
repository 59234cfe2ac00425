"""Folder of a run's checkpoints: their names, the newest usable one, and the removal of old ones."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mutualnet3d.engine.checkpoint import save_checkpoint
from mutualnet3d.files.atomic import TEMPORARY_SUFFIX, WriteError, link_atomically
from mutualnet3d.log import logger

Loaded = TypeVar("Loaded")


class CheckpointFolder:
    """The checkpoints of a run, in `output_dir`/checkpoints.

    They are the newest ones, the newest ones of epochs, and `best.pyth`.

    The name contains the step (`checkpoint_epoch_00002_step_00000216.pyth`, `checkpoint_step_00000250.pyth`), so that
    the newest is known without opening any.

    Args:
        output_dir: folder of the run.
        num_kept: number of newest checkpoints that are kept, and of newest checkpoints of epochs.
        before_save: function that raises an error if this run must not write any more; None: no check.
    """

    BEST = "best.pyth"
    _NAME = re.compile(r"checkpoint_(?:epoch_\d+_)?step_(\d{1,18})\.pyth")

    def __init__(self, output_dir: str, num_kept: int = 3, before_save: Callable[[], object] | None = None):
        self.folder, self.num_kept = os.path.join(output_dir, "checkpoints"), num_kept
        self.before_save = before_save

    def newest_first(self) -> list[str]:
        """Return the paths of all checkpoints, the newest first, without `best.pyth`."""
        steps = self._steps()
        return [os.path.join(self.folder, name) for name in sorted(steps, key=lambda name: (-steps[name], name))]

    def newest(self) -> str | None:
        """Return the path of the checkpoint with the highest step, or None."""
        return next(iter(self.newest_first()), None)

    def best(self) -> str | None:
        """Return the path of the best validated checkpoint, or None."""
        path = os.path.join(self.folder, self.BEST)
        return path if os.path.isfile(path) else None

    def newest_usable(self, load: Callable[[str], Loaded]) -> Loaded | None:
        """Return the result of `load` for the newest checkpoint that is usable.

        A checkpoint is not usable if `load` raises a `ValueError` or does not find the file; a warning names it.

        Args:
            load: function of a path.

        Returns:
            The result; None if there are no checkpoints.

        Raises:
            ValueError: no checkpoint is usable; the newest one's error.
            FileNotFoundError: the same, where the newest one was not there.
        """
        refused: list[ValueError | FileNotFoundError] = []
        for path in self.newest_first():
            try:
                loaded = load(path)
            except (ValueError, FileNotFoundError) as error:
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
        """Write a checkpoint, drop those that it supersedes, and return its path.

        Args:
            content: content of the checkpoint, as for `save_checkpoint`.
            step: number of steps done.
            epoch: number of epochs done for a checkpoint of an epoch; else None.
            is_best: True to make it `best.pyth` too.

        Raises:
            WriteError: the disk is full; the message names the newest checkpoint that is whole.
        """
        if self.before_save is not None:
            self.before_save()
        name = (
            f"checkpoint_step_{step:08d}.pyth"
            if epoch is None
            else f"checkpoint_epoch_{epoch:05d}_step_{step:08d}.pyth"
        )
        path = os.path.join(self.folder, name)
        try:
            save_checkpoint(path, content)
        except WriteError as error:
            whole = self.newest()
            kept = f"the newest whole checkpoint is {whole}" if whole else "there is no checkpoint yet"
            error.args = (f"{error}; {kept}",)
            raise
        if is_best:
            link_atomically(path, os.path.join(self.folder, self.BEST))
        newest = [os.path.basename(newer) for newer in self.newest_first()]
        of_epochs = [name for name in newest if "_epoch_" in name]
        for superseded in set(newest) - set(newest[: self.num_kept]) - set(of_epochs[: self.num_kept]):
            os.remove(os.path.join(self.folder, superseded))
        return path

    def remove_unfinished(self) -> None:
        """Remove the unfinished files of killed processes, while no process writes."""
        if os.path.isdir(self.folder):
            for name in os.listdir(self.folder):
                if name.endswith(TEMPORARY_SUFFIX):
                    os.remove(os.path.join(self.folder, name))

    def _steps(self) -> dict[str, int]:
        """Return the steps of the checkpoints, by file name."""
        if not os.path.isdir(self.folder):
            return {}
        matches = {name: self._NAME.fullmatch(name) for name in os.listdir(self.folder)}
        return {name: int(match[1]) for name, match in matches.items() if match}
