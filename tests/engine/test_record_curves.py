from __future__ import annotations

from mutualnet3d.engine.record_curves import points_of


def test_numbers_are_points_by_the_networks_place():
    by_subnet = {"w1.0-s32-t4": 1.0, "w0.71-s32-t2": 3.0}
    record = {"kind": "train", "step": 3, "lr": 0.5, "losses": by_subnet, "top1": by_subnet, "kl": {"random": 3}}
    assert points_of(record) == {"train/lr": 0.5, "train/kl/random": 3.0}
    record = {"kind": "validation", "step": 0, "top1": by_subnet, "text": "a"}
    assert points_of(record) == {f"validation/top1/{name}": value for name, value in by_subnet.items()}
    assert points_of({"kind": "resumed", "step": 3, "checkpoint": "path"}) == {}
    assert points_of({"kind": "validation", "top1": {"w1.0-s32-t4": 1.0}}) == {}
