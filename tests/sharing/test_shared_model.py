"""Models on the hub: a local folder, and a stub of the hub on the loopback address."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml

pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")

from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.sharing.shared_model import SharedModel
from tests.cli.test_latency import write_tested
from tests.conftest import numbered_frames, restored_generators
from tests.runner.runs import ROOT

COMMIT = "0" * 40


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """Path of a tested model."""
    folder = tmp_path_factory.mktemp("tested")
    with restored_generators():
        return write_tested(folder, class_names=["dark", "bright"])[1]


def test_a_folder_gives_the_predictor_back(tested, tmp_path):
    shared = SharedModel.load(tested)
    assert len(shared.table.rows) == 2
    shared.save_pretrained(tmp_path, model_card_kwargs={"license": "apache-2.0"})
    assert {"model.safetensors", "config.json", "query_table.json", "README.md"} <= set(os.listdir(tmp_path))
    assert yaml.safe_load((tmp_path / "README.md").read_text().split("---\n")[1])["license"] == "apache-2.0"

    again = SharedModel.from_pretrained(str(tmp_path)).predictor(backend="pytorch")
    frames_THWC = numbered_frames(20)
    with torch.random.fork_rng(devices=[]):
        expected = Predictor.load(tested, backend="pytorch").predict(frames_THWC, gflops=0.6)
        assert again.predict(frames_THWC, gflops=0.6).labels == expected.labels


def test_without_a_table_it_is_shared_too(tested, tmp_path):
    alone = tmp_path / "alone.pyth"
    alone.write_bytes(Path(tested).read_bytes())
    assert SharedModel.load(str(alone)).table is None


class Hub(BaseHTTPRequestHandler):
    """Stub of the hub: one repository, whose files come with a commit."""

    files: ClassVar[dict[str, bytes]] = {}
    tokens: ClassVar[list[str | None]] = []

    def log_message(self, *words):
        pass

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.tokens.append(self.headers.get("Authorization"))
        if self.path == "/api/repos/create":
            self.answer({"url": f"http://{self.headers['Host']}/user/name", "name": "user/name"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://{self.headers['Host']}/user/name/commit/{COMMIT}"
            self.answer({"commitUrl": url, "commitOid": COMMIT, "hookOutput": "", "pullRequestUrl": None})
        else:
            self.answer({"error": self.path}, 404)

    def do_GET(self):
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if "/resolve/" in path and name in self.files:
            content = self.files[name]
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self.answer(content, ETag=etag, X_Repo_Commit=COMMIT, X_Linked_Size=str(len(content)))
        elif path.startswith("/api/models/user/name/tree/"):
            files = self.files.items()
            self.answer([{"type": "file", "path": n, "size": len(c), "oid": COMMIT} for n, c in files])
        elif path.startswith("/api/models/user/name"):
            siblings = [{"rfilename": name} for name in self.files]
            self.answer({"id": "user/name", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
        else:
            self.answer({"error": path}, 404, X_Error_Code="EntryNotFound")

    do_HEAD = do_GET


SCRIPT = """
import sys
from mutualnet3d.sharing.shared_model import SharedModel
address = SharedModel.load(sys.argv[1]).push_to_hub("user/name", token="hf_x", model_card_kwargs={"license": "mit"})
predictor = SharedModel.from_pretrained("user/name", token="hf_x").predictor(backend="pytorch")
print(address, *predictor.class_names, len(predictor.table.rows))
"""


@pytest.mark.slow
def test_the_hub_gets_it_and_gives_it_back(tested, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path)}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, tested],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].endswith(f"/user/name/commit/{COMMIT} dark bright 2")
    assert {"model.safetensors", "config.json", "query_table.json", "README.md"} <= set(Hub.files)
    assert 'from_pretrained("user/name")' in Hub.files["README.md"].decode()
    assert set(Hub.tokens) == {"Bearer hf_x"}
