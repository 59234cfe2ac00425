"""Records of a run for Weights & Biases."""

from __future__ import annotations

import os
import uuid
from typing import Any

from mutualnet3d.engine.record_curves import points_of
from mutualnet3d.engine.stored_run import stored_run
from mutualnet3d.extras import require


class WandbRecords:
    """Writer of the numbers of records to a run of Weights & Biases; a resumed training goes on in it.

    wandb's own variables set the account, and whether anything leaves this machine (WANDB_MODE=offline).

    Args:
        folder: folder of wandb's files.
        project: name of the project.
        settings: settings of the training, which wandb shows with the run.

    Raises:
        ModuleNotFoundError: wandb is not installed.
    """

    def __init__(self, folder: str, project: str, settings: dict[str, Any]):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its makers' statistics of errors
        wandb = require("wandb", "wandb")
        run_id, _ = stored_run(folder, lambda: uuid.uuid4().hex[:8])
        quiet = wandb.Settings(console="off", silent=True)
        self._run = wandb.init(project=project, dir=folder, id=run_id, resume="allow", config=settings, settings=quiet)
        # After a kill some steps come again: a point's place is a number of its own, as wandb's steps only go up.
        self._run.define_metric("*", step_metric="step")

    def write(self, record: dict[str, Any]) -> None:
        """Write a record of training or validation; leave others out."""
        points = points_of(record)
        if points:
            self._run.log({**points, "step": record["step"]})

    def close(self) -> None:
        """End the run, as wandb does at the end of the process."""
        self._run.finish()
