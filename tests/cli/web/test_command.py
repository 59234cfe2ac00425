"""The command that serves the page, without a browser."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import types

import pytest

from mutualnet3d.cli.web.command import _prevent_address_lookup
from tests.runner.runs import ROOT
from tests.runner.test_failing_runs import MARK, SECONDS, marked

TOOL = "tools/demo_web.py"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_names_bad_input_and_starts_nothing(tested, tmp_path, run_tool, monkeypatch):
    pytest.importorskip("streamlit", reason="the extra `web` is not installed")
    monkeypatch.setattr("mutualnet3d.data.limited_reader._Server", None)
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
    monkeypatch.setattr(net_util, "get_external_ip", net_util.get_external_ip)  # put back after the test
    is_url_from_allowed_origins("http://example.com")
    assert asked  # what is prevented
    asked.clear()
    _prevent_address_lookup()
    assert not is_url_from_allowed_origins("http://example.com")
    assert asked == []


@pytest.mark.slow
@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL"])
def test_no_process_is_left(way, tested, tiny_data, tmp_path):
    """And the page outlives the process that starts those that read videos."""
    pytest.importorskip("streamlit", reason="the extra `web` is not installed")
    port, printed = free_port(), tmp_path / "printed"
    words = ["-m", "mutualnet3d", "web", "--checkpoint", tested[0], "--backend", "pytorch", "--port", port]
    words += ["--clips", tiny_data / "val.csv"]
    environment = {**os.environ, MARK: str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with printed.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *map(str, words)], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: process.poll() is not None or answers(port))
        assert process.poll() is None, printed.read_text()
        (server,) = [int(number) for number in marked(tmp_path) if int(number) != process.pid]
        if way == "SIGINT":
            os.kill(server, signal.SIGKILL)
            wait_for(lambda: marked(tmp_path) == [str(process.pid)])
            assert answers(port)
        sent = time.monotonic()
        process.send_signal(getattr(signal, way))
        status = process.wait(SECONDS)
        wait_for(lambda: marked(tmp_path) == [])
        assert time.monotonic() - sent < SECONDS
    finally:
        process.kill()
    assert status == {"SIGINT": 0, "SIGTERM": -signal.SIGTERM, "SIGKILL": -signal.SIGKILL}[way]
    assert "Traceback" not in printed.read_text()


def answers(port):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


def wait_for(condition):
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
