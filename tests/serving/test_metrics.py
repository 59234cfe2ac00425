from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

from mutualnet3d.deploy.prediction import Prediction, Timing
from mutualnet3d.serving.metrics import ServingMetrics
from tests.serving.servers import SMALL


def test_numbers_in_prometheus_text():
    metrics = ServingMetrics(lambda: 1, lambda: 2, lambda: 3)
    prediction = Prediction("a", (), SMALL, 0.5, None, "none", 3, Timing(10.0, 20.0, 400.0), np.zeros(0))
    metrics.add(prediction, 0.5)
    metrics.add(prediction, 1.5)
    metrics.count(200)
    metrics.count(429)
    lines = metrics.text().decode().splitlines()
    for line in (
        "mutualnet3d_running 1.0",
        "mutualnet3d_waiting 2.0",
        "mutualnet3d_receiving 3.0",
        'mutualnet3d_answers_total{status="200"} 1.0',
        'mutualnet3d_answers_total{status="429"} 1.0',
        'mutualnet3d_answer_seconds_bucket{le="1.0"} 1.0',
        "mutualnet3d_answer_seconds_sum 2.0",
        'mutualnet3d_part_seconds_sum{part="network"} 0.8',
        f'mutualnet3d_videos_total{{subnet="{SMALL}"}} 2.0',
        "mutualnet3d_gflops_total 3.0",
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
    ServingMetrics(lambda: 0, lambda: 0, lambda: 0)  # a second server
