"""Records of a run as TensorBoard's scalars."""

from __future__ import annotations

from typing import Any

from mutualnet3d.engine.record_curves import points_of
from mutualnet3d.files.atomic import disk_errors_named


class TensorBoardRecords:
    """Writer of the numbers of records to a folder that TensorBoard reads.

    Args:
        folder: folder of the event files.
        start_step: first step of this run, which replaces the later steps that a killed run wrote.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.
    """

    def __init__(self, folder: str, start_step: int = 0):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"TENSORBOARD.ENABLE needs tensorboard: pip install 'mutualnet3d[tensorboard]' ({error})"
            ) from error
        self.folder = folder
        self.writer = SummaryWriter(folder, purge_step=start_step or None)

    def write(self, record: dict[str, Any]) -> None:
        """Write a record of training or validation; leave others out.

        Args:
            record: names and values.

        Raises:
            WriteError: the disk is full.
        """
        with disk_errors_named(self.folder):
            self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        points = points_of(record)
        for name, value in points.items():
            self.writer.add_scalar(name, value, record["step"])
        if points:
            self.writer.flush()
