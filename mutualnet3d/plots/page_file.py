"""File of a plotly figure: an HTML page that needs no network."""

from __future__ import annotations

import html
from typing import Any

from mutualnet3d.files.atomic import write_text

# plotly 7 has a button that sends the data to its makers' server; the other two select points, which does nothing here.
_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["sendChartToCloud", "select2d", "lasso2d"]}


def save_page(figure: Any, path: str, title: str, name: str) -> None:
    """Write a page, atomically: 5 MB, which are plotly's own code but for the data.

    The same figure gives the same bytes.

    Args:
        figure: plotly's figure.
        path: path of the file.
        title: title of the page.
        name: name of the figure in the page.
    """
    page = figure.to_html(full_html=False, include_plotlyjs=True, default_height="96vh", div_id=name, config=_CONFIG)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title>'
    write_text(path, f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>{page}</body>\n</html>\n')
