"""Picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from mutualnet3d.extras import require
from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.plots.picture_file import fonts_for, picture_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# More names than this do not fit beside the matrix, more numbers not into it.
_MAX_NAMES, _MAX_NUMBERS = 60, 20


def save_confusion_plot(confusion_KK: torch.Tensor, names: Sequence[str], path: str, title: str) -> None:
    """Draw true classes (rows) against predicted classes (columns), and write a PNG file, atomically.

    Rows are drawn as fractions of their videos.

    Args:
        confusion_KK: number of videos by true class and predicted class.
        names: names of the K classes.
        path: path of the file.
        title: title of the picture.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; the message says what to install.
    """
    names, title = [picture_text(name) for name in names], picture_text(title)
    with fonts_for([*names, title]):
        figure = _draw(confusion_KK, names, title)
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def _draw(confusion_KK: torch.Tensor, names: Sequence[str], title: str) -> Figure:
    figures, colors = require("matplotlib.figure", "plot"), require("matplotlib.colors", "plot")
    num_classes = len(names)
    fraction_KK = confusion_KK.double() / confusion_KK.sum(dim=1, keepdim=True).clamp(min=1)
    side = min(4.0 + 0.28 * num_classes, 14.0)
    figure: Figure = figures.Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    # Of many classes each is confused with several by a little: the root of the fraction makes that visible.
    norm = colors.PowerNorm(0.5 if num_classes > _MAX_NUMBERS else 1.0, vmin=0, vmax=1)
    image = axes.imshow(fraction_KK.numpy(), cmap="Blues", norm=norm, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.8, label="fraction of the class's videos")
    if num_classes <= _MAX_NAMES:
        axes.set_xticks(range(num_classes), names, rotation=90, fontsize=8)
        axes.set_yticks(range(num_classes), names, fontsize=8)
    if num_classes <= _MAX_NUMBERS:
        for row, column in (confusion_KK > 0).nonzero().tolist():
            shade = "white" if fraction_KK[row, column] > 0.5 else "black"
            number = int(confusion_KK[row, column])
            axes.text(column, row, str(number), ha="center", va="center", fontsize=8, color=shade)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    axes.set_title(title, fontsize=10)
    return figure
