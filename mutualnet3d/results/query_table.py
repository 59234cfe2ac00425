"""Query table: cost and accuracy of every sub-network, with each number of views; it gives the best row of a budget.

table = QueryTable.load("output/demo/query_table.json")
row = table.best(gflops=0.01)  # of a video
row.config, row.views
table.select(backend="openvino", views="1 x 1").best(milliseconds=5)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mutualnet3d.results import table_text
from mutualnet3d.results.budget_query import best_row, checked_bounds, rows_nearest
from mutualnet3d.results.cascade import Cascade, CostSpread, best_cascade
from mutualnet3d.results.pareto import front_of_rows
from mutualnet3d.results.row import COSTS, Row, Views
from mutualnet3d.results.row_times import Pass, timed_rows
from mutualnet3d.results.table_cascades import check_cascades, kept_cascades, spread_of
from mutualnet3d.results.table_context import (
    backend_facts,
    check_facts,
    default_key,
    key_text,
    keys_text,
    with_facts,
)
from mutualnet3d.results.table_file import read_table, write_table
from mutualnet3d.results.written_table import WrittenTable
from mutualnet3d.shapes import SubnetConfig

__all__ = ["COSTS", "QueryTable", "Row", "Views", "checked_bounds"]


@dataclass(frozen=True)
class QueryTable(WrittenTable):
    """Rows, the most expensive first, and their common facts.

    A row's key is its sub-network, back end and views. The *default rows* are those of the test run's own back end and
    views. Queries have bounds for a video, and are answered from all rows of that back end, whatever their views.
    `select` returns the table of another back end or of one number of views.

    Args:
        rows: rows, at least one, of different keys.
        context: facts of the test and of each back end, see `table_context`.
        cascades: cascades of rows of the test run's back end, the cheapest first; None: no cascades were fitted.

    Raises:
        ValueError: no rows, two rows of the same key, no default rows, or a cascade's stage without a row.

    Examples:
        After `make demo`:

        >>> table = m3.QueryTable.load("output/demo/query_table.json")
        >>> row = table.best(gflops=0.006)
        >>> print(row.config, row.gflops_of_video <= 0.006)
        w...-s...-t... True
    """

    rows: tuple[Row, ...]
    context: Mapping[str, Any] = field(default_factory=dict)
    cascades: tuple[Cascade, ...] | None = None

    def __post_init__(self) -> None:
        check_facts(self.context)
        object.__setattr__(self, "rows", _in_order(self.rows, self.context))
        check_cascades(self.cascades or (), self.rows, self.backend)

    def __repr__(self) -> str:
        """Return a line with the number of rows, and the range of costs and accuracy of the `query_rows`."""
        return table_text.summary(self.rows, self.query_rows, self.context)

    @property
    def backend(self) -> str:
        """Back end of the default rows."""
        return self._default_key[0]

    @property
    def views(self) -> Views:
        """Views of the default rows."""
        return self._default_key[1]

    @property
    def facts(self) -> Mapping[str, Any]:
        """Conditions of the default rows' milliseconds, such as device, threads and batch_size, see `table_context`."""
        return backend_facts(self.context, self.backend)

    @cached_property
    def default_rows(self) -> tuple[Row, ...]:
        """Rows of the test run's back end and views, one of each sub-network, the most expensive first."""
        return tuple(row for row in self.rows if (row.backend, row.views) == self._default_key)

    @cached_property
    def query_rows(self) -> tuple[Row, ...]:
        """Rows of the test run's back end, from which queries are answered, those of the most expensive clips first."""
        return tuple(row for row in self.rows if row.backend == self.backend)

    @cached_property
    def _default_key(self) -> tuple[str, Views]:
        return default_key(self.rows, self.context)

    def row(self, config: SubnetConfig, views: Views | None = None) -> Row | None:
        """Return the row of a sub-network on the test run's back end; None without any.

        Args:
            config: sub-network.
            views: views of the row; None: those of the default rows.
        """
        key = config, self.backend, self.views if views is None else views
        return next((row for row in self.rows if row.key == key), None)

    def select(self, backend: str | None = None, views: Views | str | None = None) -> QueryTable:
        """Return the table of one back end and number of views.

        Args:
            backend: name of the back end; None: that of the default rows.
            views: views of a video, or their key, such as "10 x 3"; None: those of the default rows.

        Raises:
            ValueError: there are no such rows; the message names the back ends and views of the rows.
        """
        views = Views.parse(views) if isinstance(views, str) else views
        key = self.backend if backend is None else backend, self.views if views is None else views
        rows = tuple(row for row in self.rows if (row.backend, row.views) == key)
        if not rows:
            raise ValueError(f"the query table has no rows of {key_text(*key)}; {keys_text(self.rows)}")
        return _part(self, rows, *key)

    def of_backend(self, backend: str) -> QueryTable:
        """Return the table of a back end with all its views, and those of the test run's views as default rows.

        Args:
            backend: name of the back end.

        Raises:
            ValueError: there are no rows of that back end and these views; the message names those of the rows.
        """
        self.select(backend=backend)
        return _part(self, [row for row in self.rows if row.backend == backend], backend, self.views)

    def with_rows(self, rows: Sequence[Row], **facts: Any) -> QueryTable:
        """Return the table with rows of one back end added, in place of those of the same keys.

        Args:
            rows: rows of one back end.
            **facts: facts of the back end's measurements, in place of those of the same names.
        """
        (backend,) = {row.backend for row in rows}
        by_key = {row.key: row for row in (*self.rows, *rows)}
        context = {**self.context, "backend": self.backend, "views": str(self.views)}
        return QueryTable(tuple(by_key.values()), with_facts(context, backend, facts), self.cascades)

    def with_milliseconds(
        self,
        milliseconds: Mapping[SubnetConfig, float],
        unsettled: Collection[SubnetConfig | Pass] = (),
        passes: Mapping[Pass, float] | None = None,
        **facts: Any,
    ) -> QueryTable:
        """Return the table with other times of the default rows' back end, whatever the number of views.

        Args:
            milliseconds: times of a forward pass of the back end's sub-networks; other sub-networks are ignored.
            unsettled: sub-networks and passes whose times did not settle.
            passes: times of passes of several clips, see `timed_rows`.
            **facts: conditions of the times, in place of those of the same names.

        Raises:
            ValueError: a sub-network has no time.
        """
        missing = dict.fromkeys(str(row.config) for row in self.query_rows if row.config not in milliseconds)
        if missing:
            raise ValueError(f"no milliseconds of {', '.join(missing)}; every row of the table needs some")
        return self.with_rows(timed_rows(self.query_rows, milliseconds, passes or {}, unsettled), **facts)

    def best(self, gflops: float | None = None, milliseconds: float | None = None) -> Row:
        """Return the most accurate of the `query_rows` within all given bounds of a video, all views of it included.

        Order and errors are those of `budget_query.best_row`.
        """
        return best_row(self.query_rows, gflops, milliseconds)

    def pareto(self, cost: str = "gflops") -> tuple[Row, ...]:
        """Return the `query_rows` that no other row beats over a cost of a video, the cheapest first.

        No other row is at least as accurate at less cost. `front_of_rows` describes the choice among equals: `best`
        under a bound of `cost` alone always gives a row of this front, and every row of the front under some bound.

        Args:
            cost: "gflops" or "milliseconds".
        """
        return front_of_rows(self.query_rows, cost)

    def fronts(self) -> dict[str, frozenset[SubnetConfig]]:
        """Return the sub-networks on the Pareto front over each cost, "gflops" and "milliseconds"."""
        return {cost: frozenset(row.config for row in self.pareto(cost)) for cost in COSTS}

    def spread(self, cascade: Cascade, cost: str = "gflops") -> CostSpread:
        """Return mean, 95th percentile and worst of a cascade's "gflops" or "milliseconds" of a video."""
        return spread_of(cascade, self.rows, self.backend, cost)

    def best_cascade(self, mean_gflops: float | None = None, mean_milliseconds: float | None = None) -> Cascade:
        """Return the most accurate cascade within bounds of the mean cost of a video, see `cascade.best_cascade`."""
        bounds = checked_bounds(mean_gflops, mean_milliseconds, "mean_")
        return best_cascade(self.cascades or (), bounds, lambda cascade, cost: self.spread(cascade, cost).mean)

    def front_configs(self) -> tuple[SubnetConfig, ...]:
        """Return the sub-networks on a Pareto front, and those of the cascades, the most expensive first.

        The fronts are over either cost, of all rows, of those of one view, and of those of the test's views.
        """
        on_front = _configs_on_fronts(self)
        return tuple(row.config for row in self.default_rows if row.config in on_front)

    def save(self, path: str) -> None:
        """Write the table as JSON, atomically."""
        write_table(path, self.rows, self.context, _with_spreads(self))

    @classmethod
    def load(cls, path: str) -> QueryTable:
        """Read a table that `save` of this or an earlier release wrote.

        Args:
            path: path of the file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: no query table, a later release's, or an invalid row; file, row (from 1) and field are named.
        """
        rows, context, cascades = read_table(path)
        try:
            return cls(tuple(rows), context, cascades)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _configs_on_fronts(table: QueryTable) -> set[SubnetConfig]:
    single_views = rows_nearest(table.rows, table.default_rows, Views())
    groups = (table.query_rows, single_views, table.default_rows)
    on_front = {row.config for rows in groups for cost in COSTS for row in front_of_rows(rows, cost)}
    return on_front.union(stage.config for cascade in table.cascades or () for stage in cascade.stages)


def _in_order(rows: Sequence[Row], context: Mapping[str, Any]) -> tuple[Row, ...]:
    """Return the rows, the most expensive sub-network first, and its default row before its others.

    Raises:
        ValueError: there is no row, two rows have the same key, or there are no default rows.
    """
    if not rows:
        raise ValueError("a query table needs at least one row")
    (key, number), *_ = Counter(row.key for row in rows).most_common(1)
    if number > 1:
        config, backend, views = key
        raise ValueError(
            "a query table has one row of each sub-network, back end and number of views; "
            f"{config} on {key_text(backend, views)} has {number}"
        )
    default = default_key(rows, context)

    def place(row: Row) -> tuple[Any, ...]:
        return -row.gflops, str(row.config), (row.backend, row.views) != default, row.backend, row.views

    return tuple(sorted(rows, key=place))


def _part(table: QueryTable, rows: Sequence[Row], backend: str, views: Views) -> QueryTable:
    """Return the table of some rows of a back end, with those of `views` as default rows."""
    facts = {backend: dict(backend_facts(table.context, backend))}
    context = {**table.context, "backend": backend, "views": str(views), "backends": facts}
    return QueryTable(tuple(rows), context, kept_cascades(table.cascades, table.rows, table.backend, rows, backend))


def _with_spreads(table: QueryTable) -> list[tuple[Cascade, CostSpread]] | None:
    """Return the table's cascades with their GFLOPs; None if no cascades were fitted."""
    return None if table.cascades is None else [(cascade, table.spread(cascade)) for cascade in table.cascades]
