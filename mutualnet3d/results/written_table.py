"""Query table written for people and spreadsheets: rows and cascades as text, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mutualnet3d.files.atomic import write_text
from mutualnet3d.results import table_text
from mutualnet3d.results.cascade import Cascade
from mutualnet3d.results.cascade_text import CascadeCosts, cascades_to_markdown, cascades_to_text
from mutualnet3d.results.row import Row
from mutualnet3d.results.table_cascades import spread_of


class WrittenTable:
    """Text of a query table; base of `QueryTable`, which has these attributes."""

    rows: tuple[Row, ...]
    context: Mapping[str, Any]
    cascades: tuple[Cascade, ...] | None

    @property
    def backend(self) -> str:
        """Back end of the default rows."""
        raise NotImplementedError

    def save_csv(self, path: str) -> None:
        """Write the rows as CSV, atomically, see `table_text.table_to_csv`."""
        write_text(path, table_text.table_to_csv(self.rows, self.context))

    def save_markdown(self, path: str) -> None:
        """Write the result of `to_markdown` to a file, atomically."""
        write_text(path, self.to_markdown() + "\n")

    def to_text(self) -> str:
        """Return rows and cascades for a terminal, see `table_text.table_to_text`."""
        return "\n".join(filter(None, (table_text.table_to_text(self.rows), self.cascades_to_text())))

    def cascades_to_text(self) -> str:
        """Return the cascades for a terminal; "" without any."""
        return cascades_to_text(self._cascade_costs(), self.context)

    def to_markdown(self) -> str:
        """Return rows and cascades for a README, with the legend, see `table_text.table_to_markdown`."""
        cascades = cascades_to_markdown(self._cascade_costs(), self.context)
        return "\n\n".join(filter(None, (table_text.table_to_markdown(self.rows, self.context), cascades)))

    def legend(self) -> str:
        """Return the lines about marks, costs and the test, see `table_text.legend`."""
        return table_text.legend(self.rows, self.context)

    def _cascade_costs(self) -> list[CascadeCosts]:
        def spreads(cascade: Cascade) -> CascadeCosts:
            gflops, milliseconds = (
                spread_of(cascade, self.rows, self.backend, cost) for cost in ("gflops", "milliseconds")
            )
            return cascade, gflops, milliseconds

        return [spreads(cascade) for cascade in self.cascades or ()]
