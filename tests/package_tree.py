"""Facts about the source of a package: its modules, the imports between them, and the length of modules and classes."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Import = tuple[str, str | None]  # `import module`: (module, None); `from module import name`: (module, name)


class PackageTree:
    """Source of a package.

    Args:
        folder: folder of the package, whose name is the package's.

    Attributes:
        paths: path of each module, relative to the folder, by the module's full name.
    """

    def __init__(self, folder: Path):
        self.folder, self.package = folder, folder.name
        self.paths = {self._name(path): path.relative_to(folder) for path in sorted(folder.rglob("*.py"))}
        self._syntax = {name: ast.parse((folder / path).read_text()) for name, path in self.paths.items()}

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self.folder.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def part(self, name: str) -> str:
        """Return the part that a module is in: a folder or module at the top of the package, or its `__init__`."""
        return self.paths[name].parts[0].removesuffix(".py")

    def imports(self, name: str) -> Iterator[Import]:
        """Yield the imports of a module: at its top, in functions, for types alone, by a string."""
        for node in ast.walk(self._syntax[name]):
            if isinstance(node, ast.Import):
                yield from ((alias.name, None) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: imports are absolute here"
                yield from ((str(node.module), alias.name) for alias in node.names)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                yield from self._imports_by_string(node.args[0])

    def _imports_by_string(self, argument: ast.expr) -> Iterator[Import]:
        """Yield the module of a string; every module whose name begins like an f-string, if that begins with ours."""
        if isinstance(argument, ast.Constant):
            yield str(argument.value), None
        elif isinstance(argument, ast.JoinedStr) and isinstance(argument.values[0], ast.Constant):
            beginning = str(argument.values[0].value)
            if beginning.startswith(f"{self.package}."):
                yield from ((name, None) for name in self.paths if name.startswith(beginning))

    @cached_property
    def graph(self) -> dict[str, set[str]]:
        """Modules of the package that each one imports."""
        return {
            name: {target for imported in self.imports(name) if (target := self.home(*imported))} - {name}
            for name in self.paths
        }

    def home(self, module: str, name: str | None = None) -> str | None:
        """Return the module that an import leads to; None if it is of another package.

        A name that a package's `__init__` has from elsewhere leads to the module that it has it from: otherwise the
        `__init__` would stand between two modules that import each other.
        """
        if f"{module}.{name}" in self.paths:
            return f"{module}.{name}"
        if module not in self.paths:
            return None
        if name is not None and self.paths[module].name == "__init__.py":
            for node in ast.walk(self._syntax[module]):
                if isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        if name in (alias.asname, alias.name):
                            return self.home(str(node.module), alias.name) or module
        return module

    def circle(self, without: Collection[tuple[str, str]] = ()) -> list[str]:
        """Return the modules of a circle of imports, the first one again at its end; empty if there is none.

        Args:
            without: (module, imported module) of the imports that do not count.
        """
        counted = {
            name: {module for module in imported if (name, module) not in without}
            for name, imported in self.graph.items()
        }
        try:
            TopologicalSorter(counted).prepare()
        except CycleError as error:
            return list(error.args[1])
        return []

    def through_own_package(self) -> list[str]:
        """Return the modules that import a name through the `__init__` of a package that they are in."""
        return [
            f"{name} from {module} import {imported}"
            for name in self.paths
            for module, imported in self.imports(name)
            if imported
            and name.startswith(f"{module}.")
            and self.paths[module].name == "__init__.py"
            and self.home(module, imported) not in (module, f"{module}.{imported}")
        ]

    def imported_parts(self, name: str) -> set[str]:
        """Return the other parts of the package that a module imports, or names while it imports from elsewhere."""
        modules = {module for module, _ in self.imports(name) if module in self.paths and module != self.package}
        return {self.part(module) for module in modules | self.graph[name]} - {self.part(name)}

    def imported_packages(self, name: str) -> set[str]:
        """Return the first parts of the names of all modules that a module imports."""
        return {module.split(".")[0] for module, _ in self.imports(name)}

    def long_modules(self, limit: int) -> dict[str, int]:
        """Return the lines of each module that has more than `limit`, by its path."""
        lines = {str(path): len((self.folder / path).read_text().splitlines()) for path in self.paths.values()}
        return {path: count for path, count in lines.items() if count > limit}

    def long_classes(self, limit: int) -> dict[str, int]:
        """Return the lines of each class that has more than `limit`, by path and name, `a/b.py:Class`."""
        return {
            f"{self.paths[name]}:{node.name}": count
            for name, syntax in self._syntax.items()
            for node in ast.walk(syntax)
            if isinstance(node, ast.ClassDef) and (count := (node.end_lineno or 0) - node.lineno + 1) > limit
        }

    def variables(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield every variable and argument of a module, with its line."""
        for node in ast.walk(self._syntax[name]):
            if isinstance(node, ast.Name):
                yield node.id, node.lineno
            elif isinstance(node, ast.arg):
                yield node.arg, node.lineno

    def without_test(self, tests: Path) -> set[str]:
        """Return the paths of modules a/b.py that have no test_b.py in the folder `a` of the tests."""
        return {
            str(path)
            for path in self.paths.values()
            if path.name != "__init__.py" and not (tests / path.parent / f"test_{path.name}").is_file()
        }

    def tests_without_module(self, tests: Path) -> set[str]:
        """Return the paths of tests a/test_b.py, in folders that the package has too, that no module a/b.py has."""
        paths = {path.relative_to(tests) for path in tests.rglob("test_*.py")}
        folders = {path.parent for path in self.paths.values()}
        return {
            str(path)
            for path in paths
            if path.parent in folders and path.parent / path.name.removeprefix("test_") not in self.paths.values()
        }
