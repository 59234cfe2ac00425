from __future__ import annotations

import re

import pytest

from mutualnet3d.plots.page_file import save_page


def test_a_page_loads_nothing_from_elsewhere_and_has_the_same_bytes(tmp_path):
    go = pytest.importorskip("plotly.graph_objects", reason="the extra `plot` is not installed")
    pages = []
    for name in ("a.html", "b.html"):
        save_page(go.Figure([go.Scatter(x=[1, 2], y=[3, 4])]), str(tmp_path / name), "x & <y>", "curve")
        pages.append((tmp_path / name).read_text(encoding="utf-8"))
    assert pages[0] == pages[1]
    assert pages[0].startswith('<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">')
    assert "<title>x &amp; &lt;y&gt;</title>" in pages[0]
    assert 'id="curve"' in pages[0]
    assert "sendChartToCloud" in pages[0]
    assert not re.search(r"<script[^>]*\ssrc|<link|<img|<iframe|@import", pages[0])
