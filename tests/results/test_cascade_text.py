from __future__ import annotations

from mutualnet3d.results.cascade import CostSpread
from mutualnet3d.results.cascade_text import cascades_to_markdown, cascades_to_text
from tests.results.cascades import ALONE, CONTEXT, PAIR

ENTRIES = [
    (ALONE, CostSpread(0.1, 0.1, 0.1), CostSpread(2.0, 2.0, 2.0)),
    (PAIR, CostSpread(0.35, 1.1, 1.1), CostSpread(4.25, 11.0, 11.0)),
]


def test_a_table_for_a_terminal():
    title, alone, pair, *legend = cascades_to_text(ENTRIES, CONTEXT).splitlines()
    assert " ".join(title.split()) == "cascade GFLOPs: mean 95 % worst ms: mean 95 % worst top-1 % top-5 %"
    assert alone.split() == ["w0.5-s32-t4", "0.1000", "0.1000", "0.1000", "2.00", "2.00", "2.00", "60.00", "90.00"]
    numbers = "0.3500 1.1000 1.1000 4.25 11.00 11.00 80.00 95.00"
    assert " ".join(pair.split()) == f"w0.5-s32-t4 > w1.0-s48-t8, 25 % {numbers}"
    assert len(title) == len(alone) == len(pair)  # columns are below each other
    assert legend == [
        "Cascade: a video goes on to the next row, in the fraction given, if the one before is not sure of it.",
        "Fitted on 50 of the videos; costs, per video, and accuracy are of the other 51.",
    ]
    assert cascades_to_text([], CONTEXT) == ""


def test_a_table_for_a_page():
    lines = cascades_to_markdown(ENTRIES, {}).splitlines()
    assert lines[0] == "| cascade | GFLOPs: mean | 95 % | worst | ms: mean | 95 % | worst | top-1 % | top-5 % |"
    assert lines[3] == (
        "| w0.5-s32-t4 > w1.0-s48-t8, 25 % | 0.3500 | 1.1000 | 1.1000 | 4.25 | 11.00 | 11.00 | 80.00 | 95.00 |"
    )
    assert lines[4:] == [
        "",
        "Cascade: a video goes on to the next row, in the fraction given, if the one before is not sure of it.",
    ]
    assert cascades_to_markdown([], {}) == ""
