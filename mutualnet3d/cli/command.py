"""Command of a terminal: its parser, and its errors, signals and exit status in the form that users get."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType

from mutualnet3d.cli.parser import Parser
from mutualnet3d.log import PrintableFormatter, logger, printable

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130  # a shell's status for a command that Ctrl-C ended
EXIT_TERMINATED = 143  # for one that SIGTERM ended
EXIT_NO_READER = 1

# Exceptions with a message for users: one line, without a traceback.
USER_ERRORS = (ValueError, OSError, RuntimeError, ModuleNotFoundError)


@dataclass(frozen=True)
class Command:
    """Command of a terminal. Called with its words it returns the exit status.

    Args:
        description: text of the help, a module's docstring, whose indented paragraphs are examples; its first sentence
            stands in the list of commands.
        add_arguments: adds the options to a parser.
        run: does the work and returns the exit status; loads only now what takes time to load.
        errors: exceptions that become one line and `EXIT_ERROR`. With `OSError` among them a closed pipe at standard
            output ends the command without a word.
        interrupted: line for Ctrl-C, from the arguments.
        catches_sigterm: True to treat SIGTERM like Ctrl-C, with `EXIT_TERMINATED`, so that it leaves no half-written
            file and no process.
        is_intermixed: True to allow positional words on both sides of options.
        outputs: check of each option that names an output, by the argument's name: functions of `files/output.py`, or
            of its path and option. They are called before the command's work, for the options that are given, of those
            that may be given several times for each.
    """

    description: str | None
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    errors: tuple[type[Exception], ...] = USER_ERRORS
    interrupted: Callable[[argparse.Namespace], str] = lambda args: "interrupted"
    catches_sigterm: bool = False
    is_intermixed: bool = False
    outputs: Mapping[str, Callable[[str, str], None]] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """First sentence of the description, without its full stop."""
        first = " ".join((self.description or "").partition("\n\n")[0].split())
        return first.partition(". ")[0].removesuffix(".")

    def parser(self, prog: str | None = None) -> argparse.ArgumentParser:
        """Return a new parser of the command's words; `prog`: name in its usage, default: the running script's."""
        parser = Parser(self.description, prog=prog)
        self.add_arguments(parser)
        return parser

    def parse(self, words: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
        """Return the arguments, with the words themselves under `words`.

        Args:
            words: the words after the command's name; default: those of the process.
            prog: name in the usage.
        """
        words = sys.argv[1:] if words is None else list(words)
        parser = self.parser(prog)
        args = parser.parse_intermixed_args(words) if self.is_intermixed else parser.parse_args(words)
        args.words = words
        return args

    def __call__(self, words: Sequence[str] | None = None, prog: str | None = None) -> int:
        """Run the command with its words, and return its exit status.

        An error that its user can mend is printed in one line.

        Args:
            words: words of the command line; None: those of this process.
            prog: name of the command in its help; None: that of this process.
        """
        args = self.parse(words, prog)
        try:
            for name, check in self.outputs.items():
                value = getattr(args, name)
                for path in value if isinstance(value, list) else [value]:
                    if path is not None and (path or self.parser().get_default(name) is None):  # "" may be the default
                        check(path, f"--{name.replace('_', '-')}")
            with _sigterm_as_ctrl_c() if self.catches_sigterm else nullcontext():
                status = self.run(args)
                sys.stdout.flush()  # now, where a closed pipe is caught
                return status
        except self.errors as error:
            if isinstance(error, BrokenPipeError):  # nobody reads on, for example `| head`
                drop_output()
                return EXIT_NO_READER
            return report(error)
        except KeyboardInterrupt as error:
            logger.debug("interrupted", exc_info=True)
            tell(self.interrupted(args))
            return EXIT_TERMINATED if isinstance(error, _Terminated) else EXIT_INTERRUPTED


def report(error: Exception) -> int:
    """Print an error in one line, its traceback into the log file alone; return `EXIT_ERROR`."""
    with contextlib.suppress(OSError):  # a log that cannot be written may be the error itself
        logger.debug("stopped", exc_info=error)
    tell(f"error: {error}")
    return EXIT_ERROR


def tell(text: str) -> None:
    """Print a text to standard error, its control characters escaped.

    Where nobody reads that any more, it is lost, and the exit status stays.
    """
    try:
        print(printable(text, keep="\n"), file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # or Python ends with status 120


def drop_output() -> None:
    """Send standard output nowhere, after its reader has gone: Python would print that error again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def log_to_terminal(with_time: bool = True) -> None:
    """Print the project's log to standard error."""
    form = "[%(asctime)s] %(message)s" if with_time else "%(message)s"
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter(form, datefmt="%m-%d %H:%M:%S"))
    logging.basicConfig(handlers=[handler])
    logger.setLevel(logging.INFO)


class _Terminated(KeyboardInterrupt):
    """Error that a SIGTERM raises."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
