"""Prediction drawn into a picture: the best labels, the sub-network and its cost, its place on the front.

Letters are of Pillow's own font, or of others where a name needs them, see `plots.fonts`.

Legend: H height, W width.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mutualnet3d.deploy.prediction import Prediction
from mutualnet3d.plots.fonts import PILLOWS_OWN, escape_unshown, load_font, split_by_font
from mutualnet3d.results.query_table import Row
from mutualnet3d.shapes import SubnetConfig

NUM_LABELS = 3
SMALLEST_FONT = 9  # pixels; smaller letters cannot be read

_WHITE, _ORANGE = (255, 255, 255, 255), (255, 150, 60, 255)
_BLUE, _PALE = (0, 114, 178, 255), (255, 255, 255, 90)
_SHADE = (0, 0, 0, 165)
_BETWEEN = "   "  # two facts in a line


def draw_overlay(
    frame_HWC: np.ndarray,
    prediction: Prediction,
    *,
    milliseconds: float | None = None,
    budget: float | None = None,
    front: Sequence[Row] = (),
) -> np.ndarray:
    """Return a copy of a picture with the prediction drawn into two of its corners; the rest does not change.

    At the top left are the best three labels, on bars whose length is the score. At the bottom left are the
    sub-network's key, GFLOPs and milliseconds of all views, and a column for each sub-network of the front, with the
    one in use in orange. Letters grow with the picture, which should be at least 160 pixels wide; labels without room
    are left out.

    Args:
        frame_HWC: picture, uint8 (H, W, 3), RGB.
        prediction: labels, sub-network and times.
        milliseconds: time of the window; None: the prediction's total.
        budget: largest milliseconds of a window, above which its time is orange; None: no budget.
        front: rows of the sub-networks that are chosen from, the cheapest first.

    Raises:
        ValueError: the picture has another shape or type.
    """
    if frame_HWC.dtype != np.uint8 or frame_HWC.ndim != 3 or frame_HWC.shape[2] != 3 or 0 in frame_HWC.shape:
        raise ValueError(f"a picture is uint8 (H, W, 3), RGB; got {frame_HWC.dtype} {frame_HWC.shape}")
    image = Image.fromarray(np.array(frame_HWC, order="C"))
    pen = _Pen(image)
    total = prediction.timing.total if milliseconds is None else milliseconds
    is_over = budget is not None and total > budget
    facts = [
        (str(prediction.config), _WHITE),
        (f"{prediction.gflops_of_video:.3g} GFLOPs", _WHITE),
        (_time_text(total, budget), _ORANGE if is_over else _WHITE),
    ]
    top = pen.facts(facts, [row.config for row in front], prediction.config)
    pen.labels([(label.name, label.score) for label in prediction.labels[:NUM_LABELS]], top)
    return np.asarray(image)


def _time_text(milliseconds: float, budget: float | None) -> str:
    return f"{_rounded(milliseconds)} ms" + ("" if budget is None else f" of {_rounded(budget)}")


def _rounded(milliseconds: float) -> str:
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.1f}"


class _Letters:
    """Letters of one size, of all fonts that a text needs, on a line.

    Args:
        size: height in pixels.
    """

    def __init__(self, size: int):
        self.size = size
        self.ascent, self.descent = load_font(PILLOWS_OWN, size).getmetrics()

    def width(self, text: str) -> float:
        """Return the pixels from the start of a text to its end."""
        return sum(load_font(path, self.size).getlength(piece) for piece, path in _pieces(text))

    def draw(self, pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: Any) -> None:
        """Draw a text with its upper left corner at `place`, and the letters of all fonts on the same line."""
        x, y = place
        for piece, path in _pieces(text):
            font = load_font(path, self.size)
            pen.text((x, y + self.ascent), piece, fill=colour, font=font, anchor="ls")
            x += font.getlength(piece)


@functools.lru_cache(maxsize=1024)
def _pieces(text: str) -> list[tuple[str, str]]:
    return split_by_font(escape_unshown(text))


class _Pen:
    """Pen that draws on a picture, in letters that grow with it."""

    def __init__(self, image: Image.Image):
        self.width, self.height = image.size
        size = max(SMALLEST_FONT, round(6 + 0.027 * min(image.size)))
        self.letters = _Letters(size)
        self.line = (
            self.letters.ascent + self.letters.descent + max(1, size // 8)
        )  # from a line's top to the next one's
        self.gap = max(2, size // 4)
        # Colours with some transparency are laid over the picture.
        self.draw = ImageDraw.Draw(image, "RGBA")

    def facts(self, facts: Sequence[tuple[str, Any]], front: Sequence[SubnetConfig], used: SubnetConfig) -> int:
        """Draw the panel at the bottom left; return its upper edge."""
        lines = self._lines(facts)
        columns = self.line if len(front) > 1 else 0  # pixels in height; one column alone says nothing
        width = max(map(self._line_width, lines))
        if columns:
            width = max(width, min(self.width - 4 * self.gap, 8 * self.line))
        box_height = len(lines) * self.line + (columns + self.gap if columns else 0) + 2 * self.gap
        left, top = self.gap, max(0, self.height - self.gap - box_height)
        self._shade(left, top, width + 2 * self.gap, box_height)
        left, y = left + self.gap, top + self.gap
        for line in lines:
            x = float(left)
            for text, colour in line:
                self.letters.draw(self.draw, (x, y), text, colour)
                x += self.letters.width(text + _BETWEEN)
            y += self.line
        if columns:
            self._columns(left, y + self.gap, width, columns, front, used)
        return top

    def labels(self, labels: Sequence[tuple[str, float]], bottom: int) -> None:
        """Draw the panel at the top left, with as many labels as there is room for above `bottom`."""
        row = self.line + max(1, self.gap // 2)
        labels = labels[: max(0, (bottom - 4 * self.gap) // row)]
        if not labels:
            return
        max_width = self.width - 4 * self.gap
        percent_width = self.letters.width("100 %")
        name_width = max_width - percent_width - 2 * self.gap
        names = [self._cut(escape_unshown(name), name_width) for name, _ in labels]
        needed = max(map(self.letters.width, names)) + percent_width + 4 * self.gap
        width = int(min(max_width, max(needed, 8 * self.line)))
        left = top = self.gap
        self._shade(left, top, width + 2 * self.gap, len(labels) * row + 2 * self.gap)
        left, y = left + self.gap, top + self.gap
        for name, (_, score) in zip(names, labels, strict=True):
            fraction = min(max(score, 0.0), 1.0)
            end = left + round(fraction * (width - 1))
            self.draw.rectangle((left, y, end, y + self.line - 1), fill=_BLUE)
            self.letters.draw(self.draw, (left + self.gap, y), name, _WHITE)
            percent = f"{100 * score:.0f} %"
            right = left + width - self.gap - self.letters.width(percent)
            self.letters.draw(self.draw, (right, y), percent, _WHITE)
            y += row

    # ---- parts -------------------------------------------------------------------------------------------------------

    def _lines(self, facts: Sequence[tuple[str, Any]]) -> list[list[tuple[str, Any]]]:
        """Return the facts in as few lines as the width allows."""
        lines: list[list[tuple[str, Any]]] = []
        for fact in facts:
            if lines and self._line_width([*lines[-1], fact]) <= self.width - 4 * self.gap:
                lines[-1].append(fact)
            else:
                lines.append([fact])
        return lines

    def _line_width(self, line: Sequence[tuple[str, Any]]) -> int:
        return int(self.letters.width(_BETWEEN.join(text for text, _ in line))) + 1

    def _cut(self, text: str, width: float) -> str:
        """Return `text`, or the part of its start that fits into `width` pixels."""
        if self.letters.width(text) <= width:
            return text
        while text and self.letters.width(f"{text}...") > width:
            text = text[:-1]
        return f"{text}..."

    def _shade(self, left: int, top: int, width: int, height: int) -> None:
        self.draw.rectangle((left, top, left + width - 1, top + height - 1), fill=_SHADE)

    def _columns(
        self, left: int, top: int, width: int, height: int, front: Sequence[SubnetConfig], used: SubnetConfig
    ) -> None:
        """Draw a column for each sub-network, with better ones higher."""
        step = width / len(front)
        between = 1 if step < 8 else max(1, self.gap // 2)
        for place, config in enumerate(front):
            x = left + round(place * step)
            end = max(x, left + round((place + 1) * step) - 1 - between)
            high = max(2, round(height * (place + 1) / len(front)))
            self.draw.rectangle(
                (x, top + height - high, end, top + height - 1), fill=_ORANGE if config == used else _PALE
            )
