from __future__ import annotations

from mutualnet3d.results.comparison import comparison_text
from mutualnet3d.results.query_table import QueryTable
from tests.results.tables import CONTEXT, TABLE, row, with_int8


def test_a_line_per_sub_network_and_a_column_per_table() -> None:
    alone = QueryTable((row("w1.0-s48-t8", 1.0, 9.0, 88.5), row("w0.5-s48-t4", 0.4, 8.0, 60.0)), CONTEXT)
    assert comparison_text({"mutual": TABLE, "trained alone": alone}).splitlines() == [
        "sub-network         GFLOPs   mutual   trained alone",
        "w1.0-s48-t8         1.0000    90.00*          88.50*",
        "w1.0-s32-t4         0.7000    75.00               -",
        "w1.0-s32-t8         0.6000    80.00*              -",
        "w0.5-s48-t8         0.5000    70.00*              -",
        "w0.5-s48-t4         0.4000        -           60.00*",
        "w0.5-s32-t4         0.1000    50.00*              -",
        "top-1 in % beside GFLOPs per clip; `*`: on the front of its column, no cheaper row is as good.",
    ]


def test_other_back_ends_and_views_are_left_out() -> None:
    assert comparison_text({"a": with_int8()}) == comparison_text({"a": TABLE})
    assert comparison_text({"a\x1b[2J": TABLE}).startswith("sub-network         GFLOPs  a\\x1b[2J")
