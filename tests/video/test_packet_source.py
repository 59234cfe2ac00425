from __future__ import annotations

import pytest

from mutualnet3d.video.container import open_file
from mutualnet3d.video.deadline import Deadline
from mutualnet3d.video.errors import FrameCountCorrected
from mutualnet3d.video.info import VideoInfo
from mutualnet3d.video.mp4_index import Mp4Index
from mutualnet3d.video.packet_source import PacketSource


def source_of(path):
    return PacketSource(open_file(str(path), probe=False), Deadline(str(path)))


def test_the_index_of_an_mp4_file_stands_for_its_packets_until_more_is_needed(groups_of_12):
    source = source_of(groups_of_12)
    assert source.packets is None
    assert source.info == VideoInfo(100, 24.0)
    attempts = source.attempts([30])
    part = next(attempts)
    assert sum(packet is not None for packet in part._packets) == 12
    assert source.packets is None
    whole = next(attempts)
    assert source.packets is whole
    assert len(whole._packets) == whole.num_frames == 100
    assert not source.container.is_probed
    again = next(attempts)
    assert source.container.is_probed
    assert again.keys == whole.keys == part.keys
    assert list(attempts) == []
    source.close()


def test_counting_takes_a_decoder_that_has_seen_nothing(video_named):
    source = source_of(video_named("open.mkv")[0])
    first = source.from_start()
    assert (first.keys, source.container.is_probed, source.decoder.is_fresh) == (None, True, True)
    assert sum(1 for _ in source.decoder.all_frames(first.packets(0, first.num_packets))) == 60
    assert not source.decoder.is_fresh
    assert source.from_start() is first
    assert source.decoder.is_fresh
    assert list(source.attempts([5])) == []
    source.close()


def test_an_index_that_promises_too_much_is_said(groups_of_12, monkeypatch):
    source = source_of(groups_of_12)
    monkeypatch.setattr(Mp4Index, "num_frames", 101)
    with pytest.raises(FrameCountCorrected, match="the file's index has 101 frames, its packets have 100"):
        source.from_start()
    assert source.info.num_frames == 100
    assert source.from_start().num_frames == 100
    source.close()


def test_a_corrected_count_stays(groups_of_12):
    source = source_of(groups_of_12)
    source.info = VideoInfo(97, 24.0)
    assert source.from_start().num_frames == 100
    assert source.info.num_frames == 97
    source.close()


def test_a_closed_source_has_nothing(groups_of_12):
    source = source_of(groups_of_12)
    source.close()
    with pytest.raises(AssertionError, match="is closed"):
        source.load([0])
    with pytest.raises(AssertionError, match="is closed"):
        source.from_start()
