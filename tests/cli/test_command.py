from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from dataclasses import replace

import pytest

from mutualnet3d.cli.command import EXIT_ERROR, USER_ERRORS, Command, log_to_terminal, report
from mutualnet3d.cli.main import COMMANDS, load_command
from mutualnet3d.files.output import check_output_file

DOC = """Do a thing
well, e.g. often. More of it.

    details
"""


def make(run, **changes):
    def add_arguments(parser):
        parser.add_argument("words_given", nargs="*")
        parser.add_argument("--fast", action="store_true")

    return Command(DOC, add_arguments, run, **changes)


def raiser(error):
    def run(args):
        raise error

    return run


def test_the_summary_is_the_first_sentence():
    assert make(int).summary == "Do a thing well, e.g"  # so a summary has no abbreviations
    assert Command("Do it.", int, int).summary == "Do it"
    assert Command(None, int, int).summary == ""


def test_words_and_status(monkeypatch):
    seen = []
    command = make(lambda args: seen.append(args) or 7)
    assert command(["a", "--fast"]) == 7
    monkeypatch.setattr(sys, "argv", ["script", "b"])
    assert command() == 7
    assert [(args.words_given, args.fast, args.words) for args in seen] == [
        (["a"], True, ["a", "--fast"]),
        (["b"], False, ["b"]),
    ]


def test_outputs_are_looked_at_before_the_work(tmp_path, capsys):
    command = make(raiser(AssertionError("it ran")), outputs={"report_path": check_output_file})
    add_arguments = command.add_arguments

    def with_output(parser):
        add_arguments(parser)
        parser.add_argument("--report-path")

    command = replace(command, add_arguments=with_output)
    (tmp_path / "file").write_text("")
    for path, reason in (
        (tmp_path, f"{tmp_path} is a folder; expected a file"),
        (
            tmp_path / "file" / "report.csv",
            f"{tmp_path / 'file'} is no folder; nothing can be written into {tmp_path / 'file'}",
        ),
    ):
        assert command(["--report-path", str(path)]) == 2
        assert capsys.readouterr().err == f"error: --report-path: {reason}\n"
    with pytest.raises(AssertionError, match="it ran"):
        command([])


def test_positional_words_on_both_sides_of_options():
    words = ["a", "--fast", "b"]
    assert make(int, is_intermixed=True).parse(words).words_given == ["a", "b"]
    with pytest.raises(SystemExit):
        make(int).parse(words)


@pytest.mark.parametrize("kind", USER_ERRORS)
def test_errors_of_users_are_one_line(kind, capsys):
    assert make(raiser(kind("no such thing")))([]) == 2
    assert capsys.readouterr() == ("", "error: no such thing\n")


def test_an_error_obeys_no_name(capsys):
    assert report(ValueError("\x1b]0;x\x07.mp4: \u202ebad\rgood")) == EXIT_ERROR
    assert capsys.readouterr().err == "error: \\x1b]0;x\\x07.mp4: \\u202ebad\\rgood\n"


def test_other_errors_keep_their_traceback():
    with pytest.raises(KeyError):
        make(raiser(KeyError("ours")))([])
    with pytest.raises(RuntimeError):
        make(raiser(RuntimeError("ours")), errors=(ValueError,))([])


def test_the_log_has_the_traceback_of_an_error(caplog):
    with caplog.at_level(logging.DEBUG, "mutualnet3d"):
        assert report(ValueError("wrong")) == 2
    (record,) = caplog.records
    assert (record.levelname, record.exc_info[0]) == ("DEBUG", ValueError)


def test_ctrl_c(capsys):
    assert make(raiser(KeyboardInterrupt()))([]) == 130
    assert make(raiser(KeyboardInterrupt()), interrupted=lambda args: f"left {args.words}")(["a"]) == 130
    assert capsys.readouterr() == ("", "interrupted\nleft ['a']\n")


def test_sigterm_is_like_ctrl_c_where_files_are_written():
    before = signal.getsignal(signal.SIGTERM)
    assert make(lambda args: os.kill(os.getpid(), signal.SIGTERM), catches_sigterm=True)([]) == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_leaves(monkeypatch, capsys):
    """`| head`: what is printed late is noticed too. Where an OSError keeps its traceback, so does a broken pipe."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        assert make(lambda args: print("late") or 0)([]) == 1
    assert capsys.readouterr().err == ""
    with pytest.raises(BrokenPipeError):
        make(raiser(BrokenPipeError()), errors=(ValueError,))([])


def test_the_log_goes_to_standard_error(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log_to_terminal(with_time=False)
    logging.getLogger("mutualnet3d").info("at work")
    assert capsys.readouterr() == ("", "at work\n")


def test_usage_has_the_name_it_is_called_by(capsys):
    assert isinstance(make(int).parser("tool x"), argparse.ArgumentParser)
    assert make(int).parser("tool x").format_usage().startswith("usage: tool x [-h] [--fast]")


# Options that take a path and are read, not written.
INPUTS = {"--cfg", "--checkpoint", "--table", "--input", "--list", "--lists", "--label-file", "--clips", "--tables"}
INPUTS |= {"--separate", "--videos", "--path-prefix", "--root", "root", "csv", "videos", "video"}
INPUTS |= {"--train", "--val", "--test", "--classes"}  # lists and names of MMAction2
PATHS = {"PATH", "FILE", "FOLDER", "ROOT", "CSV", "VIDEO", "NAME=PATH", "NAME=PATH[,PATH...]"}


def paths_of(parser):
    """Return the options of a parser, and of those in it, that take a path by their names for people."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from paths_of(inner)
        elif action.metavar in PATHS or "output" in action.dest:
            yield (action.option_strings or [action.dest])[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_with_a_path_is_an_input_or_is_looked_at_before_the_work(name):
    command = load_command(name)
    checked = {f"--{output.replace('_', '-')}" for output in command.outputs}
    assert set(paths_of(command.parser())) - INPUTS == checked


FOLDER_OF = {"make-lists": ["folders", "ROOT"], "check-videos": ["--list", "x"], "prepare-videos": ["--input", "x"]}
FOLDER_OF |= {"export": ["--checkpoint", "x"], "plot": [], "demo-data": [], "weights": ["x"]}
FOLDER_OF |= {"stream": ["--checkpoint", "x", "--input", "x"], "latency": ["--table", "x", "--checkpoint", "x"]}
FOLDER_OF |= {"segments": ["x", "--checkpoint", "x"]}
NAMES = {  # of what is a folder where a file is to be written
    "make-lists": ("", "train.csv"),
    "check-videos": ("report.csv", "report.csv"),
    "prepare-videos": ("", "failed.csv"),
    "plot": ("curve", "curve.svg"),
    "demo-data": ("", "moving_shapes.json"),
    "stream": ("a.mp4", "a.mp4"),
    "segments": ("a.json", "a.json"),
    "latency": ("a.json", "a.csv"),
    "weights": ("a.pyth", "a.pyth"),
}


@pytest.mark.parametrize("name", FOLDER_OF)
def test_every_command_finds_an_output_that_cannot_be_written_before_its_work(name, tmp_path, capsys):
    command = replace(load_command(name), run=raiser(AssertionError("it ran")))
    (tmp_path / "file").touch()
    below = str(tmp_path / "file" / "a.json")
    assert command([*FOLDER_OF[name], "--output", below]) == 2
    start = f"error: --output: {tmp_path / 'file'} is no folder; nothing can be written into "
    assert capsys.readouterr().err.startswith(start)
    assert command([*FOLDER_OF[name], "--output", ""]) == 2
    assert capsys.readouterr().err.startswith("error: --output is empty; expected a")
    if name in NAMES:
        output, folder = NAMES[name]
        (tmp_path / folder).mkdir()
        assert command([*FOLDER_OF[name], "--output", str(tmp_path / output)]) == 2
        assert capsys.readouterr().err == f"error: --output: {tmp_path / folder} is a folder; expected a file\n"
    else:
        assert command([*FOLDER_OF[name], "--output", str(tmp_path)]) == 2
        assert capsys.readouterr().err == f"error: --output: {tmp_path} is there already; expected a new folder\n"
