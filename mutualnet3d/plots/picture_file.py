"""File of a matplotlib figure: PNG or SVG by its suffix, the same bytes for the same figure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mutualnet3d.extras import require
from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.plots.fonts import escape_unshown, files_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """Return an empty figure that needs no display.

    Args:
        width: width, inches.
        height: height, inches.
        layout: matplotlib's layout engine, or its name.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says what to install.
    """
    figure: Figure = require("matplotlib.figure", "plot").Figure(figsize=(width, height), dpi=150, layout=layout)
    require("matplotlib.backends.backend_agg", "plot").FigureCanvasAgg(figure)  # it measures texts
    return figure


def picture_text(text: str) -> str:
    """Return text that matplotlib draws literally, with escapes for characters that no font shows.

    matplotlib reads text between two dollar signs as a formula; a backslash before them is not drawn.
    """
    return escape_unshown(text).replace("$", r"\$")


@contextmanager
def fonts_for(texts: Iterable[str]) -> Iterator[None]:
    """Choose fonts that show these texts, for pictures that are drawn in the context.

    Args:
        texts: names and titles, results of `picture_text`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says what to install.
    """
    manager = require("matplotlib.font_manager", "plot")
    families = ["DejaVu Sans"]
    for path in files_for(texts):
        manager.fontManager.addfont(path)
        families.append(manager.FontProperties(fname=path).get_name())
    with require("matplotlib", "plot").rc_context({"font.family": families}):
        yield


def check_suffix(path: str) -> None:
    """Refuse a path whose suffix is not that of a picture format.

    Args:
        path: path of a picture.

    Raises:
        ValueError: the suffix is another one, or there is none.
    """
    suffix = os.path.splitext(path)[1]
    if suffix.lower() not in SUFFIXES:
        came = repr(suffix.lower()) if suffix else "a file without a suffix"
        raise ValueError(f"{path}: a picture is written as {' or '.join(SUFFIXES)}, not as {came}")


def save_figure(figure: Figure, path: str) -> None:
    """Write a figure, atomically.

    Args:
        figure: figure of matplotlib.
        path: path that ends in .png or .svg.

    Raises:
        ValueError: the suffix is another one.
    """
    check_suffix(path)
    suffix = os.path.splitext(path)[1].lower()
    # Without a date and with ids that are not drawn, a picture in version control changes only when its content does.
    options: dict[str, Any] = {"metadata": {"Date": None}} if suffix == ".svg" else {}
    with require("matplotlib", "plot").rc_context({"svg.hashsalt": "mutualnet3d"}):
        write_atomically(path, lambda file: figure.savefig(file, format=suffix[1:], **options))
