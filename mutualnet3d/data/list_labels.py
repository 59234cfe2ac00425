"""Labels of a list's lines: a class by its number or name, or several of them, whose set has a number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mutualnet3d.data.text import bounded_int

NO_LABEL = "-"  # text of a video that has none of the classes


class LabelSets:
    """Sets of labels of a list with several labels a line, numbered in the order in which they are met.

    The number of its set is for a video what the number of its class is everywhere else.

    Args:
        num_classes: number of classes, K.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self._numbers: dict[tuple[int, ...], int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def number_of(self, classes: Iterable[int]) -> int:
        """Return the number of a set; a new one gets the next."""
        return self._numbers.setdefault(tuple(sorted(set(classes))), len(self._numbers))

    def texts(self) -> list[str]:
        """Return the text of every set, as a list has it: `3,17,22`; `-` for the empty one."""
        return [",".join(map(str, classes)) or NO_LABEL for classes in self._numbers]

    def classes(self) -> list[tuple[int, ...]]:
        """Return the classes of every set, ascending."""
        return list(self._numbers)

    def matrix(self) -> np.ndarray:
        """Return the classes of every set, bool (S, K)."""
        matrix_SK = np.zeros((len(self), self.num_classes), bool)
        for number, classes in enumerate(self._numbers):
            matrix_SK[number, list(classes)] = True
        return matrix_SK


@dataclass(frozen=True)
class ListLabels:
    """Labels of a list: ids or, if `file` is given, names too.

    Args:
        file: file of the names; "" for none.
        names: name of a class -> its id.
        sets: sets that several labels of a line, joined by commas, are numbered in; None: lines have one label.
    """

    file: str
    names: dict[str, int]
    sets: LabelSets | None = None
    folded: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        folded: dict[str, int] = {}
        for name, number in self.names.items():
            # Names that differ in nothing but their case are told apart by it alone.
            folded[name.casefold()] = -1 if name.casefold() in folded else number
        object.__setattr__(self, "folded", {name: number for name, number in folded.items() if number >= 0})

    def id_of(self, text: str) -> int | None:
        """Return the class that `text` names, or the number of the set of those that it names.

        It is None if the text names none, or one beyond the classes of the sets.
        """
        number = self._class_of(text)
        if self.sets is None:
            return number
        if text == NO_LABEL:
            return self.sets.number_of(())
        classes = [number] if number is not None else [self._class_of(part.strip()) for part in text.split(",")]
        labels = [label for label in classes if label is not None and label < self.sets.num_classes]
        return self.sets.number_of(labels) if len(labels) == len(classes) else None

    def _class_of(self, text: str) -> int | None:
        if self.names:
            number = self.names.get(text, self.folded.get(text.casefold()))
            if number is not None:
                return number
        return bounded_int(text) if text.isdecimal() else None
