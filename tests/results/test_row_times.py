from __future__ import annotations

from dataclasses import replace

from mutualnet3d.results.row import Views
from mutualnet3d.results.row_times import passes_of, timed_rows
from tests.results.tables import TABLE

FIRST, SECOND = TABLE.rows[:2]


def test_a_pass_for_each_number_of_clips():
    videos = [(FIRST.config, Views(2)), (SECOND.config, Views(2)), (FIRST.config, Views()), (FIRST.config, Views(2, 1))]
    assert passes_of([*videos, (FIRST.config, Views(2, 3))]) == (
        (FIRST.config, 2),
        (SECOND.config, 2),
        (FIRST.config, 6),
    )
    assert passes_of([(FIRST.config, Views())]) == ()


def test_rows_get_the_times_of_a_clip_and_of_their_pass():
    rows = [FIRST, replace(FIRST, views=Views(2)), replace(FIRST, views=Views(3), pass_milliseconds=5.0), SECOND]
    milliseconds = {FIRST.config: 4.0, SECOND.config: 1.0}
    timed = timed_rows(rows, milliseconds, {(FIRST.config, 2): 6.0}, {(FIRST.config, 2), SECOND.config})
    assert [row.milliseconds for row in timed] == [4.0, 4.0, 4.0, 1.0]
    assert [row.milliseconds_of_video for row in timed] == [4.0, 6.0, 12.0, 1.0]  # 3 x 4.0: not measured now
    assert [row.pass_milliseconds for row in timed] == [None, 6.0, None, None]
    assert [row.settled for row in timed] == [True, False, True, False]
