"""Options of the programs in this folder, whose help names their default."""

from __future__ import annotations

import argparse
import os


def add(parser: argparse.ArgumentParser, name: str, default: int | float | str, metavar: str, help: str) -> None:
    """Add an option of the type of its default.

    Args:
        parser: parser of the program.
        name: name of the option, such as "--rounds".
        default: value without the option.
        metavar: word for the value, such as N or SECONDS.
        help: noun phrase with the unit; the default is put after it.
    """
    words = f"{help}; default: %(default)s"
    parser.add_argument(name, type=type(default), default=default, metavar=metavar, help=words)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add the option for the number of trainings at a time."""
    text = "number of trainings at a time; default: that of the CPU cores"
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help=text)
