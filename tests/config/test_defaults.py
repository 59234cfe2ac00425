from __future__ import annotations

import itertools
import re
from pathlib import Path

from mutualnet3d.config.defaults import default_cfg

ROOT = Path(__file__).resolve().parents[2]


def keys_of(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, type(node)):
            yield from keys_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_is_read_somewhere():
    places = [
        *(ROOT / "mutualnet3d/runner").glob("*.py"),
        ROOT / "mutualnet3d/cli/train.py",
        *(ROOT / "mutualnet3d").glob("*/build*.py"),
    ]
    text = "\n".join(path.read_text() for path in places)
    unread = [key for key in keys_of(default_cfg()) if not re.search(rf"cfg\.{re.escape(key)}\b", text)]
    assert unread == []


def test_every_default_has_a_comment():
    lines = (ROOT / "mutualnet3d/config/defaults.py").read_text().splitlines()
    assert len(lines) > 200
    uncommented = []
    for above, line in itertools.pairwise(lines):
        if re.match(r"_C\.[A-Z0-9_.]+ = (?!CfgNode)", line) and not above.startswith(("#", "_C.")):
            uncommented.append(line)
    assert not uncommented
