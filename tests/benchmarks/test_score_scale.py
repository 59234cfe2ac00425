"""A test's scores on the disk and in memory, in a small case."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import score_scale

    return score_scale


def test_both_ways_write_the_same_bytes(module):
    disk, memory = (module.measure(way, 3, 600, 7) for way in ("disk", "memory"))
    for key in ("sha256", "top1", "cascades"):
        assert disk[key] == memory[key]
    assert 20 < disk["top1"] < 100
    assert disk["cascades"] > 0
