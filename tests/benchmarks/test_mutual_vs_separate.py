"""Runs and printed differences of benchmarks/mutual_vs_separate.py."""

from __future__ import annotations

from pathlib import Path

import pytest

import mutualnet3d as m3

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import mutual_vs_separate

    return mutual_vs_separate


def test_every_run_is_printed_and_its_config_loads(module):
    named = module.runs()
    assert {name.split("/")[0] for name in named} == {*module.COLUMNS, "alone"}
    assert {run for pair in module.GAINS for run in pair} | set(module.CURVES) <= {*module.COLUMNS, "alone"}
    cfgs = {
        name: m3.load_cfg("X3D_tiny_evidence.yaml", [word for pair in overrides.items() for word in pair])
        for name, overrides in named.items()
    }
    long = cfgs["staged_long"]
    assert (long.MUTUAL.START, long.SOLVER.MAX_EPOCH, long.SOLVER.BASE_LR) == (0.25, 175, cfgs["staged"].SOLVER.BASE_LR)


def test_differences_are_of_the_same_seed(module, capsys):
    key = module.FULL
    top1 = {"staged_long": {key: [95.0, 97.0]}, "mutual": {key: [94.0, 95.0]}, "equal": {key: [80.0, 81.0]}}
    module.print_gains(top1, {key: 0.0195})
    title, line = capsys.readouterr().out.splitlines()
    assert title.split(maxsplit=1)[1].strip() == "staged, x 2.5 less paper's, x 2.5"
    assert line.split(maxsplit=1)[0] == key
    assert line.split(maxsplit=1)[1].strip() == "+1.50 +- 0.71"
