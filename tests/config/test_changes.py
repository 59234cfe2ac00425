from __future__ import annotations

import mutualnet3d as m3
from mutualnet3d.config.changes import changed_keys, hash_of


def dump(*overrides):
    return m3.load_cfg("X3D_tiny_mutual.yaml", overrides).dump()


def test_what_differs_is_told_by_key():
    then, now = dump(), dump("SOLVER.BASE_LR", 0.5, "MUTUAL.SIZES", [48], "TEST.BATCH_SIZE", 1)
    assert changed_keys(then, now, ignored=["TEST"]) == [
        "MUTUAL.SIZES: [48, 40, 32] -> [48]",
        "SOLVER.BASE_LR: 0.05 -> 0.5",
    ]
    assert changed_keys(then, then) == []


def test_a_key_of_another_release():
    assert changed_keys("A:\n  B: 1\n", "A:\n  C: 1\n") == ["A.B: 1 -> 'not there'", "A.C: 'not there' -> 1"]


def test_the_hash_stands_for_the_whole_config():
    assert hash_of(dump()) == hash_of(dump())
    assert hash_of(dump()) != hash_of(dump("RNG_SEED", 9))
    assert len(hash_of(dump())) == 8
