"""Choice of the sub-network for a budget, by accuracies and times on one back end of this machine."""

from __future__ import annotations

import math
from functools import cached_property

from mutualnet3d.deploy.backend_choice import runnable_front
from mutualnet3d.deploy.backends import Backend
from mutualnet3d.deploy.measured_table import MeasuredTable
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.results.budget_query import best_row, checked_bounds, rows_nearest
from mutualnet3d.results.cascade import Cascade
from mutualnet3d.results.pareto import front_of_rows
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.shapes import SubnetConfig


class SubnetChoice:
    """Sub-networks of a back end, with their query table.

    Args:
        networks: store of the sub-networks.
        backend: back end, which does not change.
    """

    def __init__(self, networks: NetworkStore, backend: Backend):
        self._networks, self._backend = networks, backend
        self._measured: MeasuredTable | None = None

    @property
    def table(self) -> QueryTable:
        """Query table of the back end with rows of all views, and milliseconds of this machine once measured.

        The rows are the back end's own if the test run's table has some. Otherwise they are the test run's, since a
        back end computes the same but for rounding, or, in bfloat16, nearly the same.

        Raises:
            ValueError: there is no table, or it has no rows of a back end whose accuracy differs.
        """
        return self._tested if self._measured is None else self._measured.table

    def rows_of(self, views: Views | None) -> tuple[Row, ...]:
        """Return the rows for the choice of a sub-network for videos of some views.

        Their accuracy is with these views if known, else with one view, else with the test run's views; `row.views`
        says which.

        Args:
            views: views of the videos; None: those of each row, all of which are returned.

        Raises:
            ValueError: there is no table, see `table`.
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
            ValueError: there is no table, see `table`.
        """
        return runnable_front(self._networks, self._tested)

    def runnable(self, config: SubnetConfig | str) -> SubnetConfig:
        """Return a sub-network, given as such or by its key, if it can be run.

        Args:
            config: sub-network, or its key.

        Returns:
            The sub-network.

        Raises:
            ValueError: the sub-network cannot be run, or the text is no key.
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
        """Return the most accurate sub-network within the budget, `config`, or the most expensive; its views; its row.

        Args:
            gflops: largest cost of a video, 1e9 multiply-adds; None: no bound.
            milliseconds: largest time of the network for a video, measured when first needed; None: no bound.
            config: sub-network, or its key.
            views: views of a video; the row is of as many if the table has such, see `rows_of`. None: chosen by the
                budget with the sub-network, and one view without a budget.

        Raises:
            ValueError: nothing fits the budget, the sub-network is unknown, or both a budget and a sub-network are
                given.
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
            mean_gflops: largest mean cost of a video, 1e9 multiply-adds; None: no bound.
            mean_milliseconds: largest mean time of the networks for a video, measured when first needed; None: no
                bound.

        Raises:
            ValueError: there is no budget, no cascade fits, or the table is missing or has no cascade of this back end.
        """
        checked_bounds(mean_gflops, mean_milliseconds, "mean_")
        if not self._tested.cascades:
            raise ValueError(
                f"{self._networks.path}: its query table has no cascades of {self._backend.name}, which a mean budget "
                "needs; a test (`mutualnet3d test`) with TEST.CASCADES True makes them, on 100 videos or more"
            )
        if mean_milliseconds is not None:
            self.measure(views=Views())
            assert self._measured is not None
            self._measured.measure_passes(stage.key for item in self._tested.cascades for stage in item.stages)
        return self.table.best_cascade(mean_gflops, mean_milliseconds)

    def front_of(self, cost: str, views: Views | None) -> tuple[Row, ...]:
        """Return the Pareto front over the cost of a video, the cheapest first.

        Args:
            cost: name of the cost, "gflops" or "milliseconds".
            views: views of the videos; None: those of each row.

        Raises:
            ValueError: the cost is another one, or there is no table, see `table`.
        """
        return front_of_rows(self.rows_of(views), cost, views)

    def measure(self, again: bool = False, views: Views | None = None, budget: float = math.inf) -> QueryTable:
        """Return the table of the sub-networks on the fronts, with milliseconds of this machine.

        They are measured once: of a clip, and of videos of several views on the front over milliseconds.

        Args:
            again: True to measure once more, for a machine that has changed.
            views: views of the videos; None: those of each row.
            budget: largest milliseconds of a video; passes far above it are not measured.

        Raises:
            ValueError: there is no table, see `table`.
        """
        if self._measured is None or again:
            self._measured = MeasuredTable(self._networks, self._backend, self._tested, self.front())
        if views is None or views.count > 1:
            self._measured.measure_videos(self.rows_of(views), views, budget)
        return self._measured.table

    def _row(self, config: SubnetConfig, views: Views) -> Row | None:
        """Return the row of a sub-network with some views, or else with one, or else with the test's; None without any.

        A sub-network that is on no front was not measured: its milliseconds are the test's.
        """
        try:
            tables = (self.table, self._tested)
        except ValueError:  # there is no table, or none of this back end
            return None
        rows = (table.row(config, nearest) for nearest in (views, Views(), None) for table in tables)
        return next(filter(None, rows), None)
