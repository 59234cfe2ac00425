"""The page in a real browser, on a network of the tests; what it shows apart from the page, on a predictor of none."""

from __future__ import annotations

import base64
import http.client
import importlib.util
import io
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

from mutualnet3d.deploy.web_page import Clip, Demo, curve_figure, find_clips, label_of_point, plain, pngs
from mutualnet3d.results.query_table import QueryTable, Row
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.reader import VideoDecodeError, VideoReader
from tests.conftest import numbered_frames, write_video
from tests.tools import test_measure_latency

TOOL = "tools/demo_web.py"
ROOT = Path(__file__).resolve().parents[2]
SMALL, LARGE = SubnetConfig(0.5, 32, 2), SubnetConfig(1.0, 320, 4)
CLASSES = ("dark", "bright")
POINTS = (
    Row(SMALL, gflops=0.01, params=1, milliseconds=2.0, top1=50.0, top5=100.0),
    Row(SubnetConfig(0.8, 48, 4), gflops=0.05, params=1, milliseconds=3.0, top1=80.0, top5=100.0),
    Row(LARGE, gflops=0.123456, params=1, milliseconds=12.345, top1=90.0, top5=100.0),
)
BEHIND = Row(SubnetConfig(1.0, 48, 4), gflops=0.06, params=1, milliseconds=8.0, top1=40.0, top5=100.0)


class NoNetwork:
    """A predictor that reads the first frame and calls `during` meanwhile."""

    backend, class_names = "none", CLASSES
    table = QueryTable((*POINTS, BEHIND), {"model": "x3d", "device": "a PC"})

    def __init__(self, during=lambda: None):
        self.during = during

    def points(self):
        return POINTS

    def predict(self, source, config=None):
        self.during()
        with VideoReader(source) as video:
            (frame_HWC,) = video.frames([0])
        return SimpleNamespace(config=config, frames=frame_HWC[None])


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A checkpoint of two sub-networks, so different that the one is slower on any machine, and its table."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.setattr(test_measure_latency, "CONFIGS", (LARGE, SMALL))
        folder = tmp_path_factory.mktemp("tested")
        _, checkpoint, _, table = test_measure_latency.write_tested(folder, class_names=["dark", "*bright*"])
    return checkpoint, table


@pytest.fixture
def temp_folder(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


# ---- apart from the page ---------------------------------------------------------------------------------------------


def test_clips_of_a_folder_a_list_and_a_video(tmp_path):
    for name in ("b.mp4", "a/c.MKV", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text("b.mp4 1\na/c.MKV 0\n")
    (tmp_path / "names.txt").write_text("dark\nbright\n")
    (tmp_path / "named.csv").write_text("/elsewhere/b.mp4 bright\n")
    video, other = str(tmp_path / "b.mp4"), str(tmp_path / "a/c.MKV")

    assert find_clips(str(tmp_path), CLASSES) == (Clip("a/c.MKV", other), Clip("b.mp4", video))
    listed = find_clips(str(tmp_path / "list.csv"), CLASSES)
    assert listed == (Clip("b.mp4", video, "bright"), Clip("a/c.MKV", other, "dark"))
    assert [str(clip) for clip in listed] == ["b.mp4 (bright)", "a/c.MKV (dark)"]
    named = find_clips(str(tmp_path / "named.csv"), CLASSES, str(tmp_path / "names.txt"))
    assert named == (Clip("/elsewhere/b.mp4", "/elsewhere/b.mp4", "bright"),)
    assert find_clips(video, CLASSES) == (Clip("b.mp4", video),)


def test_clips_that_are_none(tmp_path):
    with pytest.raises(ValueError, match=r"no videos in this folder; expected files \.mp4, \.avi"):
        find_clips(str(tmp_path), CLASSES)
    with pytest.raises(FileNotFoundError, match=rf"no folder of videos and no list of them at {tmp_path}/none"):
        find_clips(str(tmp_path / "none"), CLASSES)
    (tmp_path / "list.csv").write_text("b.mp4 2\n")
    with pytest.raises(ValueError, match=r"list\.csv:1: label must be a class from 0 to 1, got 2"):
        find_clips(str(tmp_path / "list.csv"), CLASSES)
    for fields in ({}, {"path": "a", "upload": b""}):
        with pytest.raises(ValueError, match="clip 'x' needs a path or an upload, and not both"):
            Clip("x", **fields)


def test_an_upload_is_read_as_its_file_is_and_leaves_none(tmp_path, temp_folder):
    path = write_video(tmp_path / "clip.mp4", numbered_frames(10) + np.uint8(40))
    seen = []
    demo = Demo(NoNetwork(lambda: seen.append(os.listdir(temp_folder))))
    of_file = demo.predict(Clip("clip.mp4", str(path)), SMALL)
    of_upload = demo.predict(Clip("clip.mp4", upload=path.read_bytes()), SMALL)
    np.testing.assert_array_equal(of_upload.frames, of_file.frames)
    assert of_upload.frames.min() == of_upload.frames.max() == 40
    assert seen == [[], []]  # nobody else sees the upload even while it is read
    assert os.listdir(temp_folder) == []
    assert Clip("a", str(path)).read() == Clip("b", upload=path.read_bytes()).read() == path.read_bytes()


def test_a_broken_upload_is_called_by_its_name_and_leaves_no_file(temp_folder):
    with pytest.raises(VideoDecodeError, match=r"^my clip\.mp4: ") as caught:
        Demo(NoNetwork()).predict(Clip("my clip.mp4", upload=b"not a video"), SMALL)
    assert "/proc" not in str(caught.value)
    assert "\n" not in str(caught.value)

    def fail(path, config):
        raise ValueError(f"{path}: too short")

    predictor = NoNetwork()
    predictor.predict = fail
    with pytest.raises(ValueError, match=r"^my clip\.mp4: too short$"):
        Demo(predictor).predict(Clip("my clip.mp4", upload=b"x"), SMALL)
    assert os.listdir(temp_folder) == []


def test_visitors_are_served_one_at_a_time_by_one_thread(numbered_video):
    inside, most, threads = [], [], set()

    def during():
        inside.append(1)
        most.append(len(inside))
        threads.add(threading.get_ident())
        time.sleep(0.005)
        inside.pop()

    demo = Demo(NoNetwork(during))
    with ThreadPoolExecutor(4) as visitors:
        list(visitors.map(lambda _: demo.predict(Clip("a", str(numbered_video)), SMALL), range(12)))
    assert most == [1] * 12
    assert len(threads) == 1


def test_what_the_page_says():
    assert (
        Demo(NoNetwork()).about()
        == "x3d · 2 classes · back end none on a PC · 3 of 4 measured sub-networks are on the front"
    )
    assert label_of_point(POINTS[2]) == "12.3 ms, 0.123 GFLOPs"
    assert plain("![a_b](http://c)") == r"\!\[a\_b\]\(http\:\/\/c\)"
    assert plain("a\n\n# b") == r"a \# b"  # one line, in which nothing is a heading


def test_frames_are_pngs_of_their_own_pixels():
    frames_THWC = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    read = [np.asarray(Image.open(io.BytesIO(file))) for file in pngs(frames_THWC)]
    np.testing.assert_array_equal(read, frames_THWC)


@pytest.mark.parametrize("chosen", range(3))
def test_the_curve_marks_the_chosen_point(chosen):
    pytest.importorskip("plotly", reason="the extra `plot` is not installed")
    figure = curve_figure(POINTS, chosen, [BEHIND])
    behind, line, mark = figure.data
    assert (behind.x, behind.y) == ((8.0,), (40.0,))
    assert list(zip(line.x, line.y, strict=True)) == [(2.0, 50.0), (3.0, 80.0), (12.345, 90.0)]
    row = POINTS[chosen]
    assert (mark.x, mark.y) == ((row.milliseconds,), (row.top1,))
    (name,) = figure.layout.annotations
    assert name.text == f"<b>{row.config}</b><br>top-1 {row.top1:.1f} %"
    # Towards the middle, off the rising curve.
    assert (name.xanchor, name.yanchor) == (("left", "top"), ("left", "top"), ("right", "bottom"))[chosen]
    assert figure.layout.yaxis.range == (27.5, 102.5)


def test_a_curve_of_one_point():
    pytest.importorskip("plotly", reason="the extra `plot` is not installed")
    assert curve_figure(POINTS[:1], 0).layout.yaxis.range == (49.0, 51.0)


# ---- the tool --------------------------------------------------------------------------------------------------------


def test_names_bad_input(tested, tmp_path, run_tool):
    pytest.importorskip("streamlit", reason="the extra `web` is not installed")
    none = tmp_path / "none"

    def error_of(*words):
        status, out, err = run_tool(TOOL, "--checkpoint", tested[0], "--port", free_port(), *words)
        assert (status, err.count("\n")) == (2, 1)
        return out, err

    assert error_of("--port", 0) == ("", "error: --port is 0; allowed: 1 to 65535\n")
    assert error_of("--port", 65536) == ("", "error: --port is 65536; allowed: 1 to 65535\n")
    assert error_of("--max-upload", 0) == ("", "error: --max-upload is 0; allowed: 1 or more\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = f"error: cannot listen on 127.0.0.1, port {port}: Address already in use\n"
        assert error_of("--port", port) == ("", message)
    assert error_of("--host", "192.0.2.1")[1].startswith("error: cannot listen on 192.0.2.1, port ")
    assert error_of("--checkpoint", none)[1].startswith(f"error: no file at {none}")
    assert error_of("--table", none)[1] == f"error: no query table at {none}\n"
    assert error_of("--clips", none)[1] == f"error: no folder of videos and no list of them at {none}\n"
    assert error_of("--backend", "x")[1].startswith("error: unknown back end 'x'; allowed: auto, ")
    assert error_of("--threads", 0)[1] == "error: threads is 0; it must be an integer of at least 1\n"


@pytest.mark.parametrize("module", ["streamlit", "plotly.graph_objects"])
def test_without_the_extra_it_says_what_to_install(module, run_tool, monkeypatch):
    if module != "streamlit":
        monkeypatch.setitem(sys.modules, "streamlit", types.ModuleType("streamlit"))
    monkeypatch.setitem(sys.modules, module, None)
    status, out, err = run_tool(TOOL, "--checkpoint", "none", "--port", free_port())
    assert (status, out) == (2, "")
    name = module.partition(".")[0]
    assert err == f"error: {name} is not installed: pip install 'mutualnet3d[web]'\n"


def test_a_page_from_elsewhere_is_not_let_in_and_nobody_is_asked(monkeypatch):
    pytest.importorskip("streamlit", reason="the extra `web` is not installed")
    from streamlit import net_util
    from streamlit.web.server.server_util import is_url_from_allowed_origins

    asked = []
    monkeypatch.setattr(net_util, "_make_blocking_http_get", lambda url, **_: asked.append(url))
    monkeypatch.setattr(net_util, "_external_ip", None)
    monkeypatch.setattr(net_util, "get_external_ip", net_util.get_external_ip)  # put back behind the test
    is_url_from_allowed_origins("http://example.com")
    assert asked  # what is prevented
    asked.clear()
    runpy.run_path(str(ROOT / TOOL))["_ask_nobody"]()
    assert not is_url_from_allowed_origins("http://example.com")
    assert asked == []


def test_a_front_of_one_point_has_no_slider_and_no_list_no_choice(monkeypatch):
    testing = pytest.importorskip("streamlit.testing.v1", reason="the extra `web` is not installed")
    predictor = NoNetwork()
    predictor.points = lambda: POINTS[2:]
    monkeypatch.setattr("mutualnet3d.deploy.web_page.open_demo", lambda *_, **__: Demo(predictor))
    monkeypatch.setattr(sys, "argv", [TOOL, "--checkpoint", "none"])
    page = testing.AppTest.from_file(str(ROOT / TOOL), default_timeout=60).run()
    assert not page.exception
    assert not page.select_slider
    assert not page.radio
    assert any("12.3 ms, 0.123 GFLOPs" in each.value.replace("\\", "") for each in page.caption)
    assert [each.value for each in page.info] == ["Choose a clip."]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


# ---- the page, in a browser ------------------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
GREY = {"dark": 40, "bright": 200}


@pytest.fixture(scope="module")
def browser():
    missing = [name for name in ("playwright", "streamlit", "plotly") if importlib.util.find_spec(name) is None]
    if missing or not CHROMIUM:
        pytest.skip(f"needs {', '.join(missing) or 'Chromium'}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(browser, tested, tmp_path_factory):
    """The tool, on a network of two sub-networks and a list of two clips; its home and temporary folders are empty."""
    folder = tmp_path_factory.mktemp("web")
    checkpoint, table = tested
    for name, level in GREY.items():
        write_video(folder / f"{name}_.mp4", np.full((30, 64, 80, 3), level, np.uint8), codec="libx264")
    (folder / "list.csv").write_text("dark_.mp4 0\nbright_.mp4 1\n")
    home, temporary = folder / "home", folder / "temporary"
    home.mkdir()
    temporary.mkdir()
    port = free_port()
    words = ["--checkpoint", checkpoint, "--table", table, "--clips", str(folder / "list.csv"), "--port", str(port)]
    words += ["--max-upload", "1", "--backend", "pytorch", "--threads", "1"]
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    with (folder / "printed.txt").open("w+") as printed:
        process = subprocess.Popen(
            [sys.executable, TOOL, *words], cwd=ROOT, env=environment, stdout=printed, stderr=subprocess.STDOUT
        )
        try:
            wait_for_port(port, process, folder / "printed.txt")
            yield SimpleNamespace(folder=folder, temporary=temporary, port=port, pid=process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in (folder / "printed.txt").read_text()
    assert [*home.iterdir(), *temporary.iterdir()] == []


def wait_for_port(port, process, printed):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, printed.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"nothing listens on port {port}: {printed.read_text()}")


@pytest.fixture
def page(browser, server):
    """The page, opened; all that it asks for is of the server."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(30_000)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(f"http://127.0.0.1:{server.port}")
    page.get_by_text("What it sees").wait_for()
    yield page
    page.close()
    elsewhere = [url for url in asked if urlsplit(url).netloc != f"127.0.0.1:{server.port}"]
    assert [url for url in elsewhere if not url.startswith(("data:", "blob:"))] == []
    assert any(url.startswith("ws://") for url in asked)


def figure(page, name):
    """What the page says in large figures under `name`."""
    metric = page.get_by_test_id("stMetric").filter(has=page.get_by_text(name, exact=True))
    return metric.get_by_test_id("stMetricValue").inner_text()


FRAMES_SHOWN = """() => [...document.querySelectorAll('[data-testid="stImage"] img')].map(image => {
    const canvas = document.createElement('canvas').getContext('2d');
    canvas.drawImage(image, -image.naturalWidth / 2, -image.naturalHeight / 2);
    const box = image.getBoundingClientRect();
    const level = canvas.getImageData(0, 0, 1, 1).data[0];
    return [image.naturalWidth, image.naturalHeight, box.width, box.height, level];
})"""


def assert_shows(page, config, level):
    """In the end the page shows the sub-network's frames, of a video of this grey level, each pixel a pixel."""
    from playwright.sync_api import TimeoutError

    try:
        page.wait_for_function(
            f"""([count, size, level]) => {{
                const frames = ({FRAMES_SHOWN})();
                const whole = frame => frame.slice(0, 4).every(side => side === size);
                const right = frame => Math.abs(frame[4] - level) <= 2;
                return frames.length === count && frames.every(whole) && frames.every(right);
            }}""",
            arg=[config.frames, config.size, level],
        )
    except TimeoutError:
        pytest.fail(f"{config}, grey level {level}; shown are {page.evaluate(FRAMES_SHOWN)}")
    assert figure(page, "Sub-network") == str(config)


@pytest.mark.browser
def test_the_budget_moves_along_the_front_on_the_same_clip(page):
    assert page.get_by_text("back end pytorch").is_visible()
    assert_shows(page, LARGE, GREY["dark"])
    assert figure(page, "GFLOPs per clip")
    for name in ("Decode", "Prepare", "Network"):
        assert float(figure(page, name).removesuffix(" ms")) > 0
    bars = page.get_by_test_id("stProgress").all_inner_texts()
    assert {text.rpartition(":")[0] for text in bars} == {"dark", "*bright*"}
    percents = [float(text.rpartition(": ")[2].removesuffix(" %")) for text in bars]
    assert percents == sorted(percents, reverse=True)
    assert sum(percents) == pytest.approx(100, abs=0.2)
    page.locator(".annotation").filter(has_text=str(LARGE)).wait_for()
    assert "dark_.mp4" in page.get_by_test_id("stSelectbox").inner_html()
    assert page.locator("video").get_attribute("src")

    page.get_by_role("slider").press("ArrowLeft")
    page.get_by_text(f"{SMALL.frames} frames of {SMALL.size} x {SMALL.size} pixels").wait_for()
    assert_shows(page, SMALL, GREY["dark"])
    page.locator(".annotation").filter(has_text=str(SMALL)).wait_for()


@pytest.mark.browser
def test_uploads_are_shown_and_leave_no_file(page, server):
    page.get_by_text("upload", exact=True).click()
    page.get_by_text("Choose a clip.").wait_for()
    sent = page.locator('input[type="file"]')
    name = "bright_.mp4"
    sent.set_input_files(str(server.folder / name))
    page.get_by_text("What it sees").wait_for()
    assert_shows(page, LARGE, GREY["bright"])
    assert os.listdir(server.temporary) == []

    # A name that is markup stays a name, and nothing is loaded from where it says.
    sent.set_input_files({"name": "![a_b_c](http:..x).mp4", "mimeType": "video/mp4", "buffer": b"not a video"})
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text().startswith("![a_b_c](http:..x).mp4: ")
    assert "Traceback" not in page.inner_text("body")
    assert os.listdir(server.temporary) == []

    sent.set_input_files({"name": "large.mp4", "mimeType": "video/mp4", "buffer": bytes(3 << 19)})
    page.get_by_text("must be 1.0MB or smaller").wait_for()
    sent.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello"})
    page.get_by_text("files are not allowed").wait_for()


@pytest.mark.browser
def test_listens_on_this_machine_alone(server):
    sockets = set()
    for entry in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            sockets.add(os.readlink(entry).removeprefix("socket:[").removesuffix("]"))
        except FileNotFoundError:
            continue  # closed meanwhile
    tables = [Path(f"/proc/{server.pid}/net/{name}").read_text().splitlines() for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    listening = [line[1] for line in lines if line[3] == "0A" and line[9] in sockets]
    assert listening == [f"0100007F:{server.port:04X}"]


@pytest.mark.browser
def test_takes_no_connection_of_a_page_from_elsewhere(server):
    def status_of(host, origin):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        headers |= {"Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(), "Host": host, "Origin": origin}
        connection.request("GET", "/_stcore/stream", headers=headers)
        status = connection.getresponse().status
        connection.close()
        return status

    here = f"127.0.0.1:{server.port}"
    assert status_of(here, f"http://{here}") == 101
    assert status_of(here, "http://example.com") == 403
    # Its name was made to point here.
    assert status_of(f"example.com:{server.port}", f"http://example.com:{server.port}") == 403
