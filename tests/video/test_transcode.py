from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mutualnet3d.video import transcode as transcode_module
from mutualnet3d.video.errors import FrameCountCorrected, VideoDecodeError
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.transcode import Encoding, transcode
from tests.conftest import SHARED, numbered_frames, write_video
from tests.damages import with_damaged_packets
from tests.video.encoded import FAULTS, needs_faults, with_index_first, write_numbered_at

SMALL = Encoding(short_side=32, keyframe_every=4, crf=0, preset="ultrafast")


def clear_frames(num_frames: int) -> np.ndarray:
    """Return frames of grey level 6 * i: an encoder's losses do not make a frame another one."""
    return numbered_frames(num_frames) * np.uint8(3)


def numbers(frames: list[np.ndarray]) -> list[int]:
    return [round(frame.mean() / 6) for frame in frames]


def keyframes_and_times(path: Path) -> tuple[list[int], list[Fraction]]:
    """Return the indices of key frames in the order shown, and the times of all frames, seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = sorted((packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size)
        times = [pts * stream.time_base for pts, _ in packets]
    return [index for index, (_, is_keyframe) in enumerate(packets) if is_keyframe], times


def decoded(path: Path) -> list[np.ndarray]:
    with VideoReader(str(path)) as video:
        return [frame.copy() for frame in video.read(range(video.info.num_frames))]


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (340, 256, (340, 256)),
        (1920, 1080, (456, 256)),
        (1080, 1920, (256, 456)),
        (640, 480, (342, 256)),
        (257, 400, (256, 398)),
        (101, 75, (100, 74)),
        (1, 1, (2, 2)),
    ],
)
def test_size_is_even_and_not_larger(width, height, size):
    assert Encoding(short_side=256).size(width, height) == size


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("short_side", 255, "short_side is 255; allowed: even, 2 or more"),
        ("short_side", 0, "short_side is 0; allowed: even, 2 or more"),
        ("keyframe_every", 0, "keyframe_every is 0; allowed: 1 or more"),
        ("crf", 52, "crf is 52; allowed: 0 to 51"),
        ("preset", "quick", "preset is 'quick'; allowed: ultrafast, superfast,"),
    ],
)
def test_encoding_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=message):
        Encoding(**{field: value})


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])  # without B-frames and with
def test_every_frame_is_there_at_its_time_with_regular_keyframes(tmp_path, preset):
    source, target = write_video(tmp_path / "in.mp4", clear_frames(42)), tmp_path / "out.mp4"
    transcode(str(source), str(target), Encoding(short_side=32, keyframe_every=12, crf=0, preset=preset))
    frames = decoded(target)
    assert frames[0].shape == (32, 42, 3)
    assert numbers(frames) == list(range(42))
    keyframes, times = keyframes_and_times(target)
    assert keyframes == [0, 12, 24, 36]
    assert times == [Fraction(index, 24) for index in range(42)]
    with av.open(str(target)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 24
    data = target.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index comes first


def test_keyframes_are_regular_where_the_source_has_others_and_scenes_change(tmp_path):
    frames_THWC = numbered_frames(30)
    frames_THWC[10:] = 255 - frames_THWC[10:]
    source = write_video(tmp_path / "in.mp4", frames_THWC, qp="0", g="7", preset="ultrafast")
    assert keyframes_and_times(source)[0] == [0, 7, 14, 21, 28]
    transcode(str(source), str(tmp_path / "out.mp4"), Encoding(keyframe_every=12))
    assert keyframes_and_times(tmp_path / "out.mp4")[0] == [0, 12, 24]


def write_timed(path: Path, times: list[int], tick: Fraction) -> Path:
    """Numbered frames at these times, in ticks of seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick
        for time, frame_HWC in zip(times, clear_frames(len(times)), strict=True):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            frame.pts, frame.time_base = time, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_uneven_times_are_kept_from_the_first_frame_on(tmp_path):
    ticks = [50, 90, 100, 170, 290, 300, 301, 400]
    source = write_timed(tmp_path / "in.mkv", ticks, Fraction(1, 1000))
    transcode(str(source), str(tmp_path / "out.mp4"), SMALL)
    assert keyframes_and_times(tmp_path / "out.mp4")[1] == [Fraction(tick - 50, 1000) for tick in ticks]
    assert numbers(decoded(tmp_path / "out.mp4")) == list(range(8))


def test_avi_frames_are_spaced_evenly(tmp_path):
    """Its timestamps count packets in the order of decoding: with B-frames they are no times."""
    source = write_video(tmp_path / "in.avi", clear_frames(20), codec="libx264", qp="0", bf="3", preset="medium")
    transcode(str(source), str(tmp_path / "out.mp4"), SMALL)
    assert keyframes_and_times(tmp_path / "out.mp4")[1] == [Fraction(index, 24) for index in range(20)]
    assert numbers(decoded(tmp_path / "out.mp4")) == list(range(20))


@needs_faults
@pytest.mark.parametrize(
    ("name", "last"), [("copy_x264.avi", 89 / 30), ("pause20.mp4", 20 + 89 / 30), ("lastlong.mp4", 60 + 89 / 30)]
)
def test_odd_files_keep_the_time_of_their_frames(tmp_path, name, last):
    transcode(str(FAULTS / name), str(tmp_path / "out.mp4"), SMALL)
    times = keyframes_and_times(tmp_path / "out.mp4")[1]
    assert (len(times), times[0], float(times[-1])) == (90, 0, pytest.approx(last, abs=0.03))
    with VideoReader(str(FAULTS / name)) as before, VideoReader(str(tmp_path / "out.mp4")) as after:
        assert after.info == before.info
        assert (after.info.times is None) == (before.info.times is None) == (name != "pause20.mp4")


def test_a_pause_of_an_avi_is_kept(tmp_path):
    source = write_numbered_at(tmp_path / "in.avi", [*range(10), *range(60, 70)], 25)
    transcode(str(source), str(tmp_path / "out.mp4"), SMALL)
    distances = np.diff(np.array(keyframes_and_times(tmp_path / "out.mp4")[1], float))
    assert np.sort(distances).tolist() == pytest.approx([0.04] * 18 + [2.04])


def test_pictures_keep_their_colours(tmp_path):
    frames_THWC = np.zeros((4, 48, 64, 3), np.uint8)
    frames_THWC[:, :, :32], frames_THWC[:, :, 32:] = (200, 60, 30), (20, 90, 240)
    source = write_video(tmp_path / "in.mp4", frames_THWC)
    transcode(str(source), str(tmp_path / "out.mp4"), Encoding(crf=1, preset="ultrafast"))
    frame = decoded(tmp_path / "out.mp4")[0].astype(int)
    assert np.abs(frame[24, 8] - (200, 60, 30)).max() <= 4
    assert np.abs(frame[24, 56] - (20, 90, 240)).max() <= 4


@pytest.mark.skipif(not SHARED.exists(), reason=f"the real clips are not at {SHARED}")
@pytest.mark.parametrize("name", ["decord__video_90.mov", "decord__video_180.mov", "decord__video_270.mov"])
def test_real_turned_videos_become_upright(tmp_path, name):
    source = SHARED / "videos" / "diverse" / name
    transcode(str(source), str(tmp_path / "out.mp4"), Encoding(short_side=512, crf=10))
    before, after = decoded(source), decoded(tmp_path / "out.mp4")
    assert [frame.shape for frame in after] == [frame.shape for frame in before]
    assert max(np.abs(old.astype(int) - new).mean() for old, new in zip(before, after, strict=True)) < 4
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_pixel_aspect_is_kept(tmp_path):
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        for frame_HWC in numbered_frames(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))
    transcode(str(source), str(tmp_path / "out.mp4"), SMALL)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


def cut_short(path: Path) -> Path:
    """A video whose index promises frames that are no longer there."""
    whole = write_video(path.with_name("whole.mkv"), clear_frames(40), g="1", qp="0")
    fast = with_index_first(whole, path.with_name("fast.mp4"))
    path.write_bytes(fast.read_bytes()[: fast.stat().st_size * 6 // 10])
    whole.unlink(), fast.unlink()
    return path


def test_a_video_cut_short_keeps_its_frames(tmp_path):
    source = cut_short(tmp_path / "cut.mp4")
    transcode(str(source), str(tmp_path / "out.mp4"), SMALL)
    with VideoReader(str(source)) as video, pytest.raises(FrameCountCorrected):
        list(video.read(range(video.info.num_frames)))
    num_frames = video.info.num_frames
    assert 10 < num_frames < 30  # of 40
    # as many as training sees, and the same ones
    assert numbers(decoded(tmp_path / "out.mp4")) == list(range(num_frames))


def test_a_damaged_packet_costs_its_own_frame(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", clear_frames(12), codec="libx264", g="1", crf="0", bf="0")
    damaged = with_damaged_packets(whole, tmp_path / "damaged.mp4", [5])
    assert transcode(str(damaged), str(tmp_path / "out.mp4"), SMALL) == 1
    assert numbers(decoded(tmp_path / "out.mp4")) == [*range(5), *range(6, 12)]
    assert transcode(str(whole), str(tmp_path / "good.mp4"), SMALL) == 0


def test_a_broken_video_leaves_nothing(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", clear_frames(4), codec="libx264", g="1", crf="0", bf="0")
    bad = with_damaged_packets(whole, tmp_path / "bad.mp4", range(4))
    (tmp_path / "out").mkdir()
    with pytest.raises(VideoDecodeError, match=r"bad\.mp4: cannot be decoded: "):
        transcode(str(bad), str(tmp_path / "out" / "bad.mp4"), SMALL)
    assert list((tmp_path / "out").iterdir()) == []


def test_no_video_in_the_file(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoDecodeError, match=r"sound\.mp4: the file has no video stream"):
        transcode(str(path), str(tmp_path / "out.mp4"), SMALL)


def test_no_frame_that_can_be_decoded(tmp_path, monkeypatch, numbered_video):
    monkeypatch.setattr(transcode_module, "_decoded", lambda container, decoder: (frame for frame in ()))
    with pytest.raises(VideoDecodeError, match=r"numbered\.mp4: the video has no frame that can be decoded"):
        transcode(str(numbered_video), str(tmp_path / "out.mp4"), SMALL)
