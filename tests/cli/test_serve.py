from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

import pytest

from mutualnet3d.cli.main import main
from mutualnet3d.extras import installed
from tests.cli.test_latency import write_tested
from tests.conftest import numbered_frames, restored_generators, write_video
from tests.runner.runs import ROOT
from tests.runner.test_failing_runs import MARK, SECONDS, marked

MODULES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
needs_extra = pytest.mark.skipif(not all(map(installed, MODULES)), reason="the extra `serve` is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a tested network and a video."""
    folder = tmp_path_factory.mktemp("served")
    with restored_generators():
        write_tested(folder, class_names=["dark", "bright"])
    write_video(folder / "video.mp4", numbered_frames(40))
    return folder


@pytest.mark.parametrize("module", MODULES)
def test_without_the_extra_it_says_what_to_install(module, run_tool, monkeypatch):
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None if name == module else sys)
    status, out, err = run_tool("mutualnet3d", "serve", "--checkpoint", "none")
    assert (status, out) == (2, "")
    assert err == f"error: {module} is not installed: pip install 'mutualnet3d[serve]'\n"


@needs_extra
def test_names_bad_input_and_starts_nothing(folder, run_tool, monkeypatch):
    monkeypatch.setattr("mutualnet3d.data.limited_reader._Server", None)
    none = folder / "none"

    def error_of(*words):
        status, out, err = run_tool("mutualnet3d", "serve", "--checkpoint", folder / "calibrated.pyth", *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        return err

    assert error_of("--port", 65536) == "error: --port is 65536; allowed: 0 to 65535\n"
    assert error_of("--workers", 0) == "error: --workers is 0; allowed: 1 or more\n"
    assert error_of("--max-upload", 0) == "error: --max-upload is 0; allowed: 1 or more\n"
    assert error_of("--max-views", 0) == "error: --max-views is 0; allowed: 1 or more\n"
    assert error_of("--grace", 0) == "error: --grace is 0; allowed: above 0, below 3600 seconds\n"
    assert error_of("--root", none) == f"error: --root: no folder at {none}\n"
    assert error_of("--checkpoint", none, "--port", 0).startswith(f"error: no file at {none}")
    assert error_of("--host", "192.0.2.1").startswith("error: cannot listen on 192.0.2.1, port 8000: ")
    assert error_of("--backend", "x", "--port", 0).startswith("error: unknown back end 'x'; allowed: auto, ")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = f"error: cannot listen on 127.0.0.1, port {port}: Address already in use\n"
        assert error_of("--port", port) == message


@pytest.mark.slow
@needs_extra
def test_a_server_answers_as_predict_does_and_ends_on_sigterm(folder, tmp_path, monkeypatch, capsys):
    """A process of its own: uploads, a path, a hostile upload; no process and no file are left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, MARK: str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["TMPDIR"] = str(temporary)
    words = ["--checkpoint", folder / "calibrated.pyth", "--backend", "pytorch", "--port", 0, "--root", folder]
    words += ["--max-upload", 1, "--decode-seconds", 60]
    with (tmp_path / "printed").open("w+") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "mutualnet3d", "serve", *map(str, words)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
        )
        try:
            url = re.fullmatch(r"serving http://127\.0\.0\.1:(\d+) \(Ctrl-C ends it\)\n", process.stdout.readline())
            assert url, (tmp_path / "printed").read_text()

            def ask(query, body=None):
                connection = http.client.HTTPConnection("127.0.0.1", int(url[1]), timeout=SECONDS)
                connection.request("POST", f"/predict?{query}", body)
                response = connection.getresponse()
                return response.status, json.loads(response.read())

            video = (folder / "video.mp4").read_bytes()
            uploaded, below = ask("gflops=1.5&views=2", video), ask("path=video.mp4&gflops=1.5&views=2")
            assert ask("milliseconds=100000", video)[1]["config"] == "w1.0-s32-t4"
            assert ask("path=../video.mp4")[0] == 404
            assert ask("", b"x" * ((1 << 20) + 1))[0] == 413
            status, answer = ask("", video[:-500])
            assert status in (200, 422)
            assert answer["source"] == "upload"
            assert list(temporary.iterdir()) == []
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
    assert "Traceback" not in (tmp_path / "printed").read_text()
    assert marked(tmp_path) == []

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    words = [
        "--checkpoint",
        folder / "calibrated.pyth",
        "--backend",
        "pytorch",
        "--gflops",
        1.5,
        "--views",
        2,
        "--json",
    ]
    assert main(["predict", str(folder / "video.mp4"), *map(str, words)]) == 0
    expected = json.loads(capsys.readouterr().out)
    for (status, answer), source in ((uploaded, "upload"), (below, "video.mp4")):
        assert status == 200
        assert set(answer.pop("milliseconds")) == {"decode", "prepare", "network", "total"}
        assert answer.pop("source") == source
        labels = answer.pop("labels")
        assert [label["index"] for label in labels] == [label["index"] for label in expected["labels"]]
        assert labels[0]["score"] == pytest.approx(expected["labels"][0]["score"], abs=1e-6)
        assert answer == {name: expected[name] for name in answer}
