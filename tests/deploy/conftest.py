"""Fixtures of all tests of deployment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mutualnet3d.deploy import measured_table
from mutualnet3d.deploy.export import export
from mutualnet3d.deploy.load import load_checkpoint_networks
from mutualnet3d.results.latency import Latencies
from tests.cli.test_latency import write_tested
from tests.conftest import restored_generators, write_video
from tests.deploy.networks import FULL, SMALL, source_of


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


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A tiny X3D that was tested, and a bundle of it in all formats."""
    folder = tmp_path_factory.mktemp("exported")
    with restored_generators(), torch.random.fork_rng(devices=[]):
        _, checkpoint, _, _ = write_tested(folder, class_names=["dark", "bright"])
        tested = load_checkpoint_networks(checkpoint)
        return tested, export(tested, str(folder / "bundle"))


@pytest.fixture
def told_times(monkeypatch):
    """Let a measurement find what it is told: {FULL: 60.0, SMALL: 10.0}, of which the former did not settle, and 5 ms
    for each view of a pass of several; the passes of each measurement."""
    latencies = Latencies({FULL: 60.0, SMALL: 10.0}, 25, frozenset({FULL}))
    monkeypatch.setattr(measured_table, "measure_latencies", lambda *args, **settings: latencies)
    passes = []

    def measure(forward, keys, *args, **settings):
        passes.extend([keys] if keys else [])
        return Latencies({(config, count): 5.0 * count for config, count in keys}, 25)

    monkeypatch.setattr(measured_table, "measure_passes", measure)
    return passes
