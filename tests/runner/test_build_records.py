from __future__ import annotations

import mutualnet3d as m3
from mutualnet3d.runner import build_records as module
from mutualnet3d.runner.build_records import build_records


def test_the_writers_that_are_asked_for_in_folders_of_the_run(tmp_path, monkeypatch):
    calls = []
    for name in ("TensorBoardRecords", "WandbRecords", "MlflowRecords"):
        monkeypatch.setattr(module, name, lambda *words, name=name: calls.append((name, *words)))
    on = [word for name in ("TENSORBOARD", "WANDB", "MLFLOW") for word in (f"{name}.ENABLE", True)]
    place = ["OUTPUT_DIR", str(tmp_path)]
    assert build_records(m3.load_cfg("X3D_tiny_mutual.yaml", place), 3) == []
    build_records(m3.load_cfg("X3D_tiny_mutual.yaml", [*place, *on]), 3)
    board, wandb, mlflow = calls
    assert board == ("TensorBoardRecords", str(tmp_path / "tensorboard"), 3)
    assert wandb[:3] == ("WandbRecords", str(tmp_path / "wandb"), "mutualnet3d")
    assert mlflow[1:4] == (str(tmp_path / "mlflow"), f"file://{tmp_path}/mlflow", "mutualnet3d")
    assert wandb[3] == mlflow[4]
    assert wandb[3]["OUTPUT_DIR"] == str(tmp_path)
    assert "SOLVER.BASE_LR" in wandb[3]
