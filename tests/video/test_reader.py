from __future__ import annotations

import csv
import gc
import os
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks import broken_videos
from mutualnet3d.video import file_facts
from mutualnet3d.video.container import VideoContainer
from mutualnet3d.video.decoder import Decoder
from mutualnet3d.video.errors import FrameCountCorrected, VideoDecodeError
from mutualnet3d.video.packet_list import PacketList
from mutualnet3d.video.packet_source import PacketSource
from mutualnet3d.video.reader import VideoReader
from tests.conftest import SHARED, numbered_frames, write_video
from tests.video.encoded import (
    B_FRAMES,
    COUNTS,
    FPS,
    NUM_FRAMES,
    RATES,
    VIDEOS,
    assert_same_frames,
    encode,
    one_after_the_other,
    read,
    refused,
    some_sets,
    without_packet,
    x264,
)


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_those_of_reading_from_start_to_end(video_named, name):
    path, frames = video_named(name)
    num_frames = COUNTS.get(name, NUM_FRAMES)
    assert len(frames) == num_frames
    assert len({frame.tobytes() for frame in frames}) == num_frames, "frames that are alike would hide mistakes"
    with VideoReader(str(path)) as video:
        assert video.info.num_frames == num_frames
        assert video.info.fps == pytest.approx(RATES.get(name, FPS), rel=0.01)
        for indices in some_sets(num_frames):
            assert_same_frames(list(video.read(indices)), frames, indices)
    for indices in some_sets(num_frames, count=2):  # a fresh decoder each
        assert_same_frames(read(path, indices), frames, indices)


@pytest.mark.parametrize("indices", [[0], [99], [0, 1, 2, 97, 98, 99], list(range(100)), [41, 67], []])
def test_exactly_the_frames_that_were_asked_for(numbered_video, indices):
    frames = read(numbered_video, indices)
    assert [np.unique(frame).tolist() for frame in frames] == [[2 * index] for index in indices]
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames)


def test_info_is_counted_and_not_believed(numbered_video):
    with VideoReader(str(numbered_video)) as video:
        assert (video.info.num_frames, video.info.fps) == (100, 24.0)


def test_frames_outlive_the_next_and_the_video(numbered_video):
    with VideoReader(str(numbered_video)) as video:
        frames = list(video.read([3, 50, 99]))
    assert [int(frame.min()) for frame in frames] == [int(frame.max()) for frame in frames] == [6, 100, 198]


def test_a_video_can_be_asked_again_and_left_early(video_named):
    path, frames = video_named("open.mp4")
    with VideoReader(str(path)) as video:
        started = video.read([7, 40])
        assert np.array_equal(next(started), frames[7])
        started.close()
        assert_same_frames(list(video.read([2, 30])), frames, [2, 30])


def turned(source: Path, target: Path, matrix: Sequence[int]) -> Path:
    """A copy of an mp4 whose track header says that it is to be shown turned."""
    data = bytearray(source.read_bytes())
    start = data.index(b"tkhd") + 44
    data[start : start + 36] = struct.pack(">9i", *matrix)
    target.write_bytes(data)
    return target


ONE = 1 << 16


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30), lambda frame: frame[::-1].transpose(1, 0, 2)),  # clockwise
        ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), lambda frame: frame[::-1, ::-1]),
        ((0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), lambda frame: frame.transpose(1, 0, 2)[::-1]),
    ],
)
def test_frames_are_upright(video_named, tmp_path, matrix, turn):
    path, frames = video_named("closed.mp4")
    turned_path = turned(path, tmp_path / "turned.mp4", matrix)
    assert_same_frames(one_after_the_other(turned_path), [turn(frame) for frame in frames], range(NUM_FRAMES))
    for indices in some_sets(NUM_FRAMES, count=2):
        assert_same_frames(read(turned_path, indices), [turn(frame) for frame in frames], indices)


def test_frames_of_another_size_are_scaled_to_the_first(video_named, tmp_path):
    """Streams for broadcast may change their size; two of them in a row do."""
    small, large = tmp_path / "small.ts", tmp_path / "large.ts"
    encode(small, options=x264(B_FRAMES), times_ms=[40 * index for index in range(NUM_FRAMES)])
    later_ms = [40 * index + 4000 for index in range(NUM_FRAMES)]
    encode(large, options=x264(B_FRAMES), times_ms=later_ms, height=96, width=128)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoReader(str(both)) as video:
        assert video.info.num_frames == 2 * NUM_FRAMES
        shapes = [frame.shape for frame in video.read([0, 59, 60, 119])]
        assert shapes == [(48, 64, 3)] * 4
        assert [frame.shape for frame in video.read([60, 119])] == [(96, 128, 3)] * 2


@pytest.mark.parametrize("start_ms", [2000, 2350, 4000])
def test_recordings_that_are_joined_come_one_after_the_other(tmp_path, start_ms):
    """The second has earlier timestamps: sorting all by time would mix them."""
    first, second, joined = tmp_path / "first.ts", tmp_path / "second.ts", tmp_path / "joined.ts"
    for path, start in ((first, 4000), (second, start_ms)):
        encode(path, options=x264(B_FRAMES), times_ms=[40 * index + start for index in range(NUM_FRAMES)])
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    frames = one_after_the_other(joined)
    assert len(frames) == 2 * NUM_FRAMES
    for indices in some_sets(len(frames), count=4):
        assert_same_frames(read(joined, indices), frames, indices)


@pytest.mark.parametrize("name", ["intra.mp4", "mjpeg.mov"])
def test_a_count_that_was_wrong_is_corrected_and_frames_are_then_counted(video_named, tmp_path, name):
    path = without_packet(video_named(name)[0], tmp_path / name, 20)
    frames = one_after_the_other(path)
    assert len(frames) == NUM_FRAMES - 1
    with VideoReader(str(path)) as video:
        assert video.info.num_frames == NUM_FRAMES
        with pytest.raises(FrameCountCorrected) as caught:
            list(video.read(range(NUM_FRAMES)))
        assert str(caught.value) == f"{path}: 60 frames were promised, 59 can be decoded"
        assert video.info.num_frames == NUM_FRAMES - 1
        assert video.info.fps == FPS
        for indices in some_sets(NUM_FRAMES - 1, count=3):
            assert_same_frames(list(video.read(indices)), frames, indices)


def test_a_cut_off_file_gives_what_is_there(video_named, tmp_path):
    for name in ("closed.flv", "open.ts", "open.mkv", "vp8.webm"):
        source, frames = video_named(name)
        path = tmp_path / name
        path.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
        with VideoReader(str(path)) as video:
            assert 15 < video.info.num_frames < 50
            # The last packets may be damaged or refer to lost ones.
            assert_same_frames(list(video.read(range(12))), frames, range(12))


def test_a_decoder_that_drops_reordered_frames_is_told_more(video_named, monkeypatch):
    path, frames = video_named("closed.mp4")
    original = Decoder.decode
    with VideoReader(str(path)) as video:
        seventh = video._source.load([7]).keys[7]

    def dropping(self: Decoder, packet: av.Packet | None) -> list[av.VideoFrame]:
        return [frame for frame in original(self, packet) if self._container.is_probed or frame.pts != seventh]

    monkeypatch.setattr(Decoder, "decode", dropping)
    with VideoReader(str(path)) as video:
        assert not video._source.container.is_probed
        assert_same_frames(list(video.read([2, 7, 8, 40])), frames, [2, 7, 8, 40])
        assert video._source.container.is_probed

    # The file may look otherwise when it is read again, shorter for one.
    reading = PacketSource.read_all

    def fewer(self: PacketSource) -> PacketList:
        packets = reading(self)
        if self.container.is_probed:
            packets.keys = packets.keys[:5]
        return packets

    monkeypatch.setattr(PacketSource, "read_all", fewer)
    with VideoReader(str(path)) as video:
        assert_same_frames(list(video.read([7])), frames, [7])


def test_past_the_end_is_an_error_with_path_and_count(numbered_video):
    with VideoReader(str(numbered_video)) as video, pytest.raises(VideoDecodeError) as caught:
        list(video.read([5, 100]))
    assert str(caught.value) == f"{numbered_video}: has 100 frames; frame 100 was asked for"


def test_missing_and_unreadable_videos_are_named(tmp_path, numbered_video):
    refused(tmp_path / "none.mp4", r"cannot be decoded: FileNotFoundError: .*none\.mp4'")
    refused(f"{numbered_video}/frame", "cannot be decoded: NotADirectoryError: .*")
    refused(tmp_path, "is a folder, pipe or device, not a file")
    refused("/dev/zero", "is a folder, pipe or device, not a file")
    refused("a\0b.mp4", "cannot be decoded: ValueError: embedded null byte")
    bad = tmp_path / "bad.mp4"
    for content in (b"", b"not a video at all\n" * 100, bytes(5000), numbered_video.read_bytes()[:300]):
        bad.write_bytes(content)
        refused(bad, r"cannot be decoded: InvalidDataError: .*bad\.mp4'")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path, numbered_video):
    path = Path(shutil.copy(numbered_video, tmp_path))
    path.chmod(0)
    refused(path, "cannot be decoded: PermissionError: .*")


def test_a_video_of_broken_frames_alone_is_named(video_named, tmp_path):
    source, _ = video_named("mjpeg.mov")
    data = bytearray(source.read_bytes())
    start, stop = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:stop] = bytes(stop - start)
    path = tmp_path / "zeros.mov"
    path.write_bytes(data)
    refused(path, "cannot be decoded: InvalidDataError: .*")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell a process its memory")
def test_nothing_is_left_behind(video_named, tmp_path):
    """Neither memory nor open files, by videos that are read in part, whole, or broken."""
    path, _ = video_named("closed.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:2000])
    damaged = without_packet(video_named("intra.mp4")[0], tmp_path / "damaged.mp4", 20)

    def megabytes() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def use(number: int) -> None:
        with VideoReader(str(path)) as video:
            frames = video.read([3, 20, 40])
            next(frames)
            if number % 2:
                list(frames)
        with pytest.raises(VideoDecodeError):
            VideoReader(str(cut))
        if number % 10 == 0:
            file_facts._facts.clear()
            with pytest.raises(FrameCountCorrected):
                read(damaged, [20, 59])
            VideoReader(str(path))  # not even closed

    for number in range(50):
        use(number)
    gc.collect()
    memory, files = megabytes(), len(os.listdir("/proc/self/fd"))
    for number in range(300):
        use(number)
    gc.collect()
    assert megabytes() - memory < 20
    assert len(os.listdir("/proc/self/fd")) <= files


@pytest.fixture(scope="session")
def videos_to_damage(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return broken_videos.make_videos(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("way", broken_videos.WAYS)
def test_damaged_videos_give_frames_or_an_error_of_ours(videos_to_damage, way, monkeypatch):
    monkeypatch.setattr(broken_videos, "WAYS", [way])
    others = videos_to_damage[3:] + videos_to_damage[:3]
    pairs = zip(videos_to_damage, others, strict=True)
    damages = [broken_videos.Damage(*pair, seed) for seed, pair in enumerate(pairs)]
    verdicts = [broken_videos.judge(damage, limit_memory=False) for damage in damages]
    assert {verdict.outcome for verdict in verdicts} <= {broken_videos.DECODED, broken_videos.REFUSED}, verdicts
    assert max(verdict.seconds for verdict in verdicts) < 5


def test_the_benchmark_sees_other_exceptions(videos_to_damage, monkeypatch):
    monkeypatch.setattr(VideoContainer, "_open", lambda self, probe: {}["no such key"])
    verdict = broken_videos.judge(broken_videos.Damage(videos_to_damage[0], videos_to_damage[1], 0), limit_memory=False)
    assert (verdict.outcome, verdict.message) == (broken_videos.OTHER, "KeyError: 'no such key'")


DIVERSE = SHARED / "videos" / "diverse"
real_videos = pytest.mark.skipif(not DIVERSE.exists(), reason=f"the real videos are not at {DIVERSE.parent}")


def diverse() -> list[dict[str, str]]:
    """Return the table's row of each of the real videos; one row of none where they are missing."""
    table = DIVERSE.with_suffix(".csv")
    return list(csv.DictReader(table.read_text().splitlines())) if table.exists() else [{"file": "none"}]


def compare_real(row: dict[str, str], indices_of: Callable[[int], list[int]]) -> None:
    path = DIVERSE / row["file"]
    column = row["frames_decoded"]
    num_frames = int(column) if column.isdigit() else 0
    if not num_frames:
        refused(
            path,
            "(cannot be decoded: InvalidDataError: .*|the file has no video stream|the video has no frame|"
            "the video is encrypted .*)",
        )
        return
    indices = indices_of(num_frames)
    with VideoReader(str(path)) as video:
        assert video.info.num_frames == num_frames
        got = list(video.read(indices))
    assert len(got) == len(indices)
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        position = -1
        for position, frame in enumerate(container.decode(video=0)):
            if position in indices:
                upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
                assert np.array_equal(got.pop(0), upright), f"frame {position}"
    assert position == num_frames - 1


@real_videos
@pytest.mark.parametrize("row", diverse(), ids=lambda row: row["file"])
def test_real_videos(row):
    compare_real(row, lambda num_frames: np.unique(np.linspace(0, num_frames - 1, 4).astype(int)).tolist())


@pytest.mark.slow
@real_videos
@pytest.mark.parametrize("row", diverse(), ids=lambda row: row["file"])
def test_real_videos_whole(row):
    compare_real(row, lambda num_frames: list(range(num_frames)))


@real_videos
def test_real_clips():
    paths = sorted((DIVERSE.parent / "surv_fight" / "fight").glob("*.mp4"))[:50:10]
    assert len(paths) == 5
    for path in paths:
        frames = one_after_the_other(path)
        indices = np.unique(np.linspace(0, len(frames) - 1, 8).astype(int)).tolist()
        with VideoReader(str(path)) as video:
            assert video.info.num_frames == len(frames)
            assert_same_frames(list(video.read(indices)), frames, indices)


def test_frames_with_reordering_come_in_order(tmp_path):
    """B-frames leave the file in another order than they are shown in."""
    path = write_video(tmp_path / "b.mp4", numbered_frames(40), qp="0", bf="3", preset="medium")
    assert [int(frame[0, 0, 0]) for frame in read(path, [0, 5, 6, 7, 39])] == [0, 10, 12, 14, 78]
