"""Three measures of the language that the project is written in: `python -m tests.language [--list]`.

It is text alone that they read, without a parser, so that all files take a second. Over a limit it exits with 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("mutualnet3d", "tests", "tools", "benchmarks", "website", "examples")

# Share of all docstrings, share of all arguments that docstrings describe, number in all files.
MAX_OPENINGS, MAX_ENTRIES, MAX_BEHIND = 0.02, 0.05, 0

# A docstring opens with an imperative or with a noun.
OPENING = re.compile(
    r"(What|Which|Those|From|How|Whether|Where|That|Who|Whose|Why|When|If|As|The (one|ones|same)|Is|Has|Reads|Writes|"
    r"Makes|Raises|Chooses|Returns|Yields|Gets|Gives|Keeps|Holds|Tells|Sends|Called)\b",
    re.IGNORECASE,
)
# An argument is described by a noun, its unit or shape, and its allowed values.
NO_NOUN = re.compile(r"$|(whether|how|what|which|if|as|from|where|when|that)\b", re.IGNORECASE)
# "After" is meant, but where one thing stands at the other's back. path -> parts of such lines
BEHIND = re.compile(r"\bbehind\b", re.IGNORECASE)
LITERAL: dict[str, tuple[str, ...]] = {
    "mutualnet3d/plots/curves.py": ("drawn behind them",),
}
OWN_FILES = {"tests/language.py", "tests/test_language.py"}

TRIPLE_QUOTED = re.compile(r'"""((?s:.*?))"""')
BEFORE_DOCSTRING = re.compile(r"(\A(#.*\n|\n)*|:\s*(#.*)?\n) *[rR]?\Z")
SECTION = re.compile(r"^(?P<indent> *)(Args|Attributes):\n(?P<lines>((?P=indent) +\S.*\n|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"(?P<names>\*{0,2}\w+(, \*{0,2}\w+)*):(?P<text>.*)")


@dataclass(frozen=True)
class Finding:
    """Place of a text that a measure counts.

    Args:
        path: path of the file, relative to the checkout.
        line: number of the line, from 1.
        text: the line, or what of it was counted.
    """

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass
class Measure:
    """Number of places that break a rule.

    Args:
        name: the rule, as it is printed.
        limit: largest share of `total`, or largest number if there is no total.
        total: number of places that were looked at; None: the number alone counts.
        findings: places that break the rule.
    """

    name: str
    limit: float
    total: int | None
    findings: list[Finding]

    @property
    def value(self) -> float:
        """Share of the places that break the rule, or their number."""
        return len(self.findings) / max(1, self.total) if self.total is not None else len(self.findings)

    @property
    def is_within_limit(self) -> bool:
        """True if no more places break the rule than may."""
        return self.value <= self.limit

    def __str__(self) -> str:
        if self.total is None:
            return f"{self.name}: {len(self.findings)} (limit {self.limit:g})"
        return f"{self.name}: {len(self.findings)} of {self.total}, {self.value:.2%} (limit {self.limit:.0%})"


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module in the layout of `ruff format`: number of the first line, and text.

    A text in three double quotes is a docstring if only comments stand before it in its file, or if the line before it
    ends with a colon.
    """
    for match in TRIPLE_QUOTED.finditer(source):
        start = match.start()
        line_before = source.rfind("\n", 0, source.rfind("\n", 0, start)) + 1
        if BEFORE_DOCSTRING.search(source, 0 if start < 1000 else line_before, start):
            yield source.count("\n", 0, start) + 1, match[1]


def entries(docstring: str) -> Iterator[tuple[int, str, str]]:
    """Yield the arguments and attributes that a docstring describes: line after its first one, names, description."""
    for section in SECTION.finditer(docstring + "\n"):
        first = docstring.count("\n", 0, section.start("lines"))
        lines = section["lines"].split("\n")
        depth = next((len(line) - len(line.lstrip()) for line in lines if line.strip()), 0)
        for place, line in enumerate(lines):
            entry = ENTRY.fullmatch(line[depth:])
            if entry and len(line) - len(line.lstrip()) == depth:
                text = entry["text"].strip()
                following = lines[place + 1].strip() if place + 1 < len(lines) else ""
                yield first + place, entry["names"], text or (following if ENTRY.fullmatch(following) is None else "")


def measure_docstrings(sources: dict[str, str]) -> tuple[Measure, Measure]:
    """Return the measures of docstrings: their openings, and the descriptions of arguments.

    Args:
        sources: text of each module, by its path.
    """
    openings = Measure("docstrings that open with neither verb nor noun", MAX_OPENINGS, 0, [])
    nameless = Measure("arguments that no noun describes", MAX_ENTRIES, 0, [])
    num_docstrings = num_entries = 0
    for path, source in sources.items():
        for line, docstring in docstrings(source):
            num_docstrings += 1
            if OPENING.match(docstring.strip()):
                openings.findings.append(Finding(path, line, docstring.strip().split("\n")[0]))
            for offset, names, description in entries(docstring):
                num_entries += 1
                if NO_NOUN.match(description):
                    nameless.findings.append(Finding(path, line + offset, f"{names}: {description}"))
    openings.total, nameless.total = num_docstrings, num_entries
    return openings, nameless


def measure_behind(texts: dict[str, str], literal: dict[str, tuple[str, ...]] | None = None) -> Measure:
    """Return the lines that say "behind" where nothing stands at another thing's back.

    Args:
        texts: text of each file, by its path.
        literal: parts of the lines where something does, by the file's path.
    """
    literal = LITERAL if literal is None else literal
    measure = Measure('"behind" for "after"', MAX_BEHIND, None, [])
    for path, text in texts.items():
        if not BEHIND.search(text):
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if BEHIND.search(line) and not any(part in line for part in literal.get(path, ())):
                measure.findings.append(Finding(path, number, line.strip()))
    return measure


def read_files(root: Path) -> dict[str, str]:
    """Return the texts of a checkout: modules, pages, configurations, and what `make` and CI run, by path."""
    paths = [path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in (".py", ".yaml")]
    paths += [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *root.glob("*.py"), root / "Makefile"]
    paths += [path for path in (root / ".ci").glob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in sorted(paths) if path.exists()}


def measures(root: Path) -> list[Measure]:
    """Return the measures of a checkout."""
    texts = {path: text for path, text in read_files(root).items() if path not in OWN_FILES}
    modules = {path: text for path, text in texts.items() if path.endswith(".py")}
    return [*measure_docstrings(modules), measure_behind(texts)]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the measures of a checkout, and return 1 if one of them is over its limit, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.language", description=main.__doc__)
    parser.add_argument("--list", action="store_true", help="print every finding with its file and line")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the checkout (default: this one)")
    args = parser.parse_args(argv)
    results = measures(args.root)
    for measure in results:
        print(measure)
        for finding in measure.findings if args.list or not measure.is_within_limit else ():
            print(f"  {finding}")
    return 0 if all(measure.is_within_limit for measure in results) else 1


if __name__ == "__main__":
    sys.exit(main())
