"""Parser of a command: help that ends with examples, and errors that name the value, what is allowed and the help."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from typing import Any, NoReturn

INDENT = "    "  # of examples in a docstring


class Parser(argparse.ArgumentParser):
    """Parser of a command's words, and of its kinds (`make-lists folders`).

    Args:
        text: docstring of the command. Its paragraphs that are indented are the examples, which stand below the
            options; the other ones stand above.
        **settings: settings of `argparse.ArgumentParser`.
    """

    def __init__(self, text: str | None = None, **settings: Any):
        if text is not None:
            description, examples = split_examples(text)
            settings |= {"description": description, "epilog": f"examples:\n{examples}" if examples else None}
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)
        self.register("type", int, whole_number)
        self.register("type", float, number)

    def error(self, message: str) -> NoReturn:
        """Print the usage, the command that describes it, and the error; leave with status 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"`{self.prog} --help` describes the options.\n{self.prog}: error: {message}\n")


def split_examples(text: str) -> tuple[str, str]:
    """Return a docstring without its examples, and the examples.

    Args:
        text: docstring, whose examples are the paragraphs that are indented.
    """
    paragraphs = text.rstrip().split("\n\n")
    examples = [part for part in paragraphs if all(line.startswith(INDENT) for line in part.splitlines())]
    return "\n\n".join(part for part in paragraphs if part not in examples), "\n".join(examples)


def whole_number(text: str) -> int:
    """Return the integer that a word of the command line is.

    Args:
        text: the word.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: a number without fraction") from None


def at_least(least: int) -> Callable[[str], int]:
    """Return the type of an option that is an integer of `least` or more."""

    def convert(text: str) -> int:
        allowed = f"a number without fraction, {least} or more"
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r}; allowed: {allowed}")
        return value

    return convert


def above_0(text: str) -> float:
    """Return the number above 0 that a word of the command line is.

    Args:
        text: the word.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = number(text)
    except argparse.ArgumentTypeError:
        value = 0.0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: a number above 0")
    return value


def number(text: str) -> float:
    """Return the number that a word of the command line is.

    Args:
        text: the word.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: a number")
    return value
