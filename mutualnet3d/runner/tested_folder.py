"""Folder of a test's files: OUTPUT_DIR, unless it holds those of a fuller test."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from mutualnet3d.log import logger
from mutualnet3d.results.query_table import QueryTable, Views
from mutualnet3d.shapes import SubnetConfig


def folder_of_test(output_dir: str, configs: Sequence[SubnetConfig], num_videos: int, views: Views) -> str:
    """Return the folder that a test writes its table, model file and reports into.

    A table in `output_dir` stays if the test has fewer videos or views than the table, or as many and fewer
    sub-networks. The test then has a folder of its own below `output_dir`, always the same for the same test. A table
    of fewer videos, such as one whose Pareto front is tested now, is replaced.

    Args:
        output_dir: folder of the run.
        configs: sub-networks of the test.
        num_videos: number of listed videos of the test.
        views: views of a video.
    """
    path = os.path.join(output_dir, "query_table.json")
    try:
        table = QueryTable.load(path)
    except (FileNotFoundError, ValueError):  # none, or none that could be used
        return output_dir
    videos = table.context.get("num_listed", num_videos)
    lost = [row.config for row in table.default_rows if row.config not in configs]
    numbers, own = (videos, table.views.count), (num_videos, views.count)
    is_fuller = any(number > own_number for number, own_number in zip(numbers, own, strict=True))
    if not is_fuller and not (lost and numbers == own):
        return output_dir
    folder = os.path.join(output_dir, _name(configs, num_videos, views))
    logger.warning(
        "%s is of a fuller test (%d sub-networks, %d videos, %s views; here %d, %d, %s) and stays; "
        "this test's files go to %s",
        path,
        len(table.default_rows),
        videos,
        table.views,
        len(configs),
        num_videos,
        views,
        folder,
    )
    return folder


def _name(configs: Sequence[SubnetConfig], num_videos: int, views: Views) -> str:
    text = f"{' '.join(sorted(map(str, configs)))} {num_videos} {views}"
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()[:8]
    return f"test_{configs[0] if len(configs) == 1 else f'{len(configs)}_subnets'}_{digest}"
