from __future__ import annotations

import argparse
import ast
import re
import shlex
import textwrap
from pathlib import Path

import pytest

from mutualnet3d.cli.main import COMMANDS, _parser, load_command
from mutualnet3d.cli.parser import Parser, above_0, at_least, number, split_examples, whole_number
from mutualnet3d.config.load import load_cfg

ROOT = Path(__file__).resolve().parents[2]
FLAGS = re.DOTALL | re.MULTILINE
TEXT = """Do a thing.

    program --count 3  # often

More of it:

    program
"""
# First words of a help that makes sense only after its option's name; a help is a noun phrase, or an imperative.
FRAGMENTS = {"as", "at", "by", "for", "from", "in", "of", "on", "so", "that", "to", "which", "whose", "(of", "default:"}


def kinds_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers in a parser by name."""
    kinds = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(kinds[0].choices) if kinds else {}


def all_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of every command, and of every kind of one, by its words."""
    parsers = {name: load_command(name).parser(f"mutualnet3d {name}") for name in COMMANDS}
    kinds = {f"{name} {kind}": inner for name, parser in parsers.items() for kind, inner in kinds_of(parser).items()}
    return parsers | kinds


def faults(parser: argparse.ArgumentParser) -> list[str]:
    """Return what the help of a parser lacks."""
    lacking = []
    if not re.match(r"[A-Z][^\n]+\.", parser.description or ""):
        lacking.append("description: its first line is no sentence")
    if not (parser.epilog or "").startswith("examples:\n    "):
        lacking.append("no examples")
    for action in parser._actions:
        name, words = "/".join(action.option_strings) or action.dest, " ".join((action.help or "").split())
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        if not words or words.split()[0].lower() in FRAGMENTS:
            lacking.append(f"{name}: {words!r} does not say what it is")
        if action.nargs != 0 and not (action.metavar or action.choices):
            lacking.append(f"{name}: no metavar")
        default = action.default
        if default in (None, False, "", argparse.SUPPRESS) or default == []:
            continue
        value = f"{default:g}" if isinstance(default, float) else str(default)
        in_words = isinstance(default, list | tuple) or value == " " or action.dest == "workers"
        if f"default: {'' if in_words else value}" not in words:
            lacking.append(f"{name}: the help lacks its default {value}")
    return lacking


def examples_of(parser: argparse.ArgumentParser) -> list[list[str]]:
    """Return the words of each example of a help."""
    lines = (parser.epilog or "").removeprefix("examples:\n").replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_every_help_is_complete():
    parsers = all_parsers()
    assert set(parsers) > set(COMMANDS)
    assert {name: lacking for name, parser in parsers.items() if (lacking := faults(parser))} == {}


def test_an_incomplete_help_is_seen():
    parser = Parser("does it")
    parser.add_argument("--count", type=int, default=3, help="of clips")
    parser.add_argument("--names", nargs="+", metavar="NAME", default=["a"], help="names of them")
    assert faults(parser) == [
        "description: its first line is no sentence",
        "no examples",
        "--count: 'of clips' does not say what it is",
        "--count: no metavar",
        "--count: the help lacks its default 3",
        "--names: the help lacks its default ['a']",
    ]


def test_examples_of_a_help_are_words_of_the_command():
    for name, parser in {"": _parser(), **all_parsers()}.items():
        of_this = [words for words in examples_of(parser) if words[0] not in ("curl", "sbatch", "torchrun")]
        assert 1 <= len(of_this) <= 6, name
        for program, command, *words in of_this:
            assert program == "mutualnet3d"
            assert command in ([name.split()[0]] if name else COMMANDS)
            args = load_command(command).parse(words)
            if getattr(args, "cfg", None) and command != "weights":
                load_cfg(args.cfg, args.overrides)


def test_examples_of_train_for_many_gpus_are_words_of_train():
    train = load_command("train")
    starts = {"torchrun": "train", "sbatch": "tools/slurm/train.sbatch"}
    others = [words for words in examples_of(train.parser()) if words[0] in starts]
    assert [words[0] for words in others] == ["torchrun", "sbatch"]
    for words in others:
        args = train.parse(words[words.index(starts[words[0]]) + 1 :])
        load_cfg(args.cfg, args.overrides)


@pytest.mark.parametrize("words", [["--no-such-option"], ["--no-such-option=1", "x"]])
def test_wrong_words_point_to_the_help(words, capsys):
    for name, parser in all_parsers().items():
        with pytest.raises(SystemExit) as left:
            parser.parse_args(words)
        assert left.value.code == 2
        *_, pointer, error = capsys.readouterr().err.splitlines()
        assert pointer == f"`mutualnet3d {name} --help` describes the options."
        assert error.startswith(f"mutualnet3d {name}: error: ")


def test_a_word_that_is_no_number_is_named_with_what_is_allowed(capsys):
    for name, parser in all_parsers().items():
        for action in parser._actions:
            if action.type is not None:
                (option,) = action.option_strings
                with pytest.raises(SystemExit):
                    parser.parse_args([f"{option}=x"])
                error = f"mutualnet3d {name}: error: argument {option}: 'x'; allowed: a number"
                assert capsys.readouterr().err.splitlines()[-1].startswith(error)


def test_numbers():
    assert (whole_number("-3"), number("1e-3"), number("inf")) == (-3, 0.001, float("inf"))
    for text in ("", "1.5", "1e3"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}'; allowed: a number without fraction"):
            whole_number(text)
    assert (at_least(1)("1"), at_least(0)("0"), above_0("0.5")) == (1, 0, 0.5)
    for text in ("0", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}'; allowed: a number without fraction, 1 or"):
            at_least(1)(text)
    for text in ("0", "-1", "x"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}'; allowed: a number above 0"):
            above_0(text)
    for text in ("", "nan"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}'; allowed: a number"):
            number(text)


def test_a_docstring_without_its_examples():
    text, examples = split_examples(TEXT)
    assert text == "Do a thing.\n\nMore of it:"
    assert examples == "    program --count 3  # often\n    program"
    assert split_examples("Do a thing.") == ("Do a thing.", "")
    assert Parser("Do a thing.").epilog is None


def faults_of_source(source: str) -> list[str]:
    """Return what the helps of a program lack, which are added by `add_argument` or benchmarks/program_options.py."""
    lacking = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        if getattr(call.func, "id", "") == "add":
            name, settings = call.args[1].value, {"metavar": call.args[3], "help": call.args[4]}
        elif getattr(call.func, "attr", "") == "add_argument":
            name, settings = call.args[0].value, {keyword.arg: keyword.value for keyword in call.keywords}
        else:
            continue
        if getattr(settings.get("help"), "attr", "") == "SUPPRESS":
            continue
        words = getattr(settings.get("help"), "value", "")
        if not words or words.split()[0].lower() in FRAGMENTS:
            lacking.append(f"{name}: {words!r} does not say what it is")
        if "default" in settings and "default: " not in words:
            lacking.append(f"{name}: the help lacks its default")
        if not {"action", "metavar", "choices"} & set(settings):
            lacking.append(f"{name}: no metavar")
    return lacking


def test_helps_of_the_benchmarks_are_complete():
    sources = {path.name: path.read_text() for path in (ROOT / "benchmarks").glob("*.py")}
    programs = {name: source for name, source in sources.items() if "ArgumentParser(" in source}
    assert len(programs) > 30
    for name, source in programs.items():
        assert re.match(r'(#!.*\n)?r?"""[A-Z]', source), name
        examples = re.findall(rf"^    .*python benchmarks/{name}(.*)$", source.partition('"""\n\n')[0], re.MULTILINE)
        assert examples, name
        assert [word for word in " ".join(examples).split() if word[:2] == "--" and f'"{word}"' not in source] == [], (
            name
        )
    options = {  # parsing the whole files would take a second
        name: textwrap.dedent(re.search(r"^ +\w+ = argparse.ArgumentParser\(.*?(?=^.*parse_args\()", source, FLAGS)[0])
        for name, source in programs.items()
    }
    assert {name: lacking for name, source in options.items() if (lacking := faults_of_source(source))} == {}


def test_an_incomplete_help_of_a_program_is_seen():
    source = """
p.add_argument('--a', help='of it')
p.add_argument('--b', default=3, metavar='N', help='number of clips')
p.add_argument('c', metavar='N')
p.add_argument('--d', help=argparse.SUPPRESS)
add(p, '--e', 3, 'N', 'of it')
add(p, '--f', 3, 'N', 'number of clips')
"""
    assert faults_of_source(source) == [
        "--a: 'of it' does not say what it is",
        "--a: no metavar",
        "--b: the help lacks its default",
        "c: '' does not say what it is",
        "--e: 'of it' does not say what it is",
    ]
