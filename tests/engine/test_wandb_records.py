from __future__ import annotations

import sys

import pytest

from mutualnet3d.engine.wandb_records import WandbRecords
from mutualnet3d.extras import installed


def test_without_wandb_there_is_a_word(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"wandb is not installed: pip install 'mutualnet3d\[wandb\]'"):
        WandbRecords(str(tmp_path), "project", {})


@pytest.mark.slow
@pytest.mark.skipif(not installed("wandb"), reason="the extra `wandb` is not installed")
def test_records_go_to_an_offline_run_and_a_resumed_training_goes_on_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for step in (1, 2):
        records = WandbRecords(str(tmp_path), "project", {"SOLVER.BASE_LR": 0.1})
        records.write({"kind": "train", "step": step, "lr": 0.5})
        records.write({"kind": "resumed", "step": step, "checkpoint": "path"})
        assert records._run.summary["train/lr"] == 0.5
        assert records._run.config["SOLVER.BASE_LR"] == 0.1
        records.close()
    run = (tmp_path / "run_id.txt").read_text().strip()
    stored = list(tmp_path.glob(f"wandb/offline-run-*-{run}/run-{run}.wandb"))
    assert stored
    assert any(b"train/lr" in path.read_bytes() for path in stored)
