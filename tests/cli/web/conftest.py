"""Checkpoint for the page's tests."""

from __future__ import annotations

import pytest
import torch

from mutualnet3d.shapes import SubnetConfig
from tests.cli import test_latency

SMALL, LARGE = SubnetConfig(0.5, 32, 2), SubnetConfig(1.0, 320, 4)


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A checkpoint of two sub-networks, so different that the one is slower on any machine, and its table."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.setattr(test_latency, "CONFIGS", (LARGE, SMALL))
        folder = tmp_path_factory.mktemp("tested")
        _, checkpoint, _, table = test_latency.write_tested(folder, class_names=["dark", "*bright*"])
    return checkpoint, table
