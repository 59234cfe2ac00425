from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOOP = "examples/mutual_loop.py"
WITH_TABLE = "examples/minimal_mutual_training.py"


def test_the_loop_trains_a_small_sub_network(capsys):
    values = runpy.run_path(str(ROOT / LOOP))
    name, multiply_adds, _, top1 = capsys.readouterr().out.replace(",", "").split()
    assert name == str(values["small"]) == "w0.5-s24-t2"
    assert int(multiply_adds) == 603_680
    assert float(top1) > 0.7  # of dark clips and bright ones


def test_the_loop_is_about_25_lines():
    assert len([line for line in (ROOT / LOOP).read_text().splitlines() if line]) <= 25


def test_the_minimal_loop_trains_calibrates_and_answers(capsys):
    values = runpy.run_path(str(ROOT / WITH_TABLE))
    table, printed = values["table"], capsys.readouterr().out
    assert {row.config for row in table.rows} == set(values["configs"])
    assert len(table.rows) == 8
    assert all(row.top1 > 75 for row in table.rows)  # of dark clips and bright ones
    assert table.rows[0].gflops > 4 * table.rows[-1].gflops
    best = table.best(gflops=0.001)
    assert f"within 0.001 GFLOPs: {best.config}" in printed
    assert best.gflops <= 0.001


@pytest.mark.parametrize(("example", "page"), [(LOOP, "README.md"), (WITH_TABLE, "docs/PYTHON.md")])
def test_pages_show_the_examples_as_they_are(example, page):
    assert f"```python\n{(ROOT / example).read_text()}```\n" in (ROOT / page).read_text()
