"""Query table: cost and accuracy of every sub-network. A budget goes in, the best row comes out.

table = QueryTable.load("output/demo/query_table.json")
table.best(gflops=0.01).config
table.select(backend="openvino").best(milliseconds=5)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import Any

from mutualnet3d.files.atomic import write_text
from mutualnet3d.results import table_text
from mutualnet3d.results.pareto import front_of_rows
from mutualnet3d.results.row import COSTS, Row, Views
from mutualnet3d.results.table_context import (
    backend_facts,
    check_facts,
    default_key,
    key_text,
    keys_text,
    with_facts,
)
from mutualnet3d.results.table_file import read_table, write_table
from mutualnet3d.shapes import SubnetConfig

__all__ = ["COSTS", "QueryTable", "Row", "Views", "checked_bounds"]


@dataclass(frozen=True)
class QueryTable:
    """Rows, the most expensive first, and what they have in common.

    A row's key is its sub-network, back end and views. Queries are answered from the *default rows*, those of the test
    run's own back end and views; `select` gives the table of others.

    Args:
        rows: rows, at least one, each of another key.
        context: facts of the test and of each back end: see `table_context`.

    Raises:
        ValueError: there is no row, a key has two, or there are no default rows.
    """

    rows: tuple[Row, ...]
    context: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("a query table needs at least one row")
        (key, number), *_ = Counter(row.key for row in self.rows).most_common(1)
        if number > 1:
            config, backend, views = key
            raise ValueError(
                "a query table has one row of each sub-network, back end and number of views; "
                f"{config} on {key_text(backend, views)} has {number}"
            )
        check_facts(self.context)
        default = default_key(self.rows, self.context)

        def place(row: Row) -> tuple[Any, ...]:
            return -row.gflops, str(row.config), (row.backend, row.views) != default, row.backend, row.views

        object.__setattr__(self, "rows", tuple(sorted(self.rows, key=place)))

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
    def _default_key(self) -> tuple[str, Views]:
        return default_key(self.rows, self.context)

    def row(self, config: SubnetConfig) -> Row | None:
        """Return the default row of a sub-network; None where there is none."""
        return next((row for row in self.default_rows if row.config == config), None)

    def select(self, backend: str | None = None, views: Views | str | None = None) -> QueryTable:
        """Return the table of one back end and number of views, which its queries are answered from.

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
        facts = {key[0]: dict(backend_facts(self.context, key[0]))}
        return QueryTable(rows, {**self.context, "backend": key[0], "views": str(key[1]), "backends": facts})

    def with_rows(self, rows: Sequence[Row], **facts: Any) -> QueryTable:
        """Return the table with rows of one back end added, in place of those of the same keys.

        Args:
            facts: facts of the back end's measurements, in place of those of the same names.
        """
        (backend,) = {row.backend for row in rows}
        by_key = {row.key: row for row in (*self.rows, *rows)}
        context = {**self.context, "backend": self.backend, "views": str(self.views)}
        return QueryTable(tuple(by_key.values()), with_facts(context, backend, facts))

    def with_milliseconds(self, milliseconds: Mapping[SubnetConfig, float], **facts: Any) -> QueryTable:
        """Return the table with other times of the default rows' back end, whatever the number of views.

        Args:
            milliseconds: time of a forward pass of every one of the back end's sub-networks; others are ignored.
            facts: conditions of the times, in place of those of the same names.

        Raises:
            ValueError: a sub-network has no time.
        """
        rows = [row for row in self.rows if row.backend == self.backend]
        missing = dict.fromkeys(str(row.config) for row in rows if row.config not in milliseconds)
        if missing:
            raise ValueError(f"no milliseconds of {', '.join(missing)}; every row of the table needs some")
        return self.with_rows([replace(row, milliseconds=milliseconds[row.config]) for row in rows], **facts)

    # ---- queries -----------------------------------------------------------------------------------------------------

    def best(self, gflops: float | None = None, milliseconds: float | None = None) -> Row:
        """Return the most accurate default row within all given bounds, both of one clip.

        Of equals the cheaper one is taken, in the given bounds first, then in the other cost.

        Raises:
            ValueError: no bound is given, one is not above 0, or nothing is within them; it names the cheapest rows.
        """
        bounds = checked_bounds(gflops, milliseconds)
        rows = self.default_rows
        within = [row for row in rows if all(getattr(row, cost) <= bound for cost, bound in bounds.items())]
        if not within:
            raise ValueError(_nothing_within(rows, bounds))
        costs = [*bounds, *(cost for cost in COSTS if cost not in bounds)]
        return max(within, key=lambda row: (row.top1, *(-getattr(row, cost) for cost in costs)))

    def pareto(self, cost: str = "gflops") -> tuple[Row, ...]:
        """Return the default rows that no other beats, the cheapest first: none is at least as accurate at less `cost`.

        See `front_of_rows` for equals: `best` under a bound of `cost` alone always gives a row of this front, and every
        row of it can be had so.

        Args:
            cost: "gflops" or "milliseconds".
        """
        return front_of_rows(self.default_rows, cost)

    def fronts(self) -> dict[str, frozenset[SubnetConfig]]:
        """Return the sub-networks on the Pareto front over each cost, "gflops" and "milliseconds"."""
        return {cost: frozenset(row.config for row in self.pareto(cost)) for cost in COSTS}

    def front_configs(self) -> tuple[SubnetConfig, ...]:
        """Return the sub-networks on the Pareto front over any cost, the most expensive first."""
        on_front = {config for front in self.fronts().values() for config in front}
        return tuple(row.config for row in self.default_rows if row.config in on_front)

    # ---- files and text ----------------------------------------------------------------------------------------------

    def save(self, path: str) -> None:
        """Write the table as JSON, atomically."""
        write_table(path, self.rows, self.context)

    @classmethod
    def load(cls, path: str) -> QueryTable:
        """Read a table that `save` wrote, in this release or an earlier one.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no query table, a later release's, or one with a wrong row: file, row (the first is 1) and
                field are named.
        """
        rows, context = read_table(path)
        try:
            return cls(tuple(rows), context)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save_csv(self, path: str) -> None:
        """Write the table as CSV, atomically; see `table_text.table_to_csv`."""
        write_text(path, table_text.table_to_csv(self.rows, self.context))

    def save_markdown(self, path: str) -> None:
        """Write `to_markdown` to a file, atomically."""
        write_text(path, self.to_markdown() + "\n")

    def to_text(self) -> str:
        """Return the table for a terminal; see `table_text.table_to_text`."""
        return table_text.table_to_text(self.rows)

    def to_markdown(self) -> str:
        """Return the table for a README, with its legend; see `table_text.table_to_markdown`."""
        return table_text.table_to_markdown(self.rows, self.context)

    def legend(self) -> str:
        """Return some lines about marks, costs and the test; see `table_text.legend`."""
        return table_text.legend(self.rows, self.context)


def checked_bounds(gflops: float | None, milliseconds: float | None) -> dict[str, float]:
    """Return the bounds that are given, cost -> bound.

    Raises:
        ValueError: there is none, or one is no number above 0.
    """
    bounds = {"gflops": gflops, "milliseconds": milliseconds}
    given = {cost: bound for cost, bound in bounds.items() if bound is not None}
    if not given:
        raise ValueError("a query needs a budget: gflops=..., milliseconds=... or both")
    for cost, bound in given.items():
        if isinstance(bound, bool) or not isinstance(bound, Real) or not bound > 0:  # NaN is not above 0 either
            raise ValueError(f"{cost} is {bound!r}; a budget must be a number above 0")
        try:
            given[cost] = float(bound)
        except OverflowError as error:
            raise ValueError(f"{cost} is beyond any float; a budget must be a number above 0, or inf") from error
    return given


def _nothing_within(rows: Sequence[Row], bounds: Mapping[str, float]) -> str:
    budget = " and ".join(f"{cost}={bound:g}" for cost, bound in bounds.items())
    cheapest = {cost: min(rows, key=lambda row: getattr(row, cost)) for cost in bounds}
    if any(getattr(row, cost) > bounds[cost] for cost, row in cheapest.items()):
        costs = [
            f"the cheapest in {cost} is {row.config} with {getattr(row, cost):.4g}" for cost, row in cheapest.items()
        ]
        return f"no sub-network fits {budget}; {'; '.join(costs)}"
    costs = [
        f"the cheapest in {cost} is {row.config} with gflops {row.gflops:.4g} and milliseconds {row.milliseconds:.4g}"
        for cost, row in cheapest.items()
    ]
    return f"no sub-network fits {budget} together, though each alone can be met; {'; '.join(costs)}"
