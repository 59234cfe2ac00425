"""Rule of one config key: type, elements, range, and the text that an error gives of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_NOUNS = {
    bool: ("True or False", "True or False"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
}


@dataclass(frozen=True)
class Rule:
    """Allowed values of a key, or of the elements of its list.

    Args:
        kind: bool, int, float or str; a float may be written as a whole number.
        low: smallest number.
        high: largest number.
        above: lower bound, which a number must not reach.
        below: upper bound, which a number must not reach.
        choices: allowed values; () for any.
        ignores_case: True for a text that may be written in capitals.
        lengths: allowed numbers of elements of a list, () for any; None for a key without a list.
        inner_lengths: allowed lengths of lists in the list; () for a list without lists in it.
        is_distinct: True for a list whose elements differ.
        takes_none: True if None is allowed.
        words: texts in small letters that are allowed beside the kind's values.
        takes_empty: False for a text that must not be empty.
        text: description of the range for errors; "" for one made of the bounds.
    """

    kind: type
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    ignores_case: bool = False
    lengths: tuple[int, ...] | None = None
    inner_lengths: tuple[int, ...] = ()
    is_distinct: bool = False
    takes_none: bool = False
    words: tuple[str, ...] = ()
    takes_empty: bool = True
    text: str = ""

    def type_problem(self, value: Any, default: Any) -> str | None:
        """Return the end of an error's text if a value is of another type, or no value of a config; else None."""
        if value is None:
            return None if self.takes_none else f"it must be a value of the type of its default, {default!r}"
        is_list = isinstance(value, list | tuple)
        elements = list(leaves(value)) if is_list else [value]
        for element in elements:
            if isinstance(element, str) and "\0" in element:
                return "it must be a text without NUL bytes"
            if isinstance(element, float) and not math.isfinite(element):
                return "its numbers must be finite"
            if isinstance(element, int) and abs(element) >= 2**63:
                return "its numbers must have less than 64 bits"
        if isinstance(value, str) and value in self.words:
            return None
        noun, nouns = _NOUNS[self.kind]
        if self.words:
            noun = f"{', '.join((noun.replace(' or ', ', '), *self.words[:-1]))} or {self.words[-1]}"
        if self.lengths is None:
            return None if self._is_of_kind(value) else f"it must be {noun}"
        if not is_list:
            return f"it must be a list of {nouns}"
        if self.kind is int and any(type(element) is float for element in elements):
            return "it must be a list of whole numbers"
        if not all(map(self._is_of_kind, elements)):
            return "it must be a list of texts" if self.kind is str else "it must be a list of numbers"
        if not self.inner_lengths and any(isinstance(element, list | tuple) for element in value):
            return "it must be a list without lists in it"
        return None

    def range_problem(self, value: Any) -> str | None:
        """Return the end of an error's text if a value of the right type is out of range; else None."""
        if self.lengths is None:
            fits = value is None or value in self.words or self._is_in_range(value)
        else:
            fits = (not self.lengths or len(value) in self.lengths) and all(map(self._is_in_range, leaves(value)))
            if self.inner_lengths:
                fits = fits and all(
                    isinstance(part, list | tuple) and len(part) in self.inner_lengths for part in value
                )
            fits = fits and (not self.is_distinct or len(set(value)) == len(value))
        return None if fits else f"it must be {self.allowed}"

    @property
    def allowed(self) -> str:
        """Range for errors."""
        if self.text:
            return self.text
        scope = " or ".join(map(repr, self.choices)) or self._bounds()
        if self.lengths is None:
            return scope
        number = "" if not self.lengths else " or ".join(map(str, self.lengths)) + " "
        return f"{number}values {scope}".strip() + (", each of them once" if self.is_distinct else "")

    def _is_of_kind(self, value: Any) -> bool:
        if isinstance(value, bool) or self.kind is bool:
            return self.kind is bool and isinstance(value, bool)
        return isinstance(value, int | float) if self.kind is float else isinstance(value, self.kind)

    def _is_in_range(self, value: Any) -> bool:
        value = value.lower() if self.ignores_case else value
        return not (
            (self.choices and value not in self.choices)
            or (not self.takes_empty and not value)
            or (self.low is not None and value < self.low)
            or (self.high is not None and value > self.high)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )

    def _bounds(self) -> str:
        lower = f"[{self.low:g}" if self.low is not None else f"({self.above:g}" if self.above is not None else ""
        upper = f"{self.high:g}]" if self.high is not None else f"{self.below:g})" if self.below is not None else ""
        if lower and upper:
            return f"in {lower}, {upper}"
        if not self.takes_empty:
            return "not empty"
        return f"above {self.above:g}" if self.above is not None else f"at least {self.low:g}" if lower else ""


def leaves(values: Any) -> Iterator[Any]:
    """Yield the elements of a list, and of the lists in it."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from leaves(value)
        else:
            yield value
