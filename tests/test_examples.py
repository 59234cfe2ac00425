from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "minimal_mutual_training.py"


def test_the_minimal_loop_trains_calibrates_and_answers(capsys):
    values = runpy.run_path(str(EXAMPLE))
    table, printed = values["table"], capsys.readouterr().out
    assert {row.config for row in table.rows} == set(values["configs"])
    assert len(table.rows) == 8
    assert all(row.top1 > 75 for row in table.rows)  # of dark clips and bright ones
    assert table.rows[0].gflops > 4 * table.rows[-1].gflops
    best = table.best(gflops=0.001)
    assert f"within 0.001 GFLOPs: {best.config}" in printed
    assert best.gflops <= 0.001


def test_readme_shows_it_as_it_is():
    assert f"```python\n{EXAMPLE.read_text()}```\n" in (ROOT / "README.md").read_text()
