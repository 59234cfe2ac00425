"""Accuracies of several query tables side by side, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from mutualnet3d.log import printable
from mutualnet3d.results.pareto import front_of_rows
from mutualnet3d.results.query_table import QueryTable

_LEGEND = "{} in % beside GFLOPs per clip; `*`: on the front of its column, no cheaper row is as good."


def comparison_text(tables: Mapping[str, QueryTable]) -> str:
    """Return the accuracies of the tables' rows, with a line per sub-network and a column per table.

    The accuracy is top-1, or mAP where videos have several labels.

    Lines are sorted by GFLOPs, the most expensive first. A table without a sub-network has a hyphen there.

    Args:
        tables: query tables by the titles of their columns, one or more.
    """
    by_column = {title: {str(row.config): row for row in table.default_rows} for title, table in tables.items()}
    fronts = {
        title: {str(row.config) for row in front_of_rows(table.default_rows, "gflops")}
        for title, table in tables.items()
    }
    gflops = {key: row.gflops for rows in by_column.values() for key, row in rows.items()}
    measures = dict.fromkeys(row.measure for rows in by_column.values() for row in rows.values())
    titles = {title: printable(title) for title in tables}
    widths = {title: max(len(text), 7) for title, text in titles.items()}
    lines = [f"{'sub-network':<16} {'GFLOPs':>9}" + "".join(f"  {titles[title]:>{widths[title]}} " for title in tables)]
    for key in sorted(gflops, key=lambda key: (-gflops[key], key)):
        cells = []
        for title, rows in by_column.items():
            value = f"{rows[key].accuracy:.2f}" if key in rows else "-"
            cells.append(f"  {value:>{widths[title]}}{'*' if key in fronts[title] else ' '}")
        lines.append((f"{key:<16} {gflops[key]:>9.4f}" + "".join(cells)).rstrip())
    return "\n".join([lines[0].rstrip(), *lines[1:], _LEGEND.format(" or ".join(measures))])
