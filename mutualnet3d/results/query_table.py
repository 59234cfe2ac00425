"""Query table: cost and accuracy of every sub-network, with each number of views. A budget goes in, the best row comes
out.

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
    """Rows, the most expensive first, and what they have in common.

    A row's key is its sub-network, back end and views. The *default rows* are those of the test run's own back end and
    views. Queries have bounds of one video, and are answered from all rows of that back end, whatever their views.
    `select` gives the table of others, or of one number of views.

    Args:
        rows: rows, at least one, each of another key.
        context: facts of the test and of each back end: see `table_context`.
        cascades: cascades of rows of the test run's back end, the cheapest first; None: none were made.

    Raises:
        ValueError: there is no row, a key has two, there are no default rows, or a cascade's stage has no row.
    """

    rows: tuple[Row, ...]
    context: Mapping[str, Any] = field(default_factory=dict)
    cascades: tuple[Cascade, ...] | None = None

    def __post_init__(self) -> None:
        check_facts(self.context)
        object.__setattr__(self, "rows", _in_order(self.rows, self.context))
        check_cascades(self.cascades or (), self.rows, self.backend)

    def __repr__(self) -> str:
        """Return one line: number of rows, and the range of costs and accuracy of those that queries are answered
        from.
        """
        return table_text.summary(self.rows, self.query_rows, self.context)

    # ---- rows --------------------------------------------------------------------------------------------------------

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
        """Conditions of the default rows' milliseconds: device, threads, batch_size... See `table_context`."""
        return backend_facts(self.context, self.backend)

    @cached_property
    def default_rows(self) -> tuple[Row, ...]:
        """Rows of the test run's back end and views, one of each sub-network, the most expensive first."""
        return tuple(row for row in self.rows if (row.backend, row.views) == self._default_key)

    @cached_property
    def query_rows(self) -> tuple[Row, ...]:
        """Rows of the test run's back end, which queries are answered from; of the most expensive clips first."""
        return tuple(row for row in self.rows if row.backend == self.backend)

    @cached_property
    def _default_key(self) -> tuple[str, Views]:
        return default_key(self.rows, self.context)

    def row(self, config: SubnetConfig, views: Views | None = None) -> Row | None:
        """Return the row of a sub-network on the test run's back end; None where there is none.

        Args:
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
            ValueError: there are no such rows; it names what there is.
        """
        views = Views.parse(views) if isinstance(views, str) else views
        key = self.backend if backend is None else backend, self.views if views is None else views
        rows = tuple(row for row in self.rows if (row.backend, row.views) == key)
        if not rows:
            raise ValueError(f"the query table has no rows of {key_text(*key)}; {keys_text(self.rows)}")
        return _part(self, rows, *key)

    def of_backend(self, backend: str) -> QueryTable:
        """Return the table of one back end, with all its views; its default rows are those of the test run's views.

        Raises:
            ValueError: there are no rows of that back end and these views; it names what there is.
        """
        self.select(backend=backend)
        return _part(self, [row for row in self.rows if row.backend == backend], backend, self.views)

    def with_rows(self, rows: Sequence[Row], **facts: Any) -> QueryTable:
        """Return the table with rows of one back end added, in place of those of the same keys.

        Args:
            facts: facts of the back end's measurements, in place of those of the same names.
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
            milliseconds: time of a forward pass of every one of the back end's sub-networks; others are ignored.
            unsettled, passes: see `timed_rows`.
            facts: conditions of the times, in place of those of the same names.

        Raises:
            ValueError: a sub-network has no time.
        """
        missing = dict.fromkeys(str(row.config) for row in self.query_rows if row.config not in milliseconds)
        if missing:
            raise ValueError(f"no milliseconds of {', '.join(missing)}; every row of the table needs some")
        return self.with_rows(timed_rows(self.query_rows, milliseconds, passes or {}, unsettled), **facts)

    # ---- queries -----------------------------------------------------------------------------------------------------

    def best(self, gflops: float | None = None, milliseconds: float | None = None) -> Row:
        """Return the most accurate of the `query_rows` within all given bounds of a video, all views of `row.views`
        included. Order and errors are those of `budget_query.best_row`.
        """
        return best_row(self.query_rows, gflops, milliseconds)

    def pareto(self, cost: str = "gflops") -> tuple[Row, ...]:
        """Return the `query_rows` that no other beats: none is at least as accurate at less `cost` of a video. The
        cheapest comes first.

        See `front_of_rows` for equals: `best` under a bound of `cost` alone always gives a row of this front, and every
        row of it can be had so.

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
        """Return the most accurate cascade whose mean cost of a video is within a bound; see `cascade.best_cascade`."""
        bounds = checked_bounds(mean_gflops, mean_milliseconds, "mean_")
        return best_cascade(self.cascades or (), bounds, lambda cascade, cost: self.spread(cascade, cost).mean)

    def front_configs(self) -> tuple[SubnetConfig, ...]:
        """Return the sub-networks on the Pareto front over any cost, whatever the views, or with one view, or with as
        many as in the test, and those of the cascades; the most expensive first.
        """
        single_views = rows_nearest(self.rows, self.default_rows, Views())
        groups = (self.query_rows, single_views, self.default_rows)
        on_front = {row.config for rows in groups for cost in COSTS for row in front_of_rows(rows, cost)}
        on_front.update(stage.config for cascade in self.cascades or () for stage in cascade.stages)
        return tuple(row.config for row in self.default_rows if row.config in on_front)

    # ---- files and text ----------------------------------------------------------------------------------------------

    def save(self, path: str) -> None:
        """Write the table as JSON, atomically."""
        write_table(path, self.rows, self.context, _with_spreads(self))

    @classmethod
    def load(cls, path: str) -> QueryTable:
        """Read a table that `save` wrote, in this release or an earlier one.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no query table, a later release's, or one with a wrong row: file, row (the first is 1) and
                field are named.
        """
        rows, context, cascades = read_table(path)
        try:
            return cls(tuple(rows), context, cascades)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _in_order(rows: Sequence[Row], context: Mapping[str, Any]) -> tuple[Row, ...]:
    """Return the rows, the most expensive first, and of each sub-network the default row first.

    Raises:
        ValueError: there is no row, a key has two, or there are no default rows.
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
    """Return the table of some of a table's rows, all of one back end; its default rows are those of `views`."""
    facts = {backend: dict(backend_facts(table.context, backend))}
    context = {**table.context, "backend": backend, "views": str(views), "backends": facts}
    return QueryTable(tuple(rows), context, kept_cascades(table.cascades, table.rows, table.backend, rows, backend))


def _with_spreads(table: QueryTable) -> list[tuple[Cascade, CostSpread]] | None:
    """Return the table's cascades, each with its GFLOPs; None where none were made."""
    return None if table.cascades is None else [(cascade, table.spread(cascade)) for cascade in table.cascades]
