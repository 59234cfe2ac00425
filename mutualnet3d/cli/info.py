"""Print what this installation has: networks, configs, commands, back ends, GPUs.

    mutualnet3d info
    mutualnet3d info --json

The names of configs and back ends are those that --cfg and --backend of other commands take.
"""

from __future__ import annotations

import argparse
import os
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import mutualnet3d
from mutualnet3d.cli.command import Command
from mutualnet3d.extras import hint, installed
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from mutualnet3d.deploy.backends import Backend
    from mutualnet3d.deploy.networks import NetworkStore
    from mutualnet3d.shapes import SubnetConfig

READY = "ready"
_WIDTH = 120  # columns of a line
_PACKAGE = os.path.dirname(os.path.abspath(mutualnet3d.__file__))
SLURM_SCRIPT = os.path.join(_PACKAGE, "slurm", "train.sbatch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d info`."""
    parser.add_argument("--json", action="store_true", help="print the same as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the overview as text or JSON; return the exit status."""
    import simplejson

    content = overview()
    print(printable(simplejson.dumps(content, indent=1) if args.json else to_text(content), keep="\n"))
    return 0


def overview() -> dict[str, Any]:
    """Return plain values: version, models, configs, commands and back ends by name, the batch script, GPUs."""
    import torch

    from mutualnet3d.models import list_models

    return {
        "version": mutualnet3d.__version__,
        "torch": torch.__version__,
        "models": list_models(),
        "configs": find_configs(),
        "commands": find_commands(),
        "slurm_script": SLURM_SCRIPT,
        "backends": find_backends(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def to_text(content: dict[str, Any]) -> str:
    """Return an `overview` for a terminal."""
    gpus = [f"  {name} {count} x" for name, count in Counter(content["gpus"]).items()] or ["  none; the CPU computes"]
    parts = [
        (f"mutualnet3d {content['version']}, torch {content['torch']}", []),
        ("networks, for mutualnet3d.create_model", _wrapped(content["models"])),
        ("configs, for --cfg", _wrapped(content["configs"])),
        ("commands, of mutualnet3d", _columns(content["commands"])),
        ("batch script, for sbatch", [f"  {content['slurm_script']}"]),
        ("back ends, for --backend", _columns(content["backends"])),
        ("GPUs", gpus),
    ]
    return "\n\n".join("\n".join([title, *lines]) for title, lines in parts)


def find_configs(root: str | None = None) -> list[str]:
    """Return the name of each file below `root` for `load_cfg`, with the folders that tell it from others.

    Args:
        root: folder of configs; default: that of the package.
    """
    from mutualnet3d.config.load import CONFIG_ROOT

    root = root or CONFIG_ROOT
    paths = [
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith(".yaml")
    ]
    count = Counter(map(os.path.basename, paths))
    names = {path: os.path.basename(path) if count[os.path.basename(path)] == 1 else path for path in paths}
    return [names[path] for path in sorted(paths)]


def find_commands() -> dict[str, str]:
    """Return each command's summary by its name."""
    from mutualnet3d.cli.main import COMMANDS, load_command

    return {name: load_command(name).summary for name in COMMANDS}


def find_backends() -> dict[str, str]:
    """Return `ready` by a back end's name, or the reason why it cannot run on this machine's GPU or CPU."""
    from mutualnet3d.deploy.backends import BACKENDS

    return {name: _state(kind) for name, kind in BACKENDS.items()}


def _state(kind: type[Backend]) -> str:
    import torch

    from mutualnet3d.deploy.networks import CONVERTERS
    from mutualnet3d.shapes import SubnetConfig

    gpu = ["cuda"] if "cuda" in kind.devices and torch.cuda.is_available() else []
    store, config = cast("NetworkStore", _AnyStore()), SubnetConfig(width=1.0, size=224, frames=16)
    problems = [kind.why_not(store, config, torch.device(device)) for device in [*gpu, "cpu"]]
    if None not in problems:
        return str(problems[0])
    lacking = [module for module in CONVERTERS if not installed(module)]
    if kind.format in ("openvino", "onnx") and lacking:
        return f"{READY} for bundles; for checkpoints: {hint(lacking[0], kind.extra)}"
    return f"{READY} for bundles" if kind.format in ("openvino-int8", "pt2") else READY


class _AnyStore:
    """Part of a `NetworkStore` that `Backend.why_not` needs, with every form of every sub-network."""

    path = "any"

    def formats(self, config: SubnetConfig) -> frozenset[str]:
        from mutualnet3d.deploy.backends import BACKENDS

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


main = Command(__doc__, add_arguments, run)
