"""Pages of the notebooks: their text as Markdown, their code as blocks.

    python website/notebook_pages.py

A notebook is a Python file of cells (`# %%`, and `# %% [markdown]` for text) that editors and Jupytext open, and that a
test runs. docs/ has the pages, so that they are read without a build; a test compares them with the notebooks.
"""

from __future__ import annotations

import re
from pathlib import Path

from mutualnet3d.files.atomic import write_text

ROOT = Path(__file__).resolve().parents[1]
# Notebook -> its page.
PAGES = {
    ROOT / "notebooks" / "one_network_many_budgets.py": ROOT / "docs" / "NOTEBOOK_BUDGETS.md",
    ROOT / "notebooks" / "from_your_videos_to_a_bundle.py": ROOT / "docs" / "NOTEBOOK_OWN_VIDEOS.md",
}
_CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)


def notebook_page(source: str) -> str:
    """Return the Markdown of a notebook.

    Args:
        source: Python source of cells.

    Raises:
        ValueError: it does not begin with a cell, or a line of a cell of text is no comment.
    """
    before, *parts = _CELL.split(source)
    if before.strip() or not parts:
        raise ValueError("a notebook begins with a cell: a line # %%")
    blocks = []
    for kind, content in zip(parts[::2], parts[1::2], strict=True):
        lines = content.strip("\n").splitlines()
        if kind.strip() != "[markdown]":
            blocks.append("\n".join(["```python", *lines, "```"]))
            continue
        wrong = [line for line in lines if line != "#" and not line.startswith("# ")]
        if wrong:
            raise ValueError(f"a cell of text has the line {wrong[0]!r:.60}; each line must begin with '# '")
        blocks.append("\n".join(line[2:] for line in lines))
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    for notebook, page in PAGES.items():
        write_text(str(page), notebook_page(notebook.read_text()))
