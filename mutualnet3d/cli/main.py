# PYTHON_ARGCOMPLETE_OK
"""Entry point of the command `mutualnet3d`: its commands, their help, and shell completion."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import mutualnet3d
from mutualnet3d.cli.command import Command
from mutualnet3d.cli.parser import Parser

# name -> module below mutualnet3d.cli. No module loads torch before its command runs.
COMMANDS = {
    "train": "train",
    "test": "test",
    "predict": "predict",
    "stream": "stream",
    "segments": "segments",
    "features": "features",
    "web": "web.command",
    "serve": "serve",
    "export": "export",
    "latency": "latency",
    "plot": "plot",
    "complexity": "complexity",
    "make-lists": "make_lists",
    "check-videos": "check_videos",
    "prepare-videos": "prepare_videos",
    "demo-data": "demo_data",
    "weights": "weights",
    "info": "info",
}
PROGRAM = "mutualnet3d"
# Lines of the help before and after those of the commands.
_START = (
    "Train video networks that run at many costs (SlowFast, Slow, X3D), test them, and predict within a budget.",
    "",
    "commands:",
)
_END = (
    "",
    f"`{PROGRAM} COMMAND --help` describes the options of a command and has examples.",
    "",
    f"    {PROGRAM} demo-data --output data/moving_shapes",
    f"    {PROGRAM} train --cfg X3D_tiny_mutual_staged.yaml",
    f"    {PROGRAM} predict data/moving_shapes/val/00000.mp4 --checkpoint output/demo/calibrated.pyth --gflops 0.006",
)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command that the first word names; the exit status.

    Args:
        words: words of the command line after `mutualnet3d`; default: those of the process.
    """
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions, and runs nothing
        _complete(os.environ.get("COMP_LINE", ""))
    words = sys.argv[1:] if words is None else list(words)
    if words and words[0] in COMMANDS:
        return load_command(words[0])(words[1:], f"{PROGRAM} {words[0]}")
    parser = _parser()
    name = parser.parse_args(words[:1]).command
    if name is not None:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        question = f" did you mean {close[0]}?" if close else ""
        parser.error(f"unknown command {name!r};{question} allowed: {', '.join(COMMANDS)}")
    parser.print_help()
    return 0


def load_command(name: str) -> Command:
    """Return a command, a key of `COMMANDS`."""
    command: Command = importlib.import_module(f"mutualnet3d.cli.{COMMANDS[name]}").main
    return command


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {load_command(name).summary}" for name in COMMANDS]
    parser = Parser("\n".join([*_START, *lines, *_END]), prog=PROGRAM, usage=f"{PROGRAM} COMMAND ...")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {mutualnet3d.__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    return parser


def _complete(line: str) -> None:
    """Print the completions of a command line; return where argcomplete is not installed, and exit where it is.

    Args:
        line: command line so far. Only the options of the command in it are made.
    """
    try:
        import argcomplete
    except ModuleNotFoundError:
        return
    parser = argparse.ArgumentParser(prog=PROGRAM)
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers()
    for name in COMMANDS:
        parents = [load_command(name).parser()] if name in line.split() else []
        commands.add_parser(name, parents=parents, add_help=not parents)
    argcomplete.autocomplete(parser)
