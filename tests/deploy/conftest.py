"""Fixtures of all tests of deployment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.conftest import write_video
from tests.deploy.networks import source_of


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """Sub-networks of a tiny X3D, with their query table."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return source_of("x3d", tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """Path of a second of noise."""
    frames = np.random.default_rng(1).integers(0, 256, (30, 72, 96, 3), dtype=np.uint8)
    return str(write_video(tmp_path_factory.mktemp("predicted") / "video.mp4", frames))
