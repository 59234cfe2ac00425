"""Numbers of a server in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from mutualnet3d.deploy.prediction import Prediction

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ServingMetrics:
    """Numbers of a server, which two servers in one process do not share.

    Args:
        running: function that returns the number of videos that are predicted now.
        waiting: function that returns the number of videos that wait now.
        receiving: function that returns the number of bodies that are received now.
    """

    def __init__(self, running: Callable[[], int], waiting: Callable[[], int], receiving: Callable[[], int]):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, open files, time of the CPU
        for name, text, now in (
            ("running", "videos that are predicted now", running),
            ("waiting", "videos that wait for a worker now", waiting),
            ("receiving", "bodies that are received now", receiving),
        ):
            Gauge(f"mutualnet3d_{name}", text, registry=self._registry).set_function(now)
        self._answers = Counter(
            "mutualnet3d_answers", "answers to /predict, by their status", ["status"], registry=self._registry
        )
        self._seconds = Histogram(
            "mutualnet3d_answer_seconds",
            "time from the head of a request to its answer, of predicted videos",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._parts = Histogram(
            "mutualnet3d_part_seconds",
            "time of the parts of a prediction: decode, prepare, network",
            ["part"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._videos = Counter(
            "mutualnet3d_videos",
            "predicted videos, by the sub-network that gave the labels",
            ["subnet"],
            registry=self._registry,
        )
        self._gflops = Counter(
            "mutualnet3d_gflops", "1e9 multiply-adds of all predicted videos", registry=self._registry
        )

    def count(self, status: int) -> None:
        """Count an answer to a prediction."""
        self._answers.labels(str(status)).inc()

    def add(self, prediction: Prediction, seconds: float) -> None:
        """Add a predicted video, with the seconds since the head of its request."""
        self._seconds.observe(seconds)
        self._videos.labels(str(prediction.config)).inc()
        self._gflops.inc(prediction.gflops_of_video)
        for part in ("decode", "prepare", "network"):
            self._parts.labels(part).observe(getattr(prediction.timing, part) / 1e3)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)
