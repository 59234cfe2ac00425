"""A report goes on, whatever becomes of a measurement."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import report

    return report


@pytest.fixture
def run(module, tmp_path):
    """Run parts, given as their measurements; their entries of the JSON file, and the Markdown."""

    def run_parts(*parts, seconds=30.0, first_share=1.0, summary=None):
        shares = [first_share, *[1.0] * (len(parts) - 1)]
        listed = [module.Part(f"part {n}", shares[n], part, summary) for n, part in enumerate(parts)]
        module.Report("Title", "Introduction.", tmp_path, "name", listed, seconds).run(module.Setting("cpu", True))
        return json.loads((tmp_path / "name.json").read_text())["parts"], (tmp_path / "name.md").read_text()

    return run_parts


def row(sheet):
    sheet.row("Numbers, on a CPU", {"ms": 1234.5, "layer": "a|b", "GiB": None})


def test_rows_notes_and_text_are_written(run):
    def measure(sheet):
        row(sheet)
        sheet.note("A note.")
        sheet.note("A note.")
        sheet.text("Output", "line\n```")

    (part,), text = run(lambda setting: {"first": measure})
    assert part["status"] == "complete"
    assert part["tables"] == {"Numbers, on a CPU": [{"ms": 1234.5, "layer": "a|b", "GiB": None}]}
    assert "| ms | layer | GiB |\n| --- | --- | --- |\n| 1234 | a\\|b | not measured |" in text
    assert text.count("A note.") == 1
    assert "**Output**\n\n```\nline\n'''\n```" in text


def fails(sheet):
    raise ValueError("no such layer")


def dies(sheet):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "reason"), [(fails, "ValueError: no such layer"), (dies, "its process ended with status -9")]
)
def test_what_follows_an_error_is_measured(run, bad, reason):
    parts, text = run(lambda setting: {"before": row, "bad": bad, "after": row}, lambda setting: {"next": row})
    assert [part["status"] for part in parts] == ["with errors", "complete"]
    assert parts[0]["done"] == ["before", "after"]
    assert parts[0]["failures"]["bad"].startswith(reason)
    assert "Failed: bad" in text


def test_a_list_of_measurements_may_fail(run):
    def measurements(setting):
        raise ImportError("no module")

    parts, _ = run(measurements, lambda setting: {"next": row})
    assert [part["status"] for part in parts] == ["with errors", "complete"]
    assert parts[0]["failures"]["the list of its measurements"].startswith("ImportError: no module")


@pytest.mark.slow
def test_a_measurement_that_hangs_is_stopped_and_so_is_what_it_started(module, run, tmp_path):
    def hangs(sheet):
        (tmp_path / "child").write_text(str(os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")))
        time.sleep(600)

    started = time.monotonic()
    parts = lambda setting: {"hangs": hangs, "after": row}, lambda setting: {"next": row}
    parts, _ = run(*parts, seconds=4.0, first_share=1e6)
    assert time.monotonic() - started < 60
    assert parts[0]["failures"] == {"hangs": "stopped: its time was over"}
    assert parts[0]["not reached"] == ["after"]
    assert parts[1]["status"] == "not reached"
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_without_time_nothing_is_measured_and_the_file_says_so(run):
    (part,), text = run(lambda setting: {"first": row}, seconds=-1.0)
    assert part["status"] == "not reached"
    assert "## part 0\n\nNot reached." in text


@pytest.mark.slow
def test_a_part_that_was_cut_short_gets_the_time_that_is_left(run):
    def slow(sheet):
        time.sleep(max(0.0, sheet.seconds_left) + 0.1)

    parts = lambda setting: {"slow": slow, "later": row}, lambda setting: {"next": row}
    (first, second), _ = run(*parts, seconds=20.0, first_share=0.1)
    assert second["status"] == "complete"
    assert first["done"] == ["slow", "later"]


def test_derived_tables_that_fail_leave_the_others(run):
    (part,), text = run(lambda setting: {"first": row}, summary=lambda tables: tables["missing"])
    assert part["status"] == "with errors"
    assert part["summary error"].startswith("KeyError")
    assert part["tables"]
    assert "Failed: the derived tables" in text


def two_rows(setting):
    return {"first": row, "second": row}


@pytest.mark.slow
def test_processes_may_load_torch_anew(module, tmp_path):
    parts = [module.Part("part", 1.0, two_rows)]
    module.Report("Title", "", tmp_path, "name", parts, 60.0, "spawn").run(module.Setting("cpu", True))
    (part,) = json.loads((tmp_path / "name.json").read_text())["parts"]
    assert part["done"] == ["first", "second"]


def test_a_machine_without_a_gpu_is_told(module):
    device, start_method = module.probe()
    assert device in ("cpu", "cuda")
    assert (start_method == "fork") or device == "cuda"


def test_derived_tables_come_first(run):
    _, text = run(
        lambda setting: {"first": row}, summary=lambda tables: {"Derived": [{"x": len(tables["Numbers, on a CPU"])}]}
    )
    assert text.index("**Derived**") < text.index("**Numbers, on a CPU**")
