"""The page's script, and the page in a real browser, on a network of the tests."""

from __future__ import annotations

import base64
import http.client
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest

from mutualnet3d.cli.web.command import PAGE
from tests.cli.web.conftest import LARGE, SMALL
from tests.cli.web.test_command import free_port
from tests.conftest import write_video

ROOT = Path(__file__).resolve().parents[3]


def test_processes_that_the_page_starts_import_nothing_by_its_script():
    script = f"import runpy, sys; runpy.run_path({PAGE!r}, run_name='__mp_main__')"
    script += "; print(sorted({'streamlit', 'torch', 'mutualnet3d'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


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
    """Serve a network of two sub-networks and a list of two clips; the home and temporary folders are empty."""
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
        command = [sys.executable, "-m", "mutualnet3d", "web", *words]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=printed, stderr=subprocess.STDOUT)
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
    asked, complaints = [], []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(f"http://127.0.0.1:{server.port}")
    page.get_by_text("What it sees").wait_for()
    yield page
    page.close()
    elsewhere = [url for url in asked if urlsplit(url).netloc != f"127.0.0.1:{server.port}"]
    assert [url for url in elsewhere if not url.startswith(("data:", "blob:"))] == []
    assert any(url.startswith("ws://") for url in asked)
    assert [text for text in complaints if "Content" in text or "Refused" in text or "violates" in text] == []


def figure(page, name):
    """Return the text of the page's large figures under `name`."""
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
    assert figure(page, "GFLOPs per video")
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
@pytest.mark.parametrize(
    "path", ["/", "/_stcore/health", "/_stcore/host-config", "/media/none", "/none.js", "/../../etc"]
)
def test_all_responses_have_the_headers(server, path):
    from mutualnet3d.cli.web.server import HEADERS

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path)
    headers = connection.getresponse().headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    connection.close()


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

    address = f"127.0.0.1:{server.port}"
    assert status_of(address, f"http://{address}") == 101
    assert status_of(address, "http://example.com") == 403
    # Its name was made to point here.
    assert status_of(f"example.com:{server.port}", f"http://example.com:{server.port}") == 403
