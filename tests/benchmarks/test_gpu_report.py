"""The GPU's report, tried out on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_parts_are_reported(tmp_path):
    # On a CPU the others take minutes; those of part 11, Triton's kernels, have tests of their own.
    numbers = ["1", "4", "5", "9"]
    command = [sys.executable, "benchmarks/gpu_report.py", "--tiny", "--minutes", "20", "--output", str(tmp_path)]
    command += ["--parts", *numbers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1300)
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "gpu_report.json").read_text())["parts"]
    assert [part["title"].split(".")[0] for part in parts] == numbers
    for part in parts:
        assert part["status"] == "complete", part
        assert part["tables"], part["title"]
    # Every table of numbers says what it was measured on.
    titles = [title for part in parts[1:] for title in (*part["tables"], *part["summary"])]
    assert all(", on " in title for title in titles)
    text = (tmp_path / "gpu_report.md").read_text()
    assert all(f"## {part['title']}" in text for part in parts)


def test_a_time_that_is_none_is_refused(run_tool, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))  # as for a script on the command line
    status, _, errors = run_tool("benchmarks/gpu_report.py", "--minutes", "0")
    assert status == 2
    assert "--minutes is 0.0; allowed: more than 0" in errors
