from __future__ import annotations

import av
import pytest

from mutualnet3d.video.errors import FrameCountCorrected
from mutualnet3d.video.mp4_index import Mp4Index
from mutualnet3d.video.reader import VideoReader
from tests.video.encoded import NUM_FRAMES, assert_same_frames


def packets_read(path, indices, monkeypatch):
    """Return the number of packets read for the frames at `indices`, those of the opening included, and the frames."""
    counts = []

    class Counting:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def demux(self, stream):
            for packet in self.container.demux(stream):
                counts.append(packet.size > 0)
                yield packet

    opening = av.open
    with monkeypatch.context() as patch:
        patch.setattr(av, "open", lambda *args, **options: Counting(opening(*args, **options)))
        with VideoReader(str(path)) as video:
            frames = list(video.read(indices))
    return sum(counts), frames


def test_of_an_mp4_file_only_the_groups_of_the_chosen_frames_are_read(groups_of_12, monkeypatch):
    for indices, groups in (([0], 1), ([50], 1), ([23, 24], 2), ([3, 40, 99], 3), ([47, 48, 59, 60], 3)):
        count, frames = packets_read(groups_of_12, indices, monkeypatch)
        assert [int(frame[0, 0, 0]) // 2 for frame in frames] == indices
        # These pictures are lossless: which x264 made them, the first packet says.
        assert count <= 12 * groups + (indices[0] > 0)
    with VideoReader(str(groups_of_12)) as video:
        assert (video.info.num_frames, video.info.fps) == (100, 24.0)
        for indices in ([70], [3, 90], [50, 51]):  # forwards and back again
            assert [int(frame[0, 0, 0]) // 2 for frame in video.read(indices)] == indices


def test_an_index_that_does_not_agree_with_the_packets_is_not_used(video_named, monkeypatch):
    """With leading pictures the first frames of a group need the group before it."""
    path, expected = video_named("open.mp4")
    counts = []
    for index in range(0, NUM_FRAMES, 3):
        count, frames = packets_read(path, [index], monkeypatch)
        assert_same_frames(frames, expected, [index])
        counts.append(count)
    assert max(counts) > NUM_FRAMES


def test_an_index_of_another_number_of_frames_is_corrected(groups_of_12, monkeypatch):
    with VideoReader(str(groups_of_12)) as video:
        monkeypatch.setattr(Mp4Index, "load", lambda self, indices: None)
        monkeypatch.setattr(Mp4Index, "num_frames", 103)
        with pytest.raises(
            FrameCountCorrected, match=r"groups\.mp4: the file's index has 103 frames, its packets .* 100"
        ):
            list(video.read([50]))
        assert [int(frame[0, 0, 0]) // 2 for frame in video.read([50])] == [50]


def test_an_index_whose_end_is_cut_off_is_not_believed(groups_of_12, tmp_path):
    whole = groups_of_12.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    with VideoReader(str(cut)) as video:
        assert 40 < video.info.num_frames < 90
        assert [int(frame[0, 0, 0]) // 2 for frame in video.read([5, 30])] == [5, 30]
