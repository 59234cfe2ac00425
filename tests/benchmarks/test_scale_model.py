"""The figures of docs/SCALE.md: eight nodes of eight GPUs, X3D-M, 100 clips a second and GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import scale_model

    return scale_model


@pytest.fixture
def cluster(model):
    return model.Cluster(nodes=8, gpus=8, network=25e9, disk=4e9, disk_is_shared=True, cores=96)


@pytest.fixture
def x3d_m(model):
    return model.Work(rate=100.0, batch=16, gradients=4 * 3.79e6)


def test_a_step_is_computing_where_nothing_else_takes_longer(model, cluster, x3d_m):
    times = model.step_times(cluster, x3d_m)
    assert times.compute == pytest.approx(0.160)
    assert times.exchange == pytest.approx(0.0012, abs=1e-4)
    assert times.visible_exchange == 0.0
    assert times.decode == pytest.approx(16 * 8 * 0.0284 / 96)
    assert times.read == pytest.approx(1024 * 0.6e6 / 4e9)
    assert (times.seconds, times.bottleneck) == (times.compute, "computing")
    assert 256 * model.epoch_seconds(cluster, x3d_m, 240_000) / 3600 == pytest.approx(2.7, abs=0.05)


@pytest.mark.parametrize(
    ("of_cluster", "of_work", "bottleneck", "seconds"),
    [
        ({"disk": 2e9}, {}, "disk", 1024 * 0.6e6 / 2e9),
        ({"disk": 2e9, "disk_is_shared": False}, {}, "computing", 0.16),
        ({"cores": 16}, {}, "decoding", 16 * 8 * 0.0284 / 16),
        ({"network": 1.25e9}, {"gradients": 138e6, "rate": 400.0}, "network", 0.04 + 0.2173 - 0.004),
        ({}, {"exchanges": 664}, "computing", 0.16 + 664 * 40e-6),
    ],
)
def test_a_step_takes_as_long_as_its_slowest_part(model, cluster, x3d_m, of_cluster, of_work, bottleneck, seconds):
    times = model.step_times(replace(cluster, **of_cluster), replace(x3d_m, **of_work))
    assert times.bottleneck == bottleneck
    assert times.seconds == pytest.approx(seconds, rel=1e-3)


def test_a_ring_sends_nothing_alone_and_nearly_twice_the_gradients_among_many(model, cluster):
    assert model.exchange_seconds(replace(cluster, nodes=1, gpus=1), 1e9) == 0.0
    assert model.exchange_seconds(replace(cluster, nodes=2, gpus=1), 25e9) == pytest.approx(1.0)
    assert model.exchange_seconds(cluster, 25e9) == pytest.approx(2 * 63 / 64)
    # docs/SCALE.md: 10 Gbit Ethernet a node.
    assert model.exchange_seconds(replace(cluster, network=1.25e9), 15.16e6) == pytest.approx(0.0239, abs=1e-4)


def test_the_report_names_the_bottleneck_and_the_hours(model, cluster, x3d_m):
    text = model.report(cluster, x3d_m, 240_000, 256)
    assert "step: 160.0 ms, 6400 clips/s, 6400 videos opened a second" in text
    assert "bottleneck: computing" in text
    assert "256 epochs: 2.7 h" in text
