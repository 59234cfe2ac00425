from __future__ import annotations

import pytest

import mutualnet3d as m3
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.runner.tested_folder import folder_of_test

LARGE, SMALL, OTHER = (m3.SubnetConfig(width, 32, 4) for width in (1.0, 0.5, 0.7))


@pytest.fixture
def output(tmp_path):
    """Folder with the table of a test of two sub-networks on 10 videos, 2 x 1 views."""
    views = Views(2, 1)
    rows = tuple(Row(config, config.width, 1, 1.0, 50.0, 60.0, views=views) for config in (LARGE, SMALL))
    QueryTable(rows, {"num_listed": 10, "views": str(views)}).save(str(tmp_path / "query_table.json"))
    return tmp_path


@pytest.mark.parametrize(
    ("configs", "num_videos", "views", "own"),
    [
        ([LARGE, SMALL], 10, Views(2, 1), ""),
        ([LARGE, SMALL, OTHER], 10, Views(2, 1), ""),
        ([LARGE], 10, Views(2, 1), "test_w1.0-s32-t4_"),
        ([LARGE, OTHER], 10, Views(2, 1), "test_2_subnets_"),
        ([LARGE, SMALL, OTHER], 4, Views(2, 1), "test_3_subnets_"),
        ([LARGE, SMALL], 10, Views(1, 1), "test_2_subnets_"),
        ([LARGE], 20, Views(2, 1), ""),  # the front of a table of fewer videos, tested on all
    ],
)
def test_a_fuller_table_stays(output, configs, num_videos, views, own):
    folder = folder_of_test(str(output), configs, num_videos, views)
    assert folder.startswith(f"{output}/{own}" if own else str(output))
    assert (folder == str(output)) == (not own)
    assert folder_of_test(str(output), configs, num_videos, views) == folder


def test_without_a_table_that_can_be_read_the_folder_is_the_runs(tmp_path):
    assert folder_of_test(str(tmp_path), [LARGE], 1, Views()) == str(tmp_path)
    (tmp_path / "query_table.json").write_text("{")
    assert folder_of_test(str(tmp_path), [LARGE], 1, Views()) == str(tmp_path)
