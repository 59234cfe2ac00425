from __future__ import annotations

from tests.results.cascades import with_cascades
from tests.results.tables import TABLE


def test_cascades_come_below_the_rows(tmp_path):
    table = with_cascades()
    text = table.to_text()
    assert text.startswith(TABLE.to_text() + "\n   cascade ")
    assert text == f"{TABLE.to_text()}\n{table.cascades_to_text()}"
    assert TABLE.cascades_to_text() == ""
    assert "\n   w0.5-s32-t4 > w1.0-s48-t8, 25 % " in text
    markdown = table.to_markdown()
    assert markdown.startswith(TABLE.to_markdown() + "\n\n| cascade |")
    table.save_markdown(str(tmp_path / "table.md"))
    assert (tmp_path / "table.md").read_text() == markdown + "\n"
    table.save_csv(str(tmp_path / "table.csv"))
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 1 + len(TABLE.rows)
    assert table.legend() == TABLE.legend()
