"""Encoded videos that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import numbered_frames, write_video
from tests.video.encoded import VIDEOS, encode, one_after_the_other, with_index_first


@pytest.fixture(scope="session")
def video_named(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, list[np.ndarray]]]:
    """The path of one of VIDEOS and all its frames; encoded when it is first asked for."""
    folder = tmp_path_factory.mktemp("encoded")
    made: dict[str, tuple[Path, list[np.ndarray]]] = {}

    def make(name: str) -> tuple[Path, list[np.ndarray]]:
        if name not in made:
            codec = VIDEOS[name].get("codec", "libx264")
            if codec not in av.codecs_available:
                pytest.skip(f"this libav cannot encode with {codec}")
            encode(folder / name, **VIDEOS[name])
            made[name] = folder / name, one_after_the_other(folder / name)
        return made[name]

    return make


@pytest.fixture(scope="session")
def groups_of_12(tmp_path_factory):
    """100 numbered frames, B-frames among them, a keyframe every 12; the index stands at the file's start."""
    path = tmp_path_factory.mktemp("groups") / "groups.mp4"
    options = {"qp": "0", "preset": "medium", "x264-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=0:bframes=3"}
    made = write_video(path.with_name("index_last.mp4"), numbered_frames(100), **options)
    return with_index_first(made, path)
