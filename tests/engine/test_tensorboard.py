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
    by_subnet = {"w1.0-s32-t4": 1.0, "w0.5-s32-t2": 2.0, "w0.71-s32-t2": 3.0}  # a curve of each would be a point
    by_place = {"cross_entropy": {"full": 1.0}, "kl": {"narrowest": 2.0, "random": 3.5}, "accuracy": {"full": 40.0}}
    records.write({"kind": "train", "step": 3, "lr": 0.5, "losses": by_subnet, "top1": by_subnet, **by_place})
    records.write({"kind": "validation", "step": 3, "epoch": 1, "top1": {"w1.0-s32-t4": 50.0}})
    records.write({"kind": "resumed", "step": 3, "checkpoint": "path"})
    assert curves_of(tmp_path) == {
        "train/lr": [(3, 0.5)],
        "train/cross_entropy/full": [(3, 1.0)],
        "train/kl/narrowest": [(3, 2.0)],
        "train/kl/random": [(3, 3.5)],
        "train/accuracy/full": [(3, 40.0)],
        "validation/epoch": [(3, 1.0)],
        "validation/top1/w1.0-s32-t4": [(3, 50.0)],
    }


def test_a_resumed_run_replaces_later_steps(tmp_path):
    killed = TensorBoardRecords(str(tmp_path))
    for step in (1, 2, 3):
        killed.write({"kind": "train", "step": step, "lr": 1.0})
    TensorBoardRecords(str(tmp_path), start_step=2).write({"kind": "train", "step": 2, "lr": 0.5})
    assert curves_of(tmp_path) == {"train/lr": [(1, 1.0), (2, 0.5)]}
