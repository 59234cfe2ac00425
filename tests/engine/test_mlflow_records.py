from __future__ import annotations

import sys

import pytest

from mutualnet3d.engine.mlflow_records import MlflowRecords
from mutualnet3d.extras import installed


def test_without_mlflow_there_is_a_word(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ModuleNotFoundError, match=r"mlflow is not installed: pip install 'mutualnet3d\[mlflow\]'"):
        MlflowRecords(str(tmp_path), f"file://{tmp_path}", "name", {})


@pytest.mark.slow
@pytest.mark.skipif(not installed("mlflow"), reason="the extra `mlflow` is not installed")
def test_records_go_to_a_store_and_a_resumed_training_goes_on_in_it(tmp_path, caplog, monkeypatch):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder, uri = str(tmp_path / "mlflow"), f"file://{tmp_path}/store"
    for step in (1, 2):
        records = MlflowRecords(folder, uri, "name", {"SOLVER.BASE_LR": 0.1})
        records.write({"kind": "train", "step": step, "lr": 0.5 / step, "accuracy": {"full": 40.0}})
        records.write({"kind": "resumed", "step": step, "checkpoint": "path"})
        records.close()
    run = (tmp_path / "mlflow" / "run_id.txt").read_text().strip()
    client = MlflowClient(uri)
    assert [(point.step, point.value) for point in client.get_metric_history(run, "train/lr")] == [(1, 0.5), (2, 0.25)]
    stored = client.get_run(run)
    assert stored.data.metrics["train/accuracy/full"] == 40.0
    assert (stored.data.params, stored.info.status) == ({"SOLVER.BASE_LR": "0.1"}, "FINISHED")

    def refuse(*words, **settings):
        raise MlflowException("away")

    monkeypatch.setattr(records._client, "log_batch", refuse)
    records.write({"kind": "train", "step": 3, "lr": 0.5})
    assert "does not take step 3: away" in caplog.text
