from __future__ import annotations

import copy
import os
import pickle

import numpy as np
import pytest

from mutualnet3d import fork_server
from mutualnet3d.data import video_list
from mutualnet3d.data.video_list import Video, VideoList, VideoPacker

VIDEOS = [
    Video("/v/a.mp4", 3, "/l/train.csv:1"),
    Video("/v/é/\u2028.mp4", 2**40, "/l/train.csv:12"),
    Video("/other/b.mp4", 0, "entry 3"),
    Video("/v/raw \udcff.mp4", 1, "/l/train.csv:4"),
    Video("", 0, ""),
    Video("/v/folder", 5, "/l/frames.csv:7", pictures="1.jpg\nsub/é.jpg"),
]


def packed_with_prefixes(videos):
    packer = VideoPacker("/v/", "/l/train.csv:")
    packer.add(*([getattr(video, name) for video in videos] for name in ("path", "label", "listed_at", "pictures")))
    return packer.finish()


@pytest.mark.parametrize("pack", [VideoList.of, packed_with_prefixes])
def test_a_sequence_of_the_same_videos(pack):
    videos = pack(VIDEOS)
    assert videos == VIDEOS
    assert videos == VIDEOS
    assert videos == pack(VIDEOS)
    assert pack(VIDEOS[::2]) == VIDEOS[::2]  # all in ASCII
    assert pack(VIDEOS[:1]) == VIDEOS[:1]
    assert videos != VIDEOS[:5]
    assert videos != [*VIDEOS[:5], Video("/v/folder", 5, "/l/frames.csv:7")]
    assert videos != "abcdef"
    assert [videos[index] for index in range(6)] == list(videos) == VIDEOS
    assert (len(videos), videos[-1], VIDEOS[3] in videos, videos.index(VIDEOS[2])) == (6, VIDEOS[5], True, 2)
    assert videos[::-2] == VIDEOS[::-2]
    assert videos[9:] == []
    assert videos[1:3][1] == VIDEOS[2]
    assert videos.take(np.array([5, 0, 0])) == [VIDEOS[5], VIDEOS[0], VIDEOS[0]]
    for indices in ([1, 2, 3, 5], [4], [], [2, 3, 2, 3], range(6)):
        assert videos.take(np.array(indices, np.int64)) == [VIDEOS[index] for index in indices]
    assert videos.paths_at(np.array([5, 0, 1])) == [VIDEOS[index].path for index in (5, 0, 1)]
    assert videos.paths_at(np.array([], np.int64)) == []
    assert list(videos.paths()) == [video.path for video in VIDEOS]
    assert videos.files(1, 6) == [(video.path, video.pictures) for video in VIDEOS[1:]]
    assert videos.label_N.tolist() == [3, 2**40, 0, 1, 0, 5]
    assert VideoList.of(videos) is videos
    assert repr(videos).startswith("VideoList([Video(path='/v/a.mp4', label=3,")
    with pytest.raises(IndexError):
        videos[6]
    for other in (pickle.loads(pickle.dumps(videos)), copy.deepcopy(videos)):
        assert other == VIDEOS


def test_no_videos():
    empty = VideoList.of([])
    assert (len(empty), list(empty), empty == [], bool(empty)) == (0, [], True, False)
    assert pickle.loads(pickle.dumps(empty)) == []


def test_more_than_one_chunk():
    videos = [Video(f"/v/{number}.mp4", number, f"l:{number}") for number in range(10_000)]
    packed = VideoList.of(iter(videos))
    assert packed == videos
    assert packed[9_999] == videos[9_999]
    assert packed.num_bytes < 10_000 * 48  # 8 + 8 + 3 x 4 bytes, and the digits


def _send_back(connection, videos):
    with open("/proc/self/maps", encoding="utf-8") as file:
        num_maps = sum("pym-" in line for line in file)
    connection.send((videos[len(videos) - 1], len(videos), num_maps))
    connection.close()


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_long_list_is_shared_with_workers_and_a_short_one_copied(is_shared, monkeypatch):
    if not is_shared:
        monkeypatch.setattr(video_list, "BufferWrapper", None)  # no block of shared memory is made
    videos = VideoList.of(VIDEOS * (20_000 if is_shared else 20))
    assert (videos.num_bytes > 1 << 20) == is_shared
    context = fork_server.context("pool", "loader")
    for _ in range(2):
        connection, child_connection = context.Pipe()
        process = context.Process(target=_send_back, args=(child_connection, videos))
        process.start()
        child_connection.close()
        last, length, num_maps = connection.recv()
        process.join(30)
        assert (last, length, process.exitcode) == (VIDEOS[-1], len(videos), 0)
        if os.path.isdir("/dev/shm"):
            assert (num_maps > 0) == is_shared
    assert videos[5] == VIDEOS[5]
    assert videos == VIDEOS * (len(videos) // 6)
    assert pickle.loads(pickle.dumps(videos[:9])) == [*VIDEOS, *VIDEOS[:3]]


def test_a_full_dev_shm_takes_a_temporary_file(monkeypatch, tmp_path):
    usage = os.statvfs("/")
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result([*usage[:3], 0, 0, *usage[5:]]))
    monkeypatch.setattr("multiprocessing.util.get_temp_dir", lambda: str(tmp_path))
    videos = VideoList.of(VIDEOS * 20_000)
    videos._share()
    assert videos == VIDEOS * 20_000
    with open("/proc/self/maps", encoding="utf-8") as file:
        assert any(str(tmp_path) in line for line in file)
