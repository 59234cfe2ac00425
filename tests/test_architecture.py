"""docs/architecture.md says how the package is built; this holds the package to it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mutualnet3d as m3
from tests.package_tree import PackageTree

ROOT = Path(__file__).resolve().parents[1]
TREE = PackageTree(ROOT / "mutualnet3d")
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

# Every part may import these; they import none of ours.
LEAVES = {"shapes", "log", "extras", "files", "fork_server", "process_pool"}
# part -> the parts that it may import beside the leaves; docs/architecture.md has the same as a table.
ALLOWED: dict[str, set[str]] = {
    **{leaf: set() for leaf in LEAVES},
    "process_pool": {"fork_server"},
    "config": set(),
    "ops": set(),
    "slimmable_model": {"ops"},
    "distributed": set(),
    "video": set(),
    "data": {"video"},
    "demo": {"video"},
    "models": {"ops"},
    "mutual": {"ops", "slimmable_model"},
    "results": set(),
    "plots": {"results"},
    "engine": {"mutual", "results", "distributed", "slimmable_model"},
    # `config` only to upgrade models of the first release: see READS_CONFIG_OF_DEPLOY.
    "deploy": {"config", "models", "data", "video", "results", "plots", "ops"},
    "serving": {"data", "deploy", "results", "video"},
    "sharing": {"data", "deploy", "models", "plots", "results"},
    "runner": {
        "deploy",
        "config",
        "data",
        "models",
        "mutual",
        "engine",
        "results",
        "plots",
        "ops",
        "distributed",
    },
    "cli": {
        "__init__",
        "config",
        "data",
        "demo",
        "deploy",
        "distributed",
        "engine",
        "models",
        "plots",
        "results",
        "runner",
        "serving",
        "video",
    },
    "__main__": {"cli"},
    "__init__": {"config", "deploy", "models", "mutual", "results"},
}
READS_CONFIG_OF_DEPLOY = {"deploy/upgrade_model_file.py"}
READS_CFG = {
    "config",
    "runner",
    "cli",
    "data/build_loaders.py",
    "data/build_split.py",
    "deploy/upgrade_model_file.py",
    "models/build.py",
}

# Exceptions, each with its reason.
MAX_LINES, MAX_CLASS_LINES = 350, 200
LONG_MODULES: dict[str, str] = {}  # path -> reason
LONG_CLASSES: dict[str, str] = {}  # path:class -> reason
IMPORTS_IN_CIRCLES = {  # (module, imported module) -> reason
    ("mutualnet3d.cli.info", "mutualnet3d.cli.main"): "the command `info` lists all commands, and is one of them",
}
WITHOUT_TEST: dict[str, str] = {}  # path -> reason
TESTS_OF_NO_MODULE = {  # path -> reason
    "cli/test_failing_commands.py": "whole commands that fail, each in another way",
    "config/test_recipes.py": "of the YAML files in configs/",
    "engine/test_cuda.py": "of all that needs a GPU",
    "models/test_damaged_weights.py": "damaged bytes of every kind of file with weights",
    "models/test_families.py": "the same tests for the networks of every module",
    "runner/test_failing_runs.py": "whole runs that fail, each at another place",
    "runner/test_training_data.py": "whole runs that share data as users have them",
    "runner/test_training_processes.py": "whole runs in several processes",
    "runner/test_training_without_clips.py": "whole runs whose clips do not come",
    "test_architecture.py": "of docs/architecture.md",
    "test_doc_pages.py": "of the links and texts of README and docs/, and of CITATION.cff",
    "test_docs.py": "of the commands in README, INSTALL and docs/",
    "test_examples.py": "of examples/",
    "test_language.py": "of tests/language.py, and of the words of the whole project",
    "test_public_types.py": "of the public API as mypy sees it",
    "test_ray_batch.py": "of examples/ray_batch.py, which needs a package that the other tests do without",
    "test_site.py": "of website/ and mkdocs.yml",
    "test_slurm.py": "of the scripts in slurm/",
    "test_slurm_script.py": "of the scripts in slurm/, without SLURM",
    "test_tutorial.py": "of docs/TUTORIAL.md",
    "test_wheel.py": "of the installed package",
}


def section(page: str, title: str) -> str:
    """Return the text of a section of a Markdown page, up to the next of its level."""
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL)
    assert match, f"no section {title!r}"
    return match[1]


def described_paths(page: str) -> list[str]:
    """Return the paths of the page's tree, relative to the checkout; folders end with a slash.

    Two spaces are a level. A folder's line stands for its `__init__.py`.
    """
    block = re.search(r"^```\n(.*?)^```$", section(page, "The tree"), flags=re.MULTILINE | re.DOTALL)
    assert block
    folders, paths = [], []
    for line in block[1].splitlines():
        entry = re.fullmatch(r"((?:  )*)(\S+) +\S.*", line)
        assert entry, f"not a name and its description: {line!r}"
        folders[len(entry[1]) // 2 :] = [entry[2]]
        paths.append("".join(folders))
    return paths


def mistakes_in_tree(page: str, tree: PackageTree) -> list[str]:
    """Return the modules that the page's tree leaves out, and its lines that are of nothing or come twice."""
    paths = described_paths(page)
    modules = [f"{tree.package}/{path}".removesuffix("__init__.py") for path in tree.paths.values()]
    return [
        *(f"{path} has no line" for path in modules if path not in paths),
        *(f"{path} does not exist" for path in paths if not (tree.folder.parent / path).exists()),
        *(f"{path} has two lines" for path in sorted(set(paths)) if paths.count(path) > 1),
    ]


def import_table(page: str) -> dict[str, set[str]]:
    """Return the parts that each part may import beside the leaves, as the page's table says."""
    table: dict[str, set[str]] = {}
    for parts, imported in re.findall(r"^\| (`.*?) \| (.*) \|$", section(page, "Parts and their import order"), re.M):
        for part in re.findall(r"`(\w+)`", parts):
            assert part not in table, f"{part} has two rows"
            table[part] = set(re.findall(r"`(\w+)`", imported))
    return table


def wrong_imports(tree: PackageTree) -> list[str]:
    """Return the imports of a tree that `ALLOWED` does not have."""
    wrong = []
    for name in tree.paths:
        part = tree.part(name)
        assert part in ALLOWED, f"{name}: give {part} its place in ALLOWED"
        allowed = ALLOWED[part] | (set() if part in LEAVES else LEAVES)
        wrong += [f"{name} imports {imported}" for imported in sorted(tree.imported_parts(name) - allowed)]
    return wrong


@pytest.fixture
def make_tree(tmp_path) -> Callable[[dict[str, str]], PackageTree]:
    def make(sources: dict[str, str]) -> PackageTree:
        """Return a made-up package: text by path, below its folder."""
        for path, text in {"__init__.py": "", **sources}.items():
            place = tmp_path / "mutualnet3d" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return PackageTree(tmp_path / "mutualnet3d")

    return make


def test_every_module_has_its_line_in_the_tree():
    assert mistakes_in_tree(PAGE, TREE) == []


def test_a_tree_with_mistakes_is_seen(make_tree):
    page = "## The tree\n\n```\nmutualnet3d/    package\n  log.py        text\n  old.py        gone\n```\n\n## Next\n"
    tree = make_tree({"log.py": "", "ops/__init__.py": "", "ops/conv.py": ""})
    assert mistakes_in_tree(page, tree) == [
        "mutualnet3d/ops/ has no line",
        "mutualnet3d/ops/conv.py has no line",
        "mutualnet3d/old.py does not exist",
    ]
    whole = page.replace("  old.py        gone", "  ops/    layers\n    conv.py    one\n    conv.py    one")
    assert mistakes_in_tree(whole, tree) == ["mutualnet3d/ops/conv.py has two lines"]
    with pytest.raises(AssertionError, match=r"not a name and its description: '  log.py'"):
        described_paths(page.replace("log.py        text", "log.py"))


def folders_left_out(page: str, tree: PackageTree) -> set[str]:
    """Return the folders of the package that a page's section "What is where" does not name."""
    folders = {path.parts[0] for path in tree.paths.values() if len(path.parts) > 1}
    return folders - set(re.findall(r"`(\w+)`", section(page, "What is where")))


def test_contributing_names_every_part():
    assert folders_left_out((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), TREE) == set()


def test_a_part_that_is_left_out_is_seen(make_tree):
    tree = make_tree({"ops/__init__.py": "", "data/__init__.py": "", "log.py": ""})
    assert folders_left_out("## What is where\n\n`ops` layers\n\n## Next\n\n`data`\n", tree) == {"data"}


def absent_paths(page: str, tree: PackageTree) -> list[str]:
    """Return the paths `a/b.py` in a page's text that neither the package nor the checkout has."""
    paths = re.findall(r"`((?:\w+/)+\w+\.py)`", page)
    return [path for path in paths if not any((top / path).is_file() for top in (tree.folder, tree.folder.parent))]


def test_paths_in_the_text_exist():
    assert absent_paths(PAGE, TREE) == []


def test_a_path_to_nothing_is_seen(make_tree):
    page = "`ops/conv.py`, `ops/old.py`, `mutualnet3d/ops/conv.py`, `tests/test_no.py`, `ops/`, `conv.py`"
    assert absent_paths(page, make_tree({"ops/conv.py": ""})) == ["ops/old.py", "tests/test_no.py"]


def test_the_pages_table_is_the_import_order():
    assert import_table(PAGE) == ALLOWED


def test_the_table_is_read_row_by_row():
    page = (
        "## Parts and their import order\n\n| part | may import |\n|---|---|\n| `shapes`, `log` (leaves) | nothing |\n"
    )
    page += "| `data` | `video` |\n\n## Next\n\n| `engine` | `data` |\n"
    assert import_table(page) == {"shapes": set(), "log": set(), "data": {"video"}}


def test_imports_point_one_way():
    assert wrong_imports(TREE) == []


def test_a_wrong_import_of_any_kind_is_seen(make_tree):
    tree = make_tree(
        {
            "log.py": "",
            "engine/__init__.py": "from mutualnet3d.log import logger",
            "engine/hooks.py": "",
            "runner/__init__.py": "",
            "video/__init__.py": "",
            "video/reader.py": "x = 1",
            "data/__init__.py": "import mutualnet3d.engine.hooks\nfrom mutualnet3d import runner\n"
            "def f():\n    from mutualnet3d.video.reader import x\n",
            "ops/__init__.py": "from mutualnet3d.engine import logger",
            "files/__init__.py": "import typing\nif typing.TYPE_CHECKING:\n    from mutualnet3d import log",
        }
    )
    assert tree.imported_parts("mutualnet3d.data") == {"engine", "runner", "video"}
    assert wrong_imports(tree) == [
        "mutualnet3d.data imports engine",
        "mutualnet3d.data imports runner",
        "mutualnet3d.files imports log",
        "mutualnet3d.ops imports engine",
    ]
    with pytest.raises(AssertionError, match=r"mutualnet3d.new: give new its place in ALLOWED"):
        wrong_imports(make_tree({"new.py": ""}))


def test_no_modules_import_each_other():
    assert TREE.circle(without=IMPORTS_IN_CIRCLES) == []
    for exception in IMPORTS_IN_CIRCLES:
        others = IMPORTS_IN_CIRCLES.keys() - {exception}
        assert TREE.circle(without=others), f"{exception} is in no circle any more"


@pytest.mark.parametrize(
    "line",
    [
        "import mutualnet3d.ops.conv",
        "from mutualnet3d.ops import conv",
        "from mutualnet3d.ops.conv import Conv",
        "from mutualnet3d.ops import Conv",
        "from mutualnet3d.models import Conv",
        "def f():\n    from mutualnet3d.ops.conv import Conv",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mutualnet3d.ops.conv import Conv",
        "import importlib\nimportlib.import_module('mutualnet3d.ops.conv')",
        "import importlib\ndef f(name):\n    importlib.import_module(f'mutualnet3d.ops.{name}')",
    ],
)
def test_a_circle_is_seen(make_tree, line):
    sources = {
        "ops/__init__.py": "from mutualnet3d.ops.conv import Conv",
        "ops/conv.py": "from mutualnet3d.ops.width import f\nclass Conv: ...",
        "ops/width.py": "",
        "models/__init__.py": "from mutualnet3d.ops import Conv",
    }
    assert make_tree(sources).circle() == []
    tree = make_tree({**sources, "ops/width.py": line})
    circle = tree.circle()
    assert circle[0] == circle[-1]
    assert set(circle) == {"mutualnet3d.ops.conv", "mutualnet3d.ops.width"}
    assert tree.circle(without=[("mutualnet3d.ops.width", "mutualnet3d.ops.conv")]) == []


def test_modules_import_their_neighbours_by_name():
    """A name that they had through their package's `__init__` would depend on the order of its lines."""
    assert TREE.through_own_package() == []


def test_an_import_through_the_own_package_is_seen(make_tree):
    tree = make_tree(
        {
            "ops/__init__.py": "from mutualnet3d.ops.conv import Conv",
            "ops/conv.py": "class Conv: ...",
            "ops/norm.py": "from mutualnet3d.ops import Conv, conv\nfrom mutualnet3d import ops",
            "models.py": "from mutualnet3d.ops import Conv",
        }
    )
    assert tree.through_own_package() == ["mutualnet3d.ops.norm from mutualnet3d.ops import Conv"]


def test_modules_and_classes_are_short():
    assert TREE.long_modules(MAX_LINES).keys() == LONG_MODULES.keys()
    assert TREE.long_classes(MAX_CLASS_LINES).keys() == LONG_CLASSES.keys()


def test_length_is_seen(make_tree):
    tree = make_tree({"ops/conv.py": "\n" * 3 + "class Conv:\n    a = 1\n\n    class Inner:\n        b = 1\n"})
    assert tree.long_modules(7) == {"ops/conv.py": 8}
    assert tree.long_modules(8) == {}
    assert tree.long_classes(1) == {"ops/conv.py:Conv": 5, "ops/conv.py:Inner": 2}
    assert tree.long_classes(4) == {"ops/conv.py:Conv": 5}
    assert tree.long_classes(5) == {}


def test_tests_mirror_the_package():
    assert TREE.without_test(ROOT / "tests") == WITHOUT_TEST.keys()
    assert TREE.tests_without_module(ROOT / "tests") == TESTS_OF_NO_MODULE.keys()


def test_a_module_without_its_test_is_seen(make_tree, tmp_path):
    tree = make_tree({"log.py": "", "ops/__init__.py": "", "ops/conv.py": "", "ops/norm.py": ""})
    tests = tmp_path / "tests"
    for path in ("test_log.py", "ops/test_conv.py", "ops/test_old.py", "test_norm.py", "benchmarks/test_report.py"):
        (tests / path).parent.mkdir(parents=True, exist_ok=True)
        (tests / path).write_text("")
    assert tree.without_test(tests) == {"ops/norm.py"}
    assert tree.tests_without_module(tests) == {"ops/test_old.py", "test_norm.py"}


def test_deployment_understands_a_config_in_one_place():
    assert modules_that_read_configs_in_deploy(TREE) == READS_CONFIG_OF_DEPLOY


def modules_that_read_configs_in_deploy(tree: PackageTree) -> set[str]:
    return {
        str(path)
        for name, path in tree.paths.items()
        if path.parts[0] == "deploy"
        and any(module.startswith(("mutualnet3d.config", "mutualnet3d.data.build")) for module, _ in tree.imports(name))
    }


def test_a_reader_of_configs_in_deploy_is_seen(make_tree):
    tree = make_tree(
        {
            "deploy/load.py": "from mutualnet3d.config import load_cfg",
            "deploy/bundle.py": "def f():\n    from mutualnet3d.data.build_loaders import build_preprocessing",
            "deploy/stream.py": "from mutualnet3d.data.lists import Video",
        }
    )
    assert modules_that_read_configs_in_deploy(tree) == {"deploy/load.py", "deploy/bundle.py"}


def uses_of_cfg(tree: PackageTree) -> list[str]:
    """Return the places outside of `READS_CFG` that have a variable or argument `cfg`."""
    return [
        f"{path}:{line}"
        for name, path in tree.paths.items()
        if tree.part(name) not in READS_CFG and str(path) not in READS_CFG
        for variable, line in tree.variables(name)
        if variable == "cfg"
    ]


def test_cfg_is_read_at_the_edge_only():
    assert uses_of_cfg(TREE) == []


def test_a_use_of_cfg_is_seen(make_tree):
    tree = make_tree({"engine/optim.py": "def f(cfg): ...\n", "ops/conv.py": "\ncfg = 1\n", "runner/a.py": "cfg = 1\n"})
    assert uses_of_cfg(tree) == ["engine/optim.py:1", "ops/conv.py:2"]


def importers_of_pyav(tree: PackageTree) -> set[str]:
    """Return the parts that import PyAV."""
    return {tree.part(name) for name in tree.paths if "av" in tree.imported_packages(name)}


def test_pyav_is_imported_by_video_alone():
    assert importers_of_pyav(TREE) == {"video"}


def test_an_import_of_pyav_is_seen(make_tree):
    tree = make_tree(
        {"data/a.py": "import av.container", "demo/b.py": "def f():\n    from av import open", "log.py": ""}
    )
    assert importers_of_pyav(tree) == {"data", "demo"}


def loaded_with(modules: list[str], heavy: set[str]) -> list[str]:
    """Return those of the `heavy` modules that a new process has after it imported `modules`."""
    script = f"import sys, {', '.join(modules)}; print(*sorted({heavy!r} & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_what_reads_videos_alone_loads_no_torch():
    """Every process that the data tools start would take seconds more."""
    names = ["data.check_videos", "data.prepare_videos", "data.make_lists", "demo", "process_pool"]
    names += [f"video.{path.stem}" for path in TREE.paths.values() if path.parts[0] == "video" and path.stem[0] != "_"]
    modules = ["mutualnet3d", *(f"mutualnet3d.{name}" for name in names)]
    assert loaded_with(modules, {"torch", "torchvision"}) == []


def test_a_module_that_loads_another_is_seen():
    assert loaded_with(["csv"], {"_csv", "torch"}) == ["_csv"]


def test_public_names_are_there_when_they_are_asked_for():
    assert set(m3._HOMES) == set(m3.__all__)
    for name in m3.__all__:
        assert getattr(m3, name).__name__ == name
        assert getattr(m3, name) is getattr(importlib.import_module(f"mutualnet3d.{m3._HOMES[name]}"), name)
        assert name in dir(m3)
    assert m3.models.create_model is m3.create_model
    with pytest.raises(AttributeError, match=r"module 'mutualnet3d' has no attribute 'nothing'"):
        m3.nothing  # noqa: B018
