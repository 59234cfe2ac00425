"""Records of a run as TensorBoard's scalars."""

from __future__ import annotations

from typing import Any

from mutualnet3d.files.atomic import disk_errors_named

# Numbers of training by sub-network: random widths would make a curve of each point. Those by place have them too.
_BY_SUBNET = ("losses", "top1")


class TensorBoardRecords:
    """Writer of the numbers of records to a folder that TensorBoard reads.

    Losses and accuracies of training are by the network's place in its step: full, narrowest, random.

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
        """Write a record of training or validation; others are left out.

        Raises:
            WriteError: the disk is full.
        """
        with disk_errors_named(self.folder):
            self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        step = record.get("step")
        if step is None or record["kind"] not in ("train", "validation"):
            return
        for name, value in record.items():
            if isinstance(value, dict) and not (record["kind"] == "train" and name in _BY_SUBNET):
                for curve, number in value.items():
                    self._add(f"{record['kind']}/{name}/{curve}", number, step)
            elif name not in ("kind", "step") and isinstance(value, int | float):
                self._add(f"{record['kind']}/{name}", value, step)
        self.writer.flush()

    def _add(self, tag: str, value: float, step: int) -> None:
        self.writer.add_scalar(tag, value, step)
