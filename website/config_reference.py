"""Write docs/CONFIG_REFERENCE.md: every config key, made from the sources that the program itself reads.

    python website/config_reference.py

Descriptions and order come from the comments of config/defaults.py, allowed values from config/key_rules.py,
the project that a name is of from config/pyslowfast.py, the modules that read a key from the package's syntax.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutualnet3d.config import pyslowfast
from mutualnet3d.config.defaults import default_cfg
from mutualnet3d.config.key_rules import RULES
from mutualnet3d.config.rule import Rule
from mutualnet3d.files.atomic import write_text

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mutualnet3d"
DEFAULTS = PACKAGE / "config" / "defaults.py"
PAGE = ROOT / "docs" / "CONFIG_REFERENCE.md"

_TYPES = {bool: "True or False", int: "whole number", float: "number", str: "text"}
_HEAD = """\
# Config reference

All {count} keys, with the comments of [mutualnet3d/config/defaults.py](../mutualnet3d/config/defaults.py).
`python website/config_reference.py` writes this page. How YAML files and overrides are written: [CONFIG.md](CONFIG.md).

{contents}
"""
_PYSLOWFAST = """\
## Keys of PySlowFast

{shared} of the {count} keys have PySlowFast's names and meanings (compared with its commit 287ec00). Differences
between the projects: [COMING_FROM_PYSLOWFAST.md](COMING_FROM_PYSLOWFAST.md). What becomes of each key of
PySlowFast, those that are not this project's among them: [PYSLOWFAST_KEYS.md](PYSLOWFAST_KEYS.md).
"""


@dataclass
class Group:
    """Keys below one title of defaults.py: descriptions by key, in its order."""

    title: str
    descriptions: dict[str, str] = field(default_factory=dict)


def read_groups(source: str) -> list[Group]:
    """Return the groups of keys in the source of defaults.py.

    A key's description is the comment above it; keys that directly follow each other share one.

    Raises:
        ValueError: a key without a title or a comment above it; it names line and key.
    """
    groups: list[Group] = []
    comment: list[str] = []
    description = ""
    for number, line in enumerate(source.splitlines(), start=1):
        if title := re.fullmatch(r"# -+ (.*?) -+", line):
            groups.append(Group(title[1]))
        elif line.startswith("# "):
            comment.append(line[2:])
        elif key := re.match(r"_C\.([A-Z0-9_.]+) = ", line):
            description = " ".join(comment) or description
            comment = []
            if not groups or not description:
                raise ValueError(
                    f"defaults.py, line {number}: {key[1]} has no {'comment' if groups else 'title'} above"
                )
            groups[-1].descriptions[key[1]] = description
        else:
            comment, description = [], ""
    return groups


def read_places(package: Path) -> dict[str, list[str]]:
    """Return the modules outside of config/ that read each key as `cfg.SECTION.KEY`, as paths relative to `package`."""
    places: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        module = path.relative_to(package).as_posix()
        if not module.startswith("config/"):
            for key in {key for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for key in keys_of(node)}:
                places.setdefault(key, []).append(module)
    return places


def keys_of(node: ast.AST) -> Iterator[str]:
    """Yield the key that a node of syntax reads, "SECTION.KEY", if it is one of RULES."""
    names: list[str] = []
    while isinstance(node, ast.Attribute) and node.attr.isupper():
        names.insert(0, node.attr)
        node = node.value
    is_cfg = (isinstance(node, ast.Name) and node.id == "cfg") or (
        isinstance(node, ast.Attribute) and node.attr == "cfg"
    )
    if is_cfg and ".".join(names) in RULES:
        yield ".".join(names)


def value_of(key: str) -> Any:
    """Return a key's default."""
    value: Any = default_cfg()
    for name in key.split("."):
        value = value[name]
    return value


def type_text(rule: Rule) -> str:
    """Return a rule's type and its allowed values."""
    text = _TYPES[rule.kind] if rule.lengths is None else f"list of {_TYPES[rule.kind]}s"
    text += "".join(f" or `{word}`" for word in rule.words)
    if rule.choices and not rule.text:
        return f"{text}: " + " or ".join(f"`{choice}`" for choice in rule.choices)
    number = "any number of " if rule.lengths == () and not rule.text else ""
    return f"{text}: {number}{rule.allowed}" if rule.allowed else text


def linked(text: str, key: str) -> str:
    """Return a comment as Markdown, with links from other keys in it to their entries."""
    others = "|".join(re.escape(name) for name in RULES if name != key and "." in name)
    is_other = re.compile(rf"(?<![\w.])({others})\b")

    def with_links(piece: str) -> str:
        return is_other.sub(lambda match: f"[{match[1]}](#{anchor(match[1])})", piece.replace("<", "&lt;"))

    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else with_links(piece) for piece in pieces)


def anchor(heading: str) -> str:
    """Return a heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def entry(key: str, description: str, places: dict[str, list[str]]) -> str:
    """Return a key's heading, description and facts.

    Raises:
        ValueError: no module reads the key.
    """
    if key not in places:
        raise ValueError(f"{key} is read by no module of {PACKAGE.name}")
    modules = ", ".join(f"[{module}](../{PACKAGE.name}/{module})" for module in places[key])
    facts = [
        f"**default** `{value_of(key)!r}`",
        f"**type** {type_text(RULES[key])}",
        f"**name** {'this project' if key in pyslowfast.OWN_KEYS else 'PySlowFast'}'s",
        f"**read by** {modules}",
    ]
    return f"### {key}\n\n{linked(description, key)}\n\n{' · '.join(facts)}\n"


def pyslowfast_section() -> str:
    """Return the section about PySlowFast's keys."""
    return _PYSLOWFAST.format(count=len(RULES), shared=len(RULES.keys() - pyslowfast.OWN_KEYS))


def config_reference() -> str:
    """Return the page's text."""
    groups = read_groups(DEFAULTS.read_text(encoding="utf-8"))
    described = {key for group in groups for key in group.descriptions}
    if described != RULES.keys():
        raise ValueError(f"keys that only defaults.py or key_rules.py has: {sorted(described ^ RULES.keys())}")
    places = read_places(PACKAGE)
    titles = [group.title for group in groups] + ["Keys of PySlowFast"]
    parts = [_HEAD.format(count=len(RULES), contents=" · ".join(f"[{title}](#{anchor(title)})" for title in titles))]
    for group in groups:
        entries = [entry(key, description, places) for key, description in group.descriptions.items()]
        parts.append("\n".join([f"## {group.title}\n", *entries]))
    return "\n".join([*parts, pyslowfast_section()])


if __name__ == "__main__":
    write_text(str(PAGE), config_reference())
