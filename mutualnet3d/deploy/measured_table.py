"""Query table with the milliseconds of a back end on this machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from mutualnet3d.deploy.backends import Backend
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.log import logger
from mutualnet3d.results.latency import device_name, measure_latencies, measure_passes
from mutualnet3d.results.pareto import front_of_rows
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.results.row_times import passes_of
from mutualnet3d.results.table_cascades import kept_cascades
from mutualnet3d.shapes import SubnetConfig

# Timed passes of each sub-network when times are measured: as many as fit into so many seconds, within these bounds.
_MEASURING_SECONDS, _MIN_ROUNDS, _MAX_ROUNDS = 3.0, 3, 25
# Videos are measured for a budget if their forecast is at most so many times that.
_FORECAST_FACTOR = 2.0
_CPU = torch.device("cpu")  # where logits arrive


class MeasuredTable:
    """Query table of some sub-networks with milliseconds of this machine, of a clip and, on demand, of videos.

    Args:
        networks: store of the sub-networks.
        backend: back end of the measurements.
        tested: table with the rows to be measured, of one back end.
        configs: sub-networks, which are measured at once.

    Attributes:
        table: table with the times; rows of several views without a measured pass have as many times that of a clip.
    """

    def __init__(self, networks: NetworkStore, backend: Backend, tested: QueryTable, configs: Sequence[SubnetConfig]):
        self._networks, self._backend, self._tested = networks, backend, tested
        clips = {config: random_clips(networks.shapes(config), 1) for config in configs}
        logger.info("measuring %d sub-networks on %s", len(configs), backend.name)
        for config in configs:
            backend.forward(config)  # made ready before the time runs
        self._clips = measure_latencies(
            backend,
            configs,
            clips.__getitem__,
            _CPU,
            num_rounds=_MAX_ROUNDS,
            min_rounds=_MIN_ROUNDS,
            max_seconds=_MEASURING_SECONDS,
        )
        self._passes = measure_passes(backend, [], self._noise, _CPU, num_rounds=_MAX_ROUNDS)  # none yet
        rows = [replace(row, backend=backend.name) for row in tested.rows if row.config in self._clips.milliseconds]
        context = {**tested.context, "backend": backend.name, "backends": {backend.name: self._facts()}}
        cascades = kept_cascades(tested.cascades, tested.rows, tested.backend, rows, backend.name)
        self.table = self._timed(QueryTable(tuple(rows), context, cascades))

    def measure_videos(self, rows: Sequence[Row], views: Views | None, budget: float = math.inf) -> None:
        """Measure forward passes of several views that are not measured yet.

        Only passes on the front are measured, by forecasts: the time of a clip here, times the ratio of a pass to a
        clip in the test.

        Args:
            rows: rows of the table that a query chooses from.
            views: views of the videos; None: those of each row.
            budget: largest milliseconds of a video; passes with a forecast far above it are not measured.
        """
        front = front_of_rows(map(self._forecast, rows), "milliseconds", views)
        within = [row for row in front if row.cost_of_video("milliseconds", views) <= _FORECAST_FACTOR * budget]
        self.measure_passes((row.config, row.views) for row in within if views in (None, row.views))

    def measure_passes(self, videos: Iterable[tuple[SubnetConfig, Views]]) -> None:
        """Measure the forward passes of sub-networks with several views that are not measured yet."""
        missing = [key for key in passes_of(videos) if key not in self._passes.milliseconds]
        if not missing:
            return
        logger.info("measuring videos of several views, %d passes, on %s", len(missing), self._backend.name)
        new = measure_passes(
            self._backend,
            missing,
            self._noise,
            _CPU,
            num_rounds=_MAX_ROUNDS,
            min_rounds=1,
            max_seconds=_MEASURING_SECONDS,
        )
        milliseconds = {**self._passes.milliseconds, **new.milliseconds}
        self._passes = replace(new, milliseconds=milliseconds, unsettled=self._passes.unsettled | new.unsettled)
        self.table = self._timed(self.table)

    def _noise(self, config: SubnetConfig, num_clips: int) -> list[torch.Tensor]:
        return random_clips(self._networks.shapes(config), num_clips)

    def _timed(self, table: QueryTable) -> QueryTable:
        unsettled = self._clips.unsettled | self._passes.unsettled
        return table.with_milliseconds(self._clips.milliseconds, unsettled, self._passes.milliseconds)

    def _forecast(self, row: Row) -> Row:
        """Return the row with a forecast of its pass, unless the pass was measured here, or the test has none."""
        tested = self._tested.row(row.config, row.views)
        if row.pass_milliseconds is not None or not (tested and tested.pass_milliseconds and tested.milliseconds):
            return row
        return replace(row, pass_milliseconds=row.milliseconds * tested.pass_milliseconds / tested.milliseconds)

    def _facts(self) -> dict[str, object]:
        """Return the conditions of the times."""
        backend, facts = self._backend, dict(self._tested.facts)
        if self._tested.backend != backend.name:
            facts = {"accuracy_of": self._tested.backend}
        facts |= {"device": device_name(backend.device), "batch_size": 1, "latency_runs": self._clips.num_rounds}
        facts.pop("threads", None)
        if backend.threads is not None or not backend.module:  # otherwise a library of its own decides
            facts["threads"] = backend.threads or torch.get_num_threads()
        return facts
