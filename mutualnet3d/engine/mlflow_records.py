"""Records of a run for MLflow."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Mapping
from typing import Any

from mutualnet3d.engine.record_curves import points_of
from mutualnet3d.engine.stored_run import stored_run
from mutualnet3d.extras import require
from mutualnet3d.log import logger


class MlflowRecords:
    """Writer of the numbers of records to a run of MLflow; a resumed training goes on in it.

    A server that does not answer does not end the training: the record is lost, and a warning says so.

    Args:
        folder: folder of the run's identity.
        tracking_uri: address of MLflow's server or store.
        experiment: name of the experiment.
        settings: settings of the training, which MLflow shows with the run.

    Raises:
        ModuleNotFoundError: MLflow is not installed.
        MlflowException: no server or store is at the address.
    """

    def __init__(self, folder: str, tracking_uri: str, experiment: str, settings: Mapping[str, Any]):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        if tracking_uri.startswith("file:"):  # MLflow makes none of these any more unless it is told to
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow = require("mlflow", "mlflow")
        self._mlflow, self._uri = mlflow, tracking_uri
        self._client = mlflow.MlflowClient(tracking_uri)

        def make() -> str:
            stored = self._client.get_experiment_by_name(experiment)
            place = stored.experiment_id if stored else self._client.create_experiment(experiment)
            run_id: str = self._client.create_run(place).info.run_id
            return run_id

        self._run, is_resumed = stored_run(folder, make)
        if is_resumed:
            self._client.update_run(self._run, status="RUNNING")
        else:
            for name, value in settings.items():
                self._client.log_param(self._run, name, str(value)[:500])
        atexit.register(self.close)

    def write(self, record: dict[str, Any]) -> None:
        """Write a record of training or validation; leave others out."""
        points, now = points_of(record), int(1e3 * time.time())
        metrics = [self._mlflow.entities.Metric(name, value, now, record["step"]) for name, value in points.items()]
        if not metrics:
            return
        try:
            self._client.log_batch(self._run, metrics=metrics)
        except (self._mlflow.MlflowException, OSError) as error:
            logger.warning("MLflow at %s does not take step %d: %s", self._uri, record["step"], error)

    def close(self) -> None:
        """End the run, as the end of the process does."""
        atexit.unregister(self.close)
        try:
            self._client.set_terminated(self._run)
        except (self._mlflow.MlflowException, OSError) as error:
            logger.warning("MLflow at %s does not take the end of the run: %s", self._uri, error)
