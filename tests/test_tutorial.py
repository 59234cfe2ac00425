"""docs/TUTORIAL.md from its first command to its last, on videos of a moment."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.cli.main import main
from mutualnet3d.models import build_model
from tests.conftest import TINY, as_overrides, restored_log, write_video
from tests.test_docs import SMALLER_X3D_M

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = (ROOT / "docs" / "TUTORIAL.md").read_text()

# After the training's line: what makes it a matter of seconds.
SMALL = {key: value for key, value in TINY.items() if key not in ("MODEL.NUM_CLASSES",)}
SMALL |= {"SOLVER.MAX_EPOCH": 1, "TEST.SUBNETS": ["w1.0-s32-t4", "w0.5-s32-t2"], "TEST.NUM_SPATIAL_CROPS": 1}


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    """Videos in class folders, and a file of the model zoo."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("pour", "stir")):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for letter in "abcdef":
            frames = rng.integers(0, 100, (20, 48, 64, 3), dtype=np.uint8) + np.uint8(120 * label)
            write_video(tmp_path / "videos" / name / f"{letter}.mp4", frames)
    kinetics = {**SMALL, "MODEL.NUM_CLASSES": 400, "OUTPUT_DIR": "1"}
    cfg = m3.load_cfg("X3D_M_mutual.yaml", [*as_overrides(kinetics), *SMALLER_X3D_M])
    torch.save({"model_state": build_model(cfg).state_dict()}, tmp_path / "X3D_M.pyth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(words):
    with restored_log():
        assert main(words) == 0, words


@pytest.mark.slow
def test_the_tutorial_from_first_to_last(users_folder, monkeypatch, capsys):
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [deploy])")
    pytest.importorskip("streamlit", reason="streamlit is not installed (extra [web])")
    pages = []
    monkeypatch.setattr("mutualnet3d.cli.web.server.run_page", lambda *words: pages.append(words))
    monkeypatch.setattr("streamlit.net_util.get_external_ip", None)  # the command replaces it; put back after the test
    done = []
    for language, text in re.findall(r"```(bash|python)\n(.*?)```", TUTORIAL, flags=re.DOTALL):
        if language == "python":
            exec(compile(text, "TUTORIAL.md", "exec"), {})
            continue
        for line in text.replace("\\\n", " ").splitlines():
            program, *words = shlex.split(line)
            assert program == "mutualnet3d"
            name = words[0]
            if name == "train":
                words += [*map(str, as_overrides(SMALL)), *SMALLER_X3D_M, "TEST.NUM_ENSEMBLE_VIEWS", "1"]
            if name == "stream":
                words[words.index("--milliseconds") + 1] = "10000"  # this machine may be busy
            capsys.readouterr()
            run(words)
            done.append(name)
            if "--json" in words:
                results = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
                assert [result["source"] for result in results] == ["videos/stir/c.mp4", "videos/pour/a.mp4"]
                assert all({label["name"] for label in result["labels"]} == {"pour", "stir"} for result in results)
    assert done == ["make-lists", "check-videos", "train", "predict", "export", "predict", "stream", "web"]
    assert len(pages) == 1
    assert (users_folder / "predicted.mp4").stat().st_size > 1000
    assert m3.QueryTable.load("output/mine_bundle/query_table.json").rows
