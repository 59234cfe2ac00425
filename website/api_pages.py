"""Pages of the Python API: a line of mkdocstrings for every public name of the package and of its documented parts."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = "mutualnet3d"
_TOP = "index"
# Page -> module whose `__all__` it documents, and its introduction; in the order of navigation.
PARTS = {
    _TOP: (PACKAGE, "`import mutualnet3d as m3` has these names; each is loaded when it is first used."),
    "mutual": (f"{PACKAGE}.mutual", "The paper's training step and calibration, for a loop of your own."),
    "models": (f"{PACKAGE}.models", "Networks, their costs, weights and files."),
    "deploy": (f"{PACKAGE}.deploy", "Results of predictions, bundles, streams."),
    "runner": (f"{PACKAGE}.runner", "Training and testing by a config."),
    "config": (f"{PACKAGE}.config", "Configs: YAML files and overrides."),
    "ops": (f"{PACKAGE}.ops", "Slimmable layers."),
    "demo": (f"{PACKAGE}.demo", "The moving shapes of the demo."),
}
# Documented names of modules without `__all__`.
MORE = {
    "results": (f"{PACKAGE}.results.query_table", ("Row",), "Rows of the query table."),
    "shapes": (f"{PACKAGE}.shapes", ("ClipBatch", "Shard"), "Values that cross parts of the package."),
    "sharing": (f"{PACKAGE}.sharing.shared_model", ("SharedModel",), "Models on the Hugging Face Hub (extra `hub`)."),
}
_GUIDE = "Examples, and the page of each subject: [Python](../PYTHON.md).\n"


def public_names(source: str) -> list[str]:
    """Return the names of a module's `__all__`.

    Raises:
        ValueError: the source has none.
    """
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError("no __all__ in the module")


def full_name(package: Path, module: str, name: str) -> str:
    """Return the name under which mkdocstrings finds a name of a part.

    It is that of the name's home where a module of the part has the same name: `mutual.calibrate.calibrate`.
    """
    place = package.parent / module.replace(".", "/")
    return f"{module}.{name}.{name}" if (place / f"{name}.py").exists() else f"{module}.{name}"


def documented_names(package: Path) -> dict[str, list[str]]:
    """Return the full names on each page; a name that several parts have is on the first one's.

    Args:
        package: folder of the package.
    """
    names: dict[str, list[str]] = {}
    taken: set[str] = set()
    for page, (module, _) in PARTS.items():
        source = package.parent / module.replace(".", "/") / "__init__.py"
        own = [name for name in public_names(source.read_text(encoding="utf-8")) if name not in taken]
        taken.update(own)
        names[page] = [full_name(package, module, name) for name in own]
    return names | {page: [f"{module}.{name}" for name in members] for page, (module, members, _) in MORE.items()}


def api_pages(package: Path) -> dict[str, str]:
    """Return the text of each page by its place on the site."""
    introductions = {page: (module, text) for page, (module, text) in PARTS.items()}
    introductions |= {page: (module, text) for page, (module, _, text) in MORE.items()}
    pages = {}
    for page, names in documented_names(package).items():
        module, text = introductions[page]
        guide = _GUIDE if page == _TOP else ""
        directives = "\n".join(f"::: {name}\n" for name in names)
        pages[f"api/{page}.md"] = f"# {module}\n\n{text}\n{guide}\n{directives}"
    return pages
