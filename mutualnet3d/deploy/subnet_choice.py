"""Choice of the sub-network for a budget, by accuracies and times on one back end of this machine."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property

import torch

from mutualnet3d.deploy.backend_choice import runnable_front
from mutualnet3d.deploy.backends import Backend
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.log import logger
from mutualnet3d.results.budget_query import best_row, checked_bounds, rows_nearest
from mutualnet3d.results.cascade import Cascade
from mutualnet3d.results.latency import device_name, measure_latencies, measure_passes
from mutualnet3d.results.pareto import front_of_rows
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.results.row_times import Pass, passes_of, timed_rows
from mutualnet3d.results.table_cascades import kept_cascades
from mutualnet3d.shapes import SubnetConfig

# Timed passes of each sub-network when times are measured: as many as fit into so many seconds, within these bounds.
_MEASURING_SECONDS, _MIN_ROUNDS, _MAX_ROUNDS = 3.0, 3, 25
# Videos are measured for a budget if their forecast is at most so many times that.
_FORECAST_FACTOR = 2.0


class SubnetChoice:
    """Sub-networks that one back end runs, and the query table of these.

    Args:
        networks: store of the sub-networks.
        backend: the back end, which does not change.
    """

    def __init__(self, networks: NetworkStore, backend: Backend):
        self._networks, self._backend = networks, backend
        self._measured: QueryTable | None = None
        # Times of passes of several clips here, and the sub-networks and passes whose times did not settle.
        self._passes: dict[Pass, float] = {}
        self._unsettled: set[SubnetConfig | Pass] = set()

    @property
    def table(self) -> QueryTable:
        """Query table of the back end, rows of all views; with milliseconds of this machine once measured.

        The rows are the back end's own, where the test run's table has some. Otherwise they are the test run's: a back
        end computes the same but for rounding, or, in bfloat16, nearly.

        Raises:
            ValueError: there is no table; or it has no rows of a back end whose accuracy is another one.
        """
        return self._tested if self._measured is None else self._measured

    def rows_of(self, views: Views | None) -> tuple[Row, ...]:
        """Return the rows that sub-networks for videos of so many views are chosen by: they have their accuracy where
        that is known, else that of one view, else that of the test run's views; `row.views` says which.

        Args:
            views: views of the videos; None: those of each row, of which all are returned.

        Raises:
            ValueError: see `table`.
        """
        table = self.table
        return table.query_rows if views is None else rows_nearest(table.rows, table.default_rows, views)

    @cached_property
    def _tested(self) -> QueryTable:
        """Query table of all views before anything is measured."""
        table, name, path = self._networks.table, self._backend.name, self._networks.path
        if table is None:
            raise ValueError(
                f"{path}: no query table beside it; a budget needs the query_table.json of its test run (table=...), "
                "or ask for a sub-network by its key (config=...)"
            )
        has_rows = any((row.backend, row.views) == (name, table.views) for row in table.rows)
        if not has_rows and not self._backend.own_accuracy:
            return table.of_backend(table.backend)
        try:
            return table.of_backend(name)
        except ValueError as error:
            raise ValueError(
                f"{path}: {error}; a budget needs accuracies (`mutualnet3d export --int8` finds them), or ask for a "
                "sub-network by its key (config=...)"
            ) from error

    def front(self) -> tuple[SubnetConfig, ...]:
        """Return the sub-networks on the table's Pareto fronts, the most expensive first.

        Raises:
            ValueError: there is no table: see `table`.
        """
        return runnable_front(self._networks, self._tested)

    def runnable(self, config: SubnetConfig | str) -> SubnetConfig:
        """Return a sub-network, or the one of that key.

        Raises:
            ValueError: it cannot be run.
        """
        networks = self._networks
        parsed = SubnetConfig.parse(config) if isinstance(config, str) else config
        formats = networks.formats(parsed)
        if not formats:
            names = ", ".join(map(str, networks.configs))
            raise ValueError(f"{networks.path} has no sub-network {parsed} that can be run; it has {names}")
        if self._backend.format not in formats:
            raise ValueError(f"{networks.path} has no {self._backend.format} network of {parsed}")
        return parsed

    def choose(
        self,
        gflops: float | None,
        milliseconds: float | None,
        config: SubnetConfig | str | None,
        views: Views | None = None,
    ) -> tuple[SubnetConfig, Views, Row | None]:
        """Return the most accurate sub-network within the budget, `config`, or the most expensive; the views that a
        video has with it; and its row.

        Args:
            gflops: 1e9 multiply-adds that a video may take.
            milliseconds: time that the network may take for a video; measured when first needed.
            config: sub-network, or its key.
            views: views that a video will have; the row is of as many, where the table has such: see `rows_of`. None:
                chosen with the sub-network by a budget, and one without.

        Raises:
            ValueError: nothing fits the budget; an unknown sub-network; a budget and a sub-network.
        """
        given = views or Views()
        if config is not None:
            if gflops is not None or milliseconds is not None:
                raise ValueError("give a budget (gflops, milliseconds) or a sub-network (config), not both")
            runnable = self.runnable(config)
            return runnable, given, self._row(runnable, given)
        if milliseconds is not None:
            budget = checked_bounds(gflops, milliseconds)["milliseconds"]  # before anything is measured
            self.measure(views=views, budget=budget)
        elif gflops is None:
            largest = self._networks.configs[0]
            return largest, given, self._row(largest, given)
        row = best_row(self.rows_of(views), gflops, milliseconds, views)
        return row.config, row.views if views is None else views, row

    def cascade(self, mean_gflops: float | None, mean_milliseconds: float | None) -> Cascade:
        """Return the most accurate cascade whose mean cost of a video is within the budget.

        Args:
            mean_gflops: 1e9 multiply-adds that a video may take, in the mean over many.
            mean_milliseconds: time that the networks may take for a video, in the mean; measured when first needed.

        Raises:
            ValueError: no budget; no cascade fits; the table has none of this back end, or there is no table.
        """
        checked_bounds(mean_gflops, mean_milliseconds, "mean_")
        if not self._tested.cascades:
            raise ValueError(
                f"{self._networks.path}: its query table has no cascades of {self._backend.name}, which a mean budget "
                "needs; a test (`mutualnet3d test`) with TEST.CASCADES True makes them, on 100 videos or more"
            )
        if mean_milliseconds is not None:
            self.measure(views=Views())
            self._measure_passes(passes_of(stage.key for item in self._tested.cascades for stage in item.stages))
        return self.table.best_cascade(mean_gflops, mean_milliseconds)

    def front_of(self, cost: str, views: Views | None) -> tuple[Row, ...]:
        """Return the Pareto front over the cost of a video, the cheapest first.

        Args:
            cost: "gflops" or "milliseconds".
            views: views of the videos; None: those of each row.

        Raises:
            ValueError: another cost; there is no table: see `table`.
        """
        return front_of_rows(self.rows_of(views), cost, views)

    def measure(self, again: bool = False, views: Views | None = None, budget: float = math.inf) -> QueryTable:
        """Return the table of the sub-networks on the fronts, with milliseconds of this machine, measured once: of a
        clip, and of videos of several views on the front over milliseconds.

        Args:
            again: True to measure once more, as the machine has changed.
            views: views of the videos; None: those of each row.
            budget: milliseconds of a video above which it is not measured.

        Raises:
            ValueError: there is no table: see `table`.
        """
        if self._measured is None or again:
            self._passes, self._unsettled = {}, set()
            self._measured = self._measure(self._tested, self.front())
        if views is None or views.count > 1:
            self._measure_videos(views, budget)
        return self._measured

    def _measure(self, table: QueryTable, front: Sequence[SubnetConfig]) -> QueryTable:
        backend = self._backend
        clips = {config: random_clips(self._networks.shapes(config), 1) for config in front}
        logger.info("measuring %d sub-networks on %s", len(front), backend.name)
        for config in front:
            backend.forward(config)  # made ready before the time runs
        latencies = measure_latencies(
            backend,
            front,
            clips.__getitem__,
            torch.device("cpu"),  # where logits arrive
            num_rounds=_MAX_ROUNDS,
            min_rounds=_MIN_ROUNDS,
            max_seconds=_MEASURING_SECONDS,
        )
        self._unsettled.update(latencies.unsettled)
        of_front = [replace(row, backend=backend.name) for row in table.rows if row.config in latencies.milliseconds]
        rows = tuple(timed_rows(of_front, latencies.milliseconds, {}, self._unsettled))
        facts = dict(table.facts)
        if table.backend != backend.name:
            facts = {"accuracy_of": table.backend}
        facts |= {"device": device_name(backend.device), "batch_size": 1, "latency_runs": latencies.num_rounds}
        facts.pop("threads", None)
        if backend.threads is not None or not backend.module:  # otherwise a library of its own decides
            facts["threads"] = backend.threads or torch.get_num_threads()
        context = {**table.context, "backend": backend.name, "backends": {backend.name: facts}}
        cascades = kept_cascades(table.cascades, table.rows, table.backend, rows, backend.name)
        return QueryTable(rows, context, cascades)

    def _measure_videos(self, views: Views | None, budget: float) -> None:
        """Measure forward passes of several views: those of the front by the times of a clip here, a pass of several
        taken to be as much longer as it was in the test."""
        assert self._measured is not None
        in_test = {row.key: row for row in self._tested.rows if row.pass_milliseconds and row.milliseconds}
        forecast: list[Row] = []
        for row in self.rows_of(views):
            tested = in_test.get((row.config, self._tested.backend, row.views))
            if row.pass_milliseconds is None and tested and tested.pass_milliseconds:
                times_a_clip = tested.pass_milliseconds / tested.milliseconds
                row = replace(row, pass_milliseconds=times_a_clip * row.milliseconds)
            forecast.append(row)
        front = front_of_rows(forecast, "milliseconds", views)
        within = [row for row in front if row.cost_of_video("milliseconds", views) <= _FORECAST_FACTOR * budget]
        self._measure_passes(passes_of((row.config, row.views) for row in within if views in (None, row.views)))

    def _measure_passes(self, passes: Collection[Pass]) -> None:
        """Measure forward passes of several views, those that were not measured before."""
        assert self._measured is not None
        missing = [key for key in passes if key not in self._passes]
        if not missing:
            return
        backend = self._backend
        logger.info("measuring videos of several views by %d sub-networks on %s", len(missing), backend.name)
        latencies = measure_passes(
            backend,
            missing,
            lambda config, num_clips: random_clips(self._networks.shapes(config), num_clips),
            torch.device("cpu"),  # where logits arrive
            num_rounds=_MAX_ROUNDS,
            min_rounds=1,
            max_seconds=_MEASURING_SECONDS,
        )
        self._passes |= latencies.milliseconds
        self._unsettled |= latencies.unsettled
        milliseconds = {row.config: row.milliseconds for row in self._measured.rows}
        self._measured = self._measured.with_milliseconds(milliseconds, self._unsettled, self._passes)

    def _row(self, config: SubnetConfig, views: Views) -> Row | None:
        """Return the row of a sub-network with so many views, or else of one, or else of the test's; None: there is
        none. One that is on no front was not measured: its milliseconds are the test's."""
        try:
            tables = (self.table, self._tested)
        except ValueError:  # there is no table, or none of this back end
            return None
        rows = (table.row(config, nearest) for nearest in (views, Views(), None) for table in tables)
        return next(filter(None, rows), None)
