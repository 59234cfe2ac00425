from __future__ import annotations

import pytest

from mutualnet3d.engine.tensorboard import TensorBoardRecords

pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra [tensorboard])")


def curves_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_records_become_curves_by_the_networks_place(tmp_path):
    records = TensorBoardRecords(str(tmp_path))
    losses = {"w1.0-s32-t4": 1.0, "w0.5-s32-t2": 2.0, "w0.71-s32-t2": 3.0, "w0.9-s32-t2": 4.0}
    records.write({"kind": "train", "step": 3, "lr": 0.5, "losses": losses})
    records.write({"kind": "validation", "step": 3, "epoch": 1, "top1": {"w1.0-s32-t4": 50.0}})
    records.write({"kind": "resumed", "step": 3, "checkpoint": "path"})
    assert curves_of(tmp_path) == {
        "train/lr": [(3, 0.5)],
        "train/losses/full": [(3, 1.0)],
        "train/losses/narrowest": [(3, 2.0)],
        "train/losses/random_1": [(3, 3.0)],
        "train/losses/random_2": [(3, 4.0)],
        "validation/epoch": [(3, 1.0)],
        "validation/top1/w1.0-s32-t4": [(3, 50.0)],
    }


def test_a_resumed_run_replaces_later_steps(tmp_path):
    killed = TensorBoardRecords(str(tmp_path))
    for step in (1, 2, 3):
        killed.write({"kind": "train", "step": step, "lr": 1.0})
    TensorBoardRecords(str(tmp_path), start_step=2).write({"kind": "train", "step": 2, "lr": 0.5})
    assert curves_of(tmp_path) == {"train/lr": [(1, 1.0), (2, 0.5)]}
