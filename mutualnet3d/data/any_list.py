"""Lists of either kind, with one label a line or with several, for code that does not look into the labels."""

from __future__ import annotations

import contextlib
from typing import Any

from mutualnet3d.data.list_labels import LabelSets
from mutualnet3d.data.lists import read_kinetics_list
from mutualnet3d.data.video_list import VideoList
from mutualnet3d.video.paths import video_exists


def read_any_list(list_path: str, num_classes: int, **form: Any) -> tuple[VideoList, LabelSets | None]:
    """Read a list with one label a line; or else one with several, and the sets that its labels are the numbers of.

    A line `a.mp4 3,17` may be the path `a.mp4 3`: where the first video is not there, both are tried.

    Args:
        list_path: path of the list.
        num_classes: number of classes of the network.
        **form: other arguments of `read_kinetics_list`.

    Raises:
        FileNotFoundError, ValueError: see `read_kinetics_list`.
    """
    videos, problem, label_sets = None, None, LabelSets(num_classes)
    try:
        videos = read_kinetics_list(list_path, num_classes, **form)
    except ValueError as error:
        problem = error
    if videos is None or not video_exists(videos[0].path):
        with contextlib.suppress(ValueError):
            several = read_kinetics_list(list_path, num_classes, **form, label_sets=label_sets)
            if videos is None or video_exists(several[0].path):
                return several, label_sets
    if videos is None:
        assert problem is not None, "the list could not be read"
        raise problem
    return videos, None
