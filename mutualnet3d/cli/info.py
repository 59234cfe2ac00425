"""What there is, on one page: networks, configs, tools, back ends, GPUs.

    python -m mutualnet3d [--json]

Configs and tools are those of the checkout that this package is in.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import textwrap
from collections import Counter
from typing import Any, cast

import simplejson
import torch

import mutualnet3d
from mutualnet3d.config.load import CONFIG_ROOT
from mutualnet3d.deploy.backends import BACKENDS, Backend
from mutualnet3d.deploy.networks import CONVERTERS, NetworkStore
from mutualnet3d.extras import hint, installed
from mutualnet3d.models import list_models
from mutualnet3d.shapes import SubnetConfig

# tools/ stands beside the package in a checkout.
TOOLS_ROOT = os.path.join(os.path.dirname(os.path.dirname(CONFIG_ROOT)), "tools")
READY = "ready"
_WIDTH = 120  # of a line
_ANY = SubnetConfig(width=1.0, size=224, frames=16)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mutualnet3d", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the same for programs")
    args = parser.parse_args(words)
    found = overview()
    print(simplejson.dumps(found, indent=1) if args.json else to_text(found))
    return 0


def overview() -> dict[str, Any]:
    """Plain values: version, models, configs, tools and back ends by name, devices."""
    return {
        "version": mutualnet3d.__version__,
        "torch": torch.__version__,
        "models": list_models(),
        "configs": find_configs(),
        "tools": find_tools(),
        "backends": find_backends(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def to_text(found: dict[str, Any]) -> str:
    """`overview` for a terminal."""
    gpus = [f"  {name} {count} x" for name, count in Counter(found["gpus"]).items()] or ["  none; the CPU computes"]
    parts = [
        (f"mutualnet3d {found['version']}, torch {found['torch']}", []),
        ("networks, for mutualnet3d.create_model", _wrapped(found["models"])),
        ("configs, for --cfg", _wrapped(found["configs"]) or ["  none here; they come with a checkout"]),
        ("tools", _columns(found["tools"]) or ["  none here; they come with a checkout"]),
        ("back ends, for --backend", _columns(found["backends"])),
        ("GPUs", gpus),
    ]
    return "\n\n".join("\n".join([title, *lines]) for title, lines in parts)


def find_configs(root: str = CONFIG_ROOT) -> list[str]:
    """What `load_cfg` takes for each file below `root`: its name, with the folders that tell it from others."""
    paths = [
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith(".yaml")
    ]
    count = Counter(map(os.path.basename, paths))
    names = {path: os.path.basename(path) if count[os.path.basename(path)] == 1 else path for path in paths}
    return [names[path] for path in sorted(paths)]


def find_tools(root: str = TOOLS_ROOT) -> dict[str, str]:
    """The first sentence of each tool's docstring, by its path in the checkout."""
    tools = {}
    for name in sorted(os.listdir(root) if os.path.isdir(root) else []):
        if name.endswith(".py"):
            with open(os.path.join(root, name), encoding="utf-8") as file:
                text = ast.get_docstring(ast.parse(file.read())) or ""
            first = " ".join(text.partition("\n\n")[0].split())
            tools[f"{os.path.basename(root)}/{name}"] = first.partition(". ")[0].removesuffix(".")
    return tools


def find_backends() -> dict[str, str]:
    """`ready`, or what keeps it from running on this machine's CPU, or PyTorch's on its GPU, by the back end's name."""
    return {name: _state(kind) for name, kind in BACKENDS.items()}


def _state(kind: type[Backend]) -> str:
    gpu = ["cuda"] if "cuda" in kind.devices and torch.cuda.is_available() else []
    anything = cast(NetworkStore, _Anything())
    problems = [kind.why_not(anything, _ANY, torch.device(device)) for device in [*gpu, "cpu"]]
    if None not in problems:
        return str(problems[0])
    lacking = [module for module in CONVERTERS if not installed(module)]
    if kind.format in ("openvino", "onnx") and lacking:
        return f"{READY} for bundles; for checkpoints: {hint(lacking[0], kind.extra)}"
    return f"{READY} for bundles" if kind.format in ("openvino-int8", "pt2") else READY


class _Anything:
    """Of a `NetworkStore` what `Backend.why_not` asks: every form of every sub-network."""

    path = "any"

    def formats(self, config: SubnetConfig) -> frozenset[str]:
        return frozenset(kind.format for kind in BACKENDS.values())

    def modules(self, format: str) -> tuple[str, ...]:
        return ()


def _wrapped(names: list[str]) -> list[str]:
    return textwrap.wrap("  ".join(names), _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _columns(texts: dict[str, str]) -> list[str]:
    indent = max(map(len, texts), default=0) + 4
    lines: list[str] = []
    for name, text in texts.items():
        start = f"  {name}".ljust(indent)
        lines += textwrap.wrap(text, _WIDTH, initial_indent=start, subsequent_indent=" " * indent) or [start.rstrip()]
    return lines


if __name__ == "__main__":
    sys.exit(main())
