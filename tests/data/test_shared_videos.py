from __future__ import annotations

import os
import time

import numpy as np

from mutualnet3d.data.shared_videos import SharedPaths, shared_paths, shared_videos
from mutualnet3d.data.video_list import Video, VideoPacker


def videos(*paths: str, listed: str = "a") -> list[Video]:
    return [Video(path, 0, f"{listed}.csv:{number}") for number, path in enumerate(paths, start=1)]


def test_paths_that_two_lists_share():
    train, test = videos("/v/1", "/v/2", "/v/3"), videos("/v/4", "/v/3", "/v/1", "/v/1", listed="b")
    assert shared_paths(test, train) == SharedPaths(3, (test[1], train[2]))
    assert shared_paths(test[:1], train) == SharedPaths(0, None)
    assert shared_paths([], train) == shared_paths(train, []) == SharedPaths(0, None)


def test_long_lists_are_compared_within_seconds():
    packers = [VideoPacker("/videos/", "list:") for _ in range(2)]
    for packer, start in zip(packers, (0, 99_999), strict=True):
        paths = [f"/videos/{number}.mp4" for number in range(start, start + 100_000)]
        packer.add(paths, [0] * len(paths), ["list:1"] * len(paths), [""] * len(paths))
    train, test = (packer.finish() for packer in packers)
    started = time.process_time()
    assert shared_paths(test, train) == SharedPaths(1, (test[0], train[99_999]))
    assert time.process_time() - started < 5.0  # 0.2 s here


def test_files_of_the_same_content(tmp_path):
    content = np.random.default_rng(0).bytes(100)
    for name, raw in {
        "a": content,
        "b": content,
        "c": content[::-1],
        "d": content + b"more",
        "e": b"",
        "f": b"",
    }.items():
        (tmp_path / name).write_bytes(raw)
    os.symlink(tmp_path / "c", tmp_path / "link")
    first = videos(*(str(tmp_path / name) for name in ("a", "c", "e", "gone")))
    second = videos(*(str(tmp_path / name) for name in ("d", "b", "link", "f", "gone")), listed="b")
    (pairs,) = shared_videos([first, second, list(second)][:2]).values()
    assert [(pair.video, pair.other, pair.is_copy) for pair in pairs] == [
        (second[1], first[0], True),
        (second[2], first[1], True),
        (second[4], first[3], False),
    ]
    assert str(pairs[0]) == f"the same file as {tmp_path}/a (a.csv:1)"
    assert str(pairs[2]) == "listed at a.csv:4 too"
    # Two lists of the same videos are one: test.csv may be val.csv.
    assert list(shared_videos([first, second, list(second)])) == [(0, 1), (0, 2)]
    assert shared_videos([second]) == {}
    assert shared_videos([videos("s3://x/1"), videos("s3://x/2")]) == {}
