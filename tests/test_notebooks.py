from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mutualnet3d.results.query_table import QueryTable
from website.notebook_pages import PAGES, notebook_page

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("notebook", PAGES, ids=lambda path: path.stem)
def test_pages_are_those_of_the_notebooks(notebook):
    assert PAGES[notebook].read_text() == notebook_page(notebook.read_text()), "python website/notebook_pages.py"


def test_cells_become_text_and_code():
    source = "# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1\n\ny = 2\n"
    assert notebook_page(source) == "# Title\n\ntext\n\n```python\nx = 1\n\ny = 2\n```\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n# %%\n", "begins with a cell"),
        ("", "begins with a cell"),
        ("# %% [markdown]\n# a\nb\n", "a cell of text has the line 'b'"),
    ],
)
def test_what_is_no_notebook_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        notebook_page(source)


def run(notebook, folder):
    """Run a notebook as a script in a folder; return what it printed."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "notebooks" / notebook)], cwd=folder, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_one_network_answers_within_many_budgets(tmp_path):
    printed = run("one_network_many_budgets.py", tmp_path)
    table = QueryTable.load(str(tmp_path / "notebook/run/query_table.json"))
    assert len(table.rows) == 6
    for gflops in (0.02, 0.006, 0.002):
        assert f"within {gflops} GFLOPs: {table.best(gflops=gflops).config} with" in printed
    for gflops in (0.02, 0.002):
        assert f"within {gflops} GFLOPs, by {table.best(gflops=gflops).config}: move_" in printed
    assert (tmp_path / "notebook/budgets.png").stat().st_size > 5000


@pytest.mark.slow
def test_own_videos_become_a_bundle(tmp_path):
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=f"{module} is not installed (extra [deploy])")
    printed = run("from_your_videos_to_a_bundle.py", tmp_path)
    bundle = tmp_path / "notebook/bundle"
    assert len(list(bundle.rglob("*.onnx"))) == 3
    best = QueryTable.load(str(bundle / "query_table.json")).best(gflops=0.006)
    for name in ("move_left", "move_right"):
        (line,) = [line for line in printed.splitlines() if line.startswith(f"notebook/videos/{name}/00.mp4: ")]
        assert line.endswith(f"by {best.config}")
