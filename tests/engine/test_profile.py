from __future__ import annotations

import os

import pytest
import torch

from mutualnet3d.engine.profile import Profile
from tests.engine.loops import run_loop


@pytest.mark.parametrize(
    ("start", "steps", "name"), [(0, 6, "steps_00000004_00000005"), (4, 6, "steps_00000006_00000006")]
)
def test_profile_of_a_few_steps(tmp_path, start, steps, name):
    losses = lambda step: {"w1.0-s32-t4": torch.ones(10, 10).mm(torch.ones(10, 10)).mean()}  # noqa: E731
    run_loop([Profile(2, str(tmp_path))], start=start, steps=steps, losses=losses)
    assert sorted(os.listdir(tmp_path)) == [f"{name}.json.gz", f"{name}.txt"]
    assert "aten::mm" in (tmp_path / f"{name}.txt").read_text()
