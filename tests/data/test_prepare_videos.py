from __future__ import annotations

import os
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mutualnet3d.data import prepare_videos as prepare
from mutualnet3d.data.prepare_videos import Encoding, Summary, encode_video, prepare_videos
from mutualnet3d.video.reader import VideoDecodeError, VideoReader
from tests.conftest import SHARED, numbered_frames, write_video

SMALL = Encoding(short_side=32, keyframe_every=4, crf=0, preset="ultrafast")


def clear_frames(num_frames: int) -> np.ndarray:
    """Frame i is the grey level 6 * i: what encoders do to it does not make it another one."""
    return numbered_frames(num_frames) * np.uint8(3)


def numbers(frames: list[np.ndarray]) -> list[int]:
    return [round(frame.mean() / 6) for frame in frames]


def keyframes_and_times(path: Path) -> tuple[list[int], list[Fraction]]:
    """Which frames, in the order they are shown, are key frames, and when each is shown, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = sorted((packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size)
        times = [pts * stream.time_base for pts, _ in packets]
    return [index for index, (_, is_keyframe) in enumerate(packets) if is_keyframe], times


def decoded(path: Path) -> list[np.ndarray]:
    with VideoReader(str(path)) as video:
        return [frame.copy() for frame in video.frames(range(video.info.num_frames))]


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
    encode_video(str(source), str(target), Encoding(short_side=32, keyframe_every=12, crf=0, preset=preset))
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
    encode_video(str(source), str(tmp_path / "out.mp4"), Encoding(keyframe_every=12))
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
    encode_video(str(source), str(tmp_path / "out.mp4"), SMALL)
    assert keyframes_and_times(tmp_path / "out.mp4")[1] == [Fraction(tick - 50, 1000) for tick in ticks]
    assert numbers(decoded(tmp_path / "out.mp4")) == list(range(8))


def test_avi_frames_are_spaced_evenly(tmp_path):
    """Its timestamps count packets in the order of decoding: with B-frames they are no times."""
    source = write_video(tmp_path / "in.avi", clear_frames(20), codec="libx264", qp="0", bf="3", preset="medium")
    encode_video(str(source), str(tmp_path / "out.mp4"), SMALL)
    assert keyframes_and_times(tmp_path / "out.mp4")[1] == [Fraction(index, 24) for index in range(20)]
    assert numbers(decoded(tmp_path / "out.mp4")) == list(range(20))


def test_pictures_keep_their_colours(tmp_path):
    frames_THWC = np.zeros((4, 48, 64, 3), np.uint8)
    frames_THWC[:, :, :32], frames_THWC[:, :, 32:] = (200, 60, 30), (20, 90, 240)
    source = write_video(tmp_path / "in.mp4", frames_THWC)
    encode_video(str(source), str(tmp_path / "out.mp4"), Encoding(crf=1, preset="ultrafast"))
    frame = decoded(tmp_path / "out.mp4")[0].astype(int)
    assert np.abs(frame[24, 8] - (200, 60, 30)).max() <= 4
    assert np.abs(frame[24, 56] - (20, 90, 240)).max() <= 4


def test_planes_are_turned_as_the_picture_is(tmp_path):
    """A frame's own pixels turned, against its RGB picture turned by numpy."""
    frame_HWC = np.zeros((32, 48, 3), np.uint8)
    frame_HWC[:8], frame_HWC[:, :8] = (250, 0, 0), (0, 0, 250)
    frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24").reformat(format="yuv420p")

    class Turned:
        def __init__(self, rotation):
            self.rotation = rotation
            self.reformat = frame.reformat

    for rotation, turns in ((-90, 3), (90, 1), (180, 2), (-180, 2), (0, 0)):
        size = (32, 48) if turns % 2 else (48, 32)
        turned = prepare._upright(Turned(rotation), size)
        assert (turned.width, turned.height) == size
        expected = np.rot90(frame.to_ndarray(format="rgb24"), turns)
        assert np.abs(turned.to_ndarray(format="rgb24").astype(int) - expected).mean() < 8, rotation


@pytest.mark.skipif(not SHARED.exists(), reason=f"the real clips are not at {SHARED}")
@pytest.mark.parametrize("name", ["decord__video_90.mov", "decord__video_180.mov", "decord__video_270.mov"])
def test_real_turned_videos_become_upright(tmp_path, name):
    source = SHARED / "videos" / "diverse" / name
    encode_video(str(source), str(tmp_path / "out.mp4"), Encoding(short_side=512, crf=10))
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
    encode_video(str(source), str(tmp_path / "out.mp4"), SMALL)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


def cut_short(path: Path) -> Path:
    """A video whose index promises frames that are no longer there."""
    whole = write_video(path.with_name("whole.mkv"), numbered_frames(40), g="1", qp="0")
    fast = path.with_name("fast.mp4")
    with av.open(str(whole)) as source, av.open(str(fast), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    path.write_bytes(fast.read_bytes()[: fast.stat().st_size * 6 // 10])
    whole.unlink(), fast.unlink()
    return path


def test_a_broken_video_leaves_nothing(tmp_path):
    source = cut_short(tmp_path / "cut.mp4")
    (tmp_path / "out").mkdir()
    with pytest.raises(VideoDecodeError, match=r"cut\.mp4: cannot be decoded: "):
        encode_video(str(source), str(tmp_path / "out" / "cut.mp4"), SMALL)
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
        encode_video(str(path), str(tmp_path / "out.mp4"), SMALL)
    with pytest.raises(VideoDecodeError, match=r"sound\.mp4: the file has no video stream"):
        list(prepare._decoded(str(path)))


def test_no_frame_that_can_be_decoded(tmp_path, monkeypatch, numbered_video):
    monkeypatch.setattr(prepare, "_decoded", lambda source: iter(()))
    with pytest.raises(VideoDecodeError, match=r"numbered\.mp4: the video has no frame that can be decoded"):
        encode_video(str(numbered_video), str(tmp_path / "out.mp4"), SMALL)


# ---- data sets -------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path):
    """Two good videos and a broken one below `root`, and a list of them."""
    root = tmp_path / "root"
    (root / "a class").mkdir(parents=True)
    (root / "b").mkdir()
    write_video(root / "a class" / "one.MKV", numbered_frames(6))
    write_video(root / "b" / "two.mp4", numbered_frames(6))
    (root / "b" / "bad.avi").write_text("no video, but a text")
    (root / "train.csv").write_text("b/two.mp4 1\na class/one.MKV 0\nb/bad.avi 1\n")
    return root


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_data_set_is_prepared_and_gone_on_with(tmp_path, data):
    out = tmp_path / "out"
    lists = [str(data / "train.csv")]
    summary = prepare_videos(str(data), str(out), SMALL, lists=lists, workers=2)
    assert summary == Summary(encoded=2, present=0, failed=1)
    assert str(summary) == "3 videos: 2 encoded, 0 there already, 1 failed"
    assert files_below(out) == ["a class/one.mp4", "b/two.mp4", "failed.csv", "train.csv"]
    assert [frame.shape for frame in decoded(out / "a class" / "one.mp4")] == [(32, 42, 3)] * 6
    assert (out / "train.csv").read_text() == 'b/two.mp4 1\n"a class/one.mp4" 0\n'
    header, failed = (out / "failed.csv").read_text().splitlines()
    assert header == "path,reason"
    assert failed.startswith(f"{data / 'b' / 'bad.avi'},{data / 'b' / 'bad.avi'}: cannot be decoded: InvalidDataError")

    before = (out / "b" / "two.mp4").stat().st_mtime_ns
    (out / "a class" / "one.mp4").unlink()
    write_video(data / "b" / "bad.avi", numbered_frames(6), codec="libx264")  # mended
    assert prepare_videos(str(data), str(out), SMALL, lists=lists) == Summary(encoded=2, present=1, failed=0)
    assert (out / "b" / "two.mp4").stat().st_mtime_ns == before
    assert (out / "failed.csv").read_text() == "path,reason\n"
    assert (out / "train.csv").read_text() == 'b/two.mp4 1\n"a class/one.mp4" 0\nb/bad.mp4 1\n'
    assert prepare_videos(str(data), str(out), SMALL) == Summary(encoded=0, present=3, failed=0)


def die_in_the_middle(job, encoding):
    source, target = job
    if "two" in source:
        with open(prepare._part(target, os.getpid()), "w") as file:
            file.write("half a video")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_leaves_no_half_file(tmp_path, data, monkeypatch):
    monkeypatch.setattr(prepare, "_encode", die_in_the_middle)
    summary = prepare_videos(str(data), str(tmp_path / "out"), SMALL)
    assert summary.failed == 1
    assert files_below(tmp_path / "out") == ["failed.csv"]
    reason = (tmp_path / "out" / "failed.csv").read_text().splitlines()[1]
    assert reason == f"{data / 'b' / 'two.mp4'},the process that worked on it died (SIGKILL)"


def test_trouble_with_one_video_and_with_all(tmp_path, monkeypatch, numbered_video):
    job = str(numbered_video), str(tmp_path / "none" / "out.mp4")
    outcome = prepare._encode(job, SMALL)
    assert isinstance(outcome, prepare._NoOutput)
    assert outcome.reason.startswith(f"{tmp_path / 'none' / 'out.mp4'}: FileNotFoundError: ")

    def refuse(source, target, encoding):
        raise ValueError("width not divisible")

    monkeypatch.setattr(prepare, "encode_video", refuse)
    outcome = prepare._encode(job, SMALL)
    assert isinstance(outcome, prepare._Failed)
    assert outcome.reason == f"{numbered_video}: cannot be encoded: ValueError: width not divisible"


def test_output_that_cannot_be_written_stops_the_run(tmp_path, data):
    out = tmp_path / "out"
    prepare_videos(str(data), str(out), SMALL)
    (out / "b" / "two.mp4").unlink()
    (out / "b" / "two.mp4").mkdir()  # in the way
    with pytest.raises(OSError, match=r"out/b/two\.mp4: IsADirectoryError"):
        prepare_videos(str(data), str(out), SMALL)
    assert [name for name in files_below(out) if "part" in name] == []


def test_two_videos_of_one_name(tmp_path, data):
    (data / "b" / "two.webm").touch()
    with pytest.raises(ValueError, match=r"root: b/two\.mp4 and b/two\.webm would both become b/two\.mp4; rename one"):
        prepare_videos(str(data), str(tmp_path / "out"), SMALL)
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_prepared(tmp_path, data):
    with pytest.raises(FileNotFoundError, match=r"no folder at .*none"):
        prepare_videos(str(tmp_path / "none"), str(tmp_path / "out"), SMALL)
    with pytest.raises(ValueError, match=r"root/out lies in .*root; the next run would take its videos for new ones"):
        prepare_videos(str(data), str(data / "out"), SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no video; looked for \.mp4 \.avi"):
        prepare_videos(str(tmp_path / "empty"), str(tmp_path / "out"), SMALL)


def test_lists_that_cannot_be_rewritten(tmp_path, data):
    out = tmp_path / "out"
    elsewhere = tmp_path / "train.csv"
    elsewhere.write_text("root/b/two.mp4 1\nother/three.mp4 0\n")
    with pytest.raises(
        ValueError, match=r"train\.csv:2: .*other/three\.mp4 does not lie below .*root, whose videos are"
    ):
        prepare_videos(str(data), str(out), SMALL, lists=[str(elsewhere)])
    with pytest.raises(ValueError, match=r"train\.csv: two lists have this name; both would become .*out/train\.csv"):
        prepare_videos(str(data), str(out), SMALL, lists=[str(elsewhere), str(data / "train.csv")])
    with pytest.raises(ValueError, match=r"train\.csv: the new list would take the place of this one; choose another"):
        prepare_videos(str(data), str(tmp_path), SMALL, lists=[str(elsewhere)])
    assert files_below(tmp_path) == [
        "root/a class/one.MKV",
        "root/b/bad.avi",
        "root/b/two.mp4",
        "root/train.csv",
        "train.csv",
    ]
