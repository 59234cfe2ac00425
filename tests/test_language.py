"""Measures of tests/language.py, on texts of their own and on the project."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.language import ROOT, Finding, docstrings, entries, main, measure_behind, measure_docstrings, measures

MODULE = '''#!/usr/bin/env python
"""Reader of clips."""

TEXT = """
What a text says.
"""


class Reader:  # a comment
    """What reads.

    Args:
        path: path of the video.
        fps, rate: frames per second, above 0; None: those
            of the file.
        order: how the frames are sorted.
        seed:
        size:
            side of the crop, pixels.

    Attributes:
        is_open: whether it is open.
    """

    def read(self) -> None:
        r"""Whether \\\\d is read."""


def f() -> str:
    """Return \\"a\\"."""
    return """
    From a text.
    """
'''


def docstrings_of_syntax(source: str) -> list[tuple[int, str]]:
    """Return the docstrings of a module as Python's parser finds them."""
    texts = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and ast.get_docstring(node) is not None:
                texts.append((first.lineno, ast.get_source_segment(source, first.value).lstrip("r")[3:-3]))
    return sorted(texts)


@pytest.mark.parametrize("folder", ["mutualnet3d/cli", "tests/runner", "examples"])
def test_docstrings_are_those_of_the_parser(folder):
    paths = list((ROOT / folder).rglob("*.py"))
    assert paths
    for path in paths:
        source = path.read_text(encoding="utf-8")
        assert list(docstrings(source)) == docstrings_of_syntax(source), path


def test_docstrings_of_a_module():
    assert list(docstrings(MODULE)) == docstrings_of_syntax(MODULE)
    assert [line for line, _ in docstrings(MODULE)] == [2, 10, 26, 30]


def test_entries_are_arguments_and_attributes_with_the_start_of_their_text():
    (_, docstring) = list(docstrings(MODULE))[1]
    assert list(entries(docstring)) == [
        (3, "path", "path of the video."),
        (4, "fps, rate", "frames per second, above 0; None: those"),
        (6, "order", "how the frames are sorted."),
        (7, "seed", ""),
        (8, "size", "side of the crop, pixels."),
        (12, "is_open", "whether it is open."),
    ]
    assert list(entries("Return a clip.\n\nRaises:\n    ValueError: what is wrong.")) == []


def test_openings_and_entries_without_a_noun_are_counted():
    openings, nameless = measure_docstrings({"a.py": MODULE, "b.py": '"""The one reader."""\n'})
    assert [str(finding) for finding in openings.findings] == [
        "a.py:10: What reads.",
        "a.py:26: Whether \\\\d is read.",
        "b.py:1: The one reader.",
    ]
    assert (openings.total, openings.value, openings.is_within_limit) == (5, 0.6, False)
    assert [str(finding) for finding in nameless.findings] == [
        "a.py:16: order: how the frames are sorted.",
        "a.py:17: seed: ",
        "a.py:22: is_open: whether it is open.",
    ]
    assert (nameless.total, nameless.value) == (6, 0.5)


def test_shares_up_to_the_limits_pass():
    sources = {f"{number}.py": '"""Reader of clips."""\n' for number in range(49)}
    openings, nameless = measure_docstrings({**sources, "last.py": '"""What reads."""\n'})
    assert (openings.value, openings.is_within_limit) == (0.02, True)
    assert (nameless.value, nameless.is_within_limit) == (0.0, True)
    assert not measure_docstrings({**sources, "last.py": '"""What reads."""\n', "0.py": '"""How."""\n'})[
        0
    ].is_within_limit


def test_behind_is_counted_but_where_it_is_literal():
    texts = {"a.md": "It runs.\nBehind the test it ends; behind it all.\n", "b.py": "# drawn behind the bars\nx = 1\n"}
    measure = measure_behind(texts, {"b.py": ("drawn behind",)})
    assert measure.findings == [Finding("a.md", 2, "Behind the test it ends; behind it all.")]
    assert not measure.is_within_limit
    assert measure_behind({"b.py": texts["b.py"]}, {"b.py": ("drawn behind",)}).is_within_limit
    assert len(measure_behind(texts, {}).findings) == 2


def make_checkout(root: Path, docstring: str) -> Path:
    """Return a folder with one module and one page, like a checkout."""
    (root / "mutualnet3d").mkdir()
    (root / "mutualnet3d" / "reader.py").write_text(f'"""{docstring}"""\n')
    (root / "README.md").write_text("It reads.\n")
    return root


def test_the_command_fails_over_a_limit_and_names_the_place(tmp_path, capsys):
    assert main(["--root", str(make_checkout(tmp_path, "From here."))]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "docstrings that open with neither verb nor noun: 1 of 1, 100.00% (limit 2%)",
        "  mutualnet3d/reader.py:1: From here.",
        "arguments that no noun describes: 0 of 0, 0.00% (limit 5%)",
        '"behind" for "after": 0 (limit 0)',
    ]


def test_the_command_passes_within_the_limits(tmp_path, capsys):
    assert main(["--list", "--root", str(make_checkout(tmp_path, "Reader of clips."))]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_project_is_within_the_limits():
    results = measures(ROOT)
    assert [measure.total is None or measure.total > 1000 for measure in results] == [True] * 3
    assert {measure.name: measure.findings for measure in results if not measure.is_within_limit} == {}
