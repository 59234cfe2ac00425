"""Choice of the sub-network for a budget, by accuracies and times on one back end of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch

from mutualnet3d.deploy.backend_choice import runnable_front
from mutualnet3d.deploy.backends import Backend
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.log import logger
from mutualnet3d.results.budget_query import rows_nearest
from mutualnet3d.results.cascade import Cascade
from mutualnet3d.results.latency import device_name, measure_latencies
from mutualnet3d.results.query_table import QueryTable, Row, Views, checked_bounds
from mutualnet3d.results.table_cascades import kept_cascades
from mutualnet3d.shapes import SubnetConfig

# Timed passes of each sub-network when times are measured: as many as fit into so many seconds, within these bounds.
_MEASURING_SECONDS, _MIN_ROUNDS, _MAX_ROUNDS = 3.0, 3, 25


class SubnetChoice:
    """Sub-networks that one back end runs, and the query table of these.

    Args:
        networks: store of the sub-networks.
        backend: the back end, which does not change.
    """

    def __init__(self, networks: NetworkStore, backend: Backend):
        self._networks, self._backend = networks, backend
        self._measured: QueryTable | None = None
        self._tables: dict[Views, QueryTable] = {}

    @property
    def table(self) -> QueryTable:
        """Query table of the back end, one row of each sub-network, for videos of one view; with milliseconds of this
        machine once measured.

        The rows are the back end's own, where the test run's table has some. Otherwise they are the test run's: a back
        end computes the same but for rounding, or, in bfloat16, nearly.

        Raises:
            ValueError: there is no table; or it has no rows of a back end whose accuracy is another one.
        """
        return self.table_of(Views())

    def table_of(self, views: Views) -> QueryTable:
        """Return the table for videos of so many views: its rows have their accuracy where that is known, else that of
        one view, else that of the test run's views; `table.views` says which.

        Raises:
            ValueError: see `table`.
        """
        if views not in self._tables:
            whole = self._tested if self._measured is None else self._measured
            self._tables[views] = whole.select(views=rows_nearest(whole.rows, whole.default_rows, views)[0].views)
        return self._tables[views]

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
        views: Views = Views(),  # noqa: B008 - it is frozen
    ) -> tuple[SubnetConfig, Row | None]:
        """Return the most accurate sub-network within the budget, `config`, or the most expensive; and its row.

        Args:
            gflops: 1e9 multiply-adds that a clip may take.
            milliseconds: time that the network may take for a clip; measured when first needed.
            config: sub-network, or its key.
            views: views that a video will have; the row is of as many, where the table has such: see `table_of`.

        Raises:
            ValueError: nothing fits the budget; an unknown sub-network; a budget and a sub-network.
        """
        if config is not None:
            if gflops is not None or milliseconds is not None:
                raise ValueError("give a budget (gflops, milliseconds) or a sub-network (config), not both")
            given = self.runnable(config)
            return given, self._row(given, views)
        if milliseconds is not None:
            checked_bounds(gflops, milliseconds)  # before anything is measured
            self.measure()
        elif gflops is None:
            largest = self._networks.configs[0]
            return largest, self._row(largest, views)
        row = self.table_of(views).best(gflops=gflops, milliseconds=milliseconds)
        return row.config, row

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
            self.measure()
        table = self._measured or self._tested
        return table.best_cascade(mean_gflops, mean_milliseconds)

    def measure(self, again: bool = False) -> QueryTable:
        """Return the table of the sub-networks on the fronts, with milliseconds of this machine, measured once.

        Args:
            again: True to measure once more, as the machine has changed.

        Raises:
            ValueError: there is no table: see `table`.
        """
        if self._measured is None or again:
            self._measured = self._measure(self._tested, self.front())
            self._tables.clear()
        return self.table

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
        rows = tuple(
            replace(
                row,
                backend=backend.name,
                milliseconds=latencies.milliseconds[row.config],
                settled=row.config not in latencies.unsettled,
            )
            for row in table.rows
            if row.config in latencies.milliseconds
        )
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

    def _row(self, config: SubnetConfig, views: Views) -> Row | None:
        """Return the row of a sub-network with so many views, or else of one, or else of the test's; None: there is
        none. One that is on no front was not measured: its milliseconds are the test's."""
        try:
            tables = (self._measured or self._tested, self._tested)
        except ValueError:  # there is no table, or none of this back end
            return None
        rows = (table.row(config, nearest) for nearest in (views, Views(), None) for table in tables)
        return next(filter(None, rows), None)
