"""Networks that several modules of tests deploy."""

from __future__ import annotations

import pytest
import torch

from mutualnet3d.deploy.export import export
from mutualnet3d.deploy.load import load_networks
from tests.conftest import generators_as_found
from tests.tools.test_measure_latency import write_tested


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A tiny X3D that was tested, and a bundle of it in all formats."""
    folder = tmp_path_factory.mktemp("exported")
    with generators_as_found(), torch.random.fork_rng(devices=[]):
        _, checkpoint, _, _ = write_tested(folder, class_names=["dark", "bright"])
        source = load_networks(checkpoint)
        return source, export(source, str(folder / "bundle"))
