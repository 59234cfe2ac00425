from __future__ import annotations

import re
import sys
import time
from fractions import Fraction
from itertools import count

import av
import numpy as np
import pytest
import torch
from PIL import Image

from mutualnet3d.deploy import ActivationMap, Predictor
from mutualnet3d.video import frame_stream
from tests.cli.test_latency import write_tested
from tests.conftest import numbered_frames, write_video

TOOL = "tools/demo_net.py"


def decoded(path):
    """Return the times, seconds, and the frames (T, H, W, 3) of a video, and its stream's frame rate."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        rate = container.streams.video[0].average_rate
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.streams.video[0].codec_context.name == "h264"
        assert {frame.format.name for frame in frames} == {"yuv420p"}
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    return [frame.time for frame in frames], pictures, rate


def files(output):
    return sorted(path.name for path in output.parent.iterdir())


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return write_tested(tmp_path_factory.mktemp("tested"), class_names=["dark", "bright"])[1]


@pytest.fixture
def demo(run_tool, tested, tmp_path):
    """Function that runs the tool on PyTorch and one thread; the output is `tmp_path/out/drawn.mp4`."""

    def run(source, *words):
        output = tmp_path / "out" / "drawn.mp4"
        settings = ["--checkpoint", tested, "--backend", "pytorch", "--threads", 1]
        return run_tool(TOOL, "--input", source, "--output", output, *settings, *words)

    return run


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out" / "drawn.mp4"


def grey_video(path, num_frames, height, width, fps=24):
    return write_video(path, numbered_frames(num_frames, height, width) + np.uint8(50), fps)


# ---- files -----------------------------------------------------------------------------------------------------------


def test_every_frame_is_drawn_on_at_its_own_time(demo, output, tmp_path):
    video = grey_video(tmp_path / "video.mp4", 40, 241, 321)
    status, out, err = demo(video, "--gflops", 0.6)
    assert (status, err) == (0, "")
    assert re.fullmatch(
        rf"{re.escape(str(output))}: 40 frames; 7 windows on pytorch, \d+\.\d ms in the median; w0\.5-s32-t2 7 x\n", out
    )
    times, pictures, rate = decoded(output)
    assert (pictures.shape, rate) == ((40, 240, 320, 3), 24)
    assert times == pytest.approx([number / 24 for number in range(40)], abs=1e-4)
    # Between the panels each frame is what it was, above on the left it is not.
    levels = pictures[:, 100:150].mean(axis=(1, 2, 3))
    assert levels == pytest.approx([50 + 2 * number for number in range(40)], abs=2)
    assert np.ptp(pictures[:, 4:40, 4:100].astype(int), axis=(1, 2, 3)).min() > 60
    assert files(output) == ["drawn.mp4"]


def test_frames_that_are_not_evenly_spaced_and_few_pixels(demo, output, tmp_path):
    ticks = [0, 1, 2, 5, 6, 10, 11, 12, 20, 21]
    with av.open(str(tmp_path / "video.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25)
        for tick, frame_HWC in zip(ticks, numbered_frames(10) + np.uint8(40), strict=True):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert demo(tmp_path / "video.mp4", "--subnet", "w0.5-s32-t2")[0] == 0
    times, pictures, _ = decoded(output)
    assert times == pytest.approx([tick / 25 for tick in ticks], abs=1e-4)
    assert pictures.shape[1:] == (240, 320, 3)  # enlarged: else there is no room for letters


def test_a_time_that_is_held_and_its_trace(demo, output, tmp_path):
    pytest.importorskip("matplotlib")
    video = grey_video(tmp_path / "video.mp4", 40, 120, 160)
    trace = tmp_path / "trace.png"
    status, out, _ = demo(video, "--milliseconds", 1e5, "--seconds", 1.5, "--stride", 0.25, "--trace-plot", trace)
    assert status == 0
    # Windows of 0.67 s, the last one ends after 1.67 s. One sub-network ran all the time.
    pattern = r": 36 frames; 5 windows on pytorch, \d+\.\d ms in the median, 100 % within 100000 ms; w\S+ 5 x\n"
    assert re.search(pattern, out)
    assert len(decoded(output)[0]) == 36
    with Image.open(trace) as picture:
        assert picture.format == "PNG"


def test_the_budget_and_the_front_are_drawn(demo, output, tmp_path, monkeypatch):
    """Arguments of `draw_overlay`, for each frame."""
    given = []

    def draw(frame_HWC, prediction, **settings):
        given.append((prediction, settings))
        return frame_HWC

    monkeypatch.setattr("mutualnet3d.cli.drawing.draw_overlay", draw)
    video = grey_video(tmp_path / "video.mp4", 18, 120, 160)
    assert demo(video, "--milliseconds", 1e5)[0] == 0
    assert len(given) == 18
    prediction, settings = given[0]
    assert len(prediction.labels) == 2
    assert settings["budget"] == 1e5
    assert settings["milliseconds"] >= prediction.timing.network
    assert prediction.config in [row.config for row in settings["front"]]
    given.clear()
    assert demo(video)[0] == 0
    prediction, settings = given[0]
    assert str(prediction.config) == "w1.0-s32-t4"  # without a budget the full network
    assert settings["budget"] is None
    assert [str(row.config) for row in settings["front"]] == ["w0.5-s32-t2", "w1.0-s32-t4"]


def test_where_the_network_looks_is_drawn(demo, output, tmp_path, monkeypatch):
    """Times and classes of the maps, and the frames that they are drawn into."""
    drawn = []

    def draw_on(self, picture_HWC, seconds):
        drawn.append((seconds, (self.label.name, self.layer)))
        return np.full_like(picture_HWC, 200)

    monkeypatch.setattr(ActivationMap, "draw_on", draw_on)
    video = grey_video(tmp_path / "video.mp4", 18, 120, 160)
    status, out, _ = demo(video, "--subnet", "w0.5-s32-t2", "--activation-map", "bright", "--map-layer", "blocks.1")
    assert status == 0
    assert ": 18 frames; 1 window on pytorch, " in out
    assert [seconds for seconds, _ in drawn] == pytest.approx([number / 24 for number in range(18)])
    assert {words for _, words in drawn} == {("bright", "blocks.1")}
    assert decoded(output)[1][:, 55:65, 150:].mean(axis=(1, 2, 3)) == pytest.approx([200] * 18, abs=3)


# ---- cameras ---------------------------------------------------------------------------------------------------------


class FakeCamera:
    """Pictures of rising brightness, ten a second by their times, but faster."""

    name, fps, is_live, is_paced, pixel_aspect, longest_wait = "camera 7", 10.0, True, False, None, None
    num_closed = 0

    def __init__(self, number, *_):
        assert number == 7

    def __iter__(self):
        for number in count():
            time.sleep(0.001)
            yield number / 10, np.full((120, 160, 3), min(40 + number, 250), np.uint8)

    def close(self):
        type(self).num_closed += 1


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setattr(FakeCamera, "num_closed", 0)
    monkeypatch.setattr(frame_stream, "CameraStream", FakeCamera)


def test_a_camera_for_some_seconds(camera, demo, output):
    status, out, _ = demo(7, "--subnet", "w0.5-s32-t2", "--seconds", 4)
    assert status == 0
    assert out.startswith(f"{output}: 40 frames; ")
    times, pictures, rate = decoded(output)
    assert times == pytest.approx([number / 10 for number in range(40)], abs=1e-4)
    assert rate == 10
    levels = pictures[:, 55:65, 150:].mean(axis=(1, 2, 3))
    assert levels == pytest.approx([40 + number for number in range(40)], abs=3)
    assert FakeCamera.num_closed >= 1


def interrupt_the_third_window(monkeypatch):
    predict, calls = Predictor.predict, count()

    def interrupted(*args, **settings):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return predict(*args, **settings)

    monkeypatch.setattr(Predictor, "predict", interrupted)


def test_ctrl_c_ends_a_recording_and_keeps_it(camera, demo, output, monkeypatch):
    interrupt_the_third_window(monkeypatch)
    status, out, _ = demo(7)
    assert status == 0
    closing = re.search(r"drawn\.mp4: (\d+) frames; 2 windows on pytorch", out)
    assert closing
    assert len(decoded(output)[0]) == int(closing[1])
    assert files(output) == ["drawn.mp4"]
    assert FakeCamera.num_closed >= 1


def test_a_camera_without_pictures(camera, demo, output, monkeypatch):
    monkeypatch.setattr(FakeCamera, "__iter__", lambda self: iter(()))
    status, out, err = demo(7)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert "picture" in err
    assert files(output) == []


def test_a_camera_that_is_not_there(demo, output):
    status, out, err = demo(98765)
    assert (status, out) == (2, "")
    assert err.startswith("error: there is no camera 98765 (/dev/video98765); there are: ")
    assert not output.exists()


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_what_was_there(demo, output, tmp_path, monkeypatch):
    output.parent.mkdir()
    output.write_text("older")
    interrupt_the_third_window(monkeypatch)
    status, out, err = demo(grey_video(tmp_path / "video.mp4", 40, 120, 160))
    assert (status, out, err) == (130, "", "interrupted; nothing is written\n")
    assert files(output) == ["drawn.mp4"]
    assert output.read_text() == "older"


def test_a_video_that_is_none(demo, output, tmp_path):
    (tmp_path / "video.mp4").write_text("no video")
    status, out, err = demo(tmp_path / "video.mp4")
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / 'video.mp4'}: cannot be decoded: ")
    assert err.count("\n") == 1
    assert demo("none.mp4")[2].startswith("error: none.mp4: ")
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--gflops", 1, "--milliseconds", 5],
            "give one of --milliseconds, --gflops and --subnet; got --milliseconds and",
        ),
        (["--output", "out.avi"], "--output out.avi: expected a name that ends in .mp4"),
        (["--output", "{input}"], "--output {input} is the input; choose another name"),
        (["--seconds", 0], "--seconds is 0; it must be above 0"),
        (["--trace-plot", "a.png"], "--trace-plot shows how a time was held; it needs --milliseconds"),
        (
            ["--milliseconds", 5, "--trace-plot", "a.txt"],
            "--trace-plot a.txt: expected a name that ends in .png or .svg",
        ),
        (["--gflops", 0.1], "no sub-network fits gflops=0.1; the cheapest in gflops is w0.5-s32-t2"),
        (["--milliseconds", 1e-6], "no sub-network fits milliseconds=1e-06; the cheapest in milliseconds is "),
        (["--stride", 0], "stride is 0.0; it must be a number above 0, seconds"),
        (["--activation-map", "grey"], "label is 'grey'; allowed: the name of a class, or its number from 0 to 1; "),
        (["--activation-map", "--map-layer", "none"], "the network has no layer 'none'; similar names: "),
        (["--map-layer", "blocks.4"], "--map-layer is the layer of --activation-map, which is not given"),
        (
            ["--activation-map", "--backend", "onnxruntime"],
            "--activation-map takes its maps from PyTorch's network, an exported one has none; --backend is",
        ),
    ],
)
def test_wrong_arguments_are_one_line(demo, output, numbered_video, words, message):
    words = [str(word).format(input=numbered_video) for word in words]
    status, out, err = demo(numbered_video, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message.format(input=numbered_video)}")
    assert err.count("\n") == 1
    assert not output.exists()


def test_a_plot_without_matplotlib(demo, numbered_video, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    _, _, err = demo(numbered_video, "--milliseconds", 5, "--trace-plot", "a.png")
    assert err == "error: matplotlib is not installed: pip install 'mutualnet3d[plot]'\n"


def test_pixels_stay_as_wide_as_they_were(demo, tmp_path, output):
    video = tmp_path / "anamorphic.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 180, 144, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        for picture in numbered_frames(30, 144, 180):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert demo(video, "--subnet", "w0.5-s32-t2")[0] == 0
    with av.open(str(output)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


def test_a_plot_that_cannot_be_written_is_named_before_the_work(demo, numbered_video, output, tmp_path):
    (tmp_path / "file").write_text("")
    plot = tmp_path / "file" / "plot.png"
    status, _, err = demo(numbered_video, "--milliseconds", 1000, "--trace-plot", plot)
    reason = f"{tmp_path / 'file'} is no folder; nothing can be written into {tmp_path / 'file'}"
    assert (status, err) == (2, f"error: --trace-plot: {reason}\n")
    assert not output.parent.exists()


def test_where_the_plot_fails_the_video_stays(demo, numbered_video, output, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("mutualnet3d.plots.stream_trace.save_trace_plot", fail)
    plot = tmp_path / "plot.png"
    status, _, err = demo(numbered_video, "--milliseconds", 1000, "--trace-plot", plot)
    assert status == 2
    assert f"error: --trace-plot {plot} cannot be written: disk full" in err
    assert err.endswith(f"; {output} is\n")
    assert files(output) == ["drawn.mp4"]


def test_an_output_that_cannot_be_written(demo, numbered_video, output):
    output.parent.write_text("a file, not a folder")
    status, _, err = demo(numbered_video, "--subnet", "w0.5-s32-t2")
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
