"""Files of a test run, from made-up scores of three videos of two classes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.engine.evaluate import Evaluation
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.runner.reports import write_reports

pytestmark = pytest.mark.usefixtures("pictures")

LARGE, SMALL = m3.SubnetConfig(1.0, 48, 8), m3.SubnetConfig(0.5, 32, 4)
VIEWS = Views(2, 1)
# Video 1 is in the list, but could not be decoded. The small sub-network takes the last video for class 0.
SCORES = {
    LARGE: torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]),
    SMALL: torch.tensor([[0.6, 0.4], [0.3, 0.7], [0.8, 0.2]]),
}
ROW_SCORES = {(config, VIEWS): score_VK for config, score_VK in SCORES.items()}
RESULT = Evaluation({}, ROW_SCORES, VIEWS, label_V=torch.tensor([0, 1, 1]), video_V=torch.tensor([0, 2, 3]))
TABLE = QueryTable(
    (
        Row(LARGE, 1.0, 1000, 5.0, 100.0, 100.0, views=VIEWS),
        Row(LARGE, 1.0, 1000, 5.0, 90.0, 100.0),
        Row(SMALL, 0.1, 100, 1.0, 66.67, 100.0, views=VIEWS),
        Row(SMALL, 0.1, 100, 1.0, 60.0, 100.0),
    ),
    {"views": "2 x 1"},
)
SPLIT = SimpleNamespace(videos=[SimpleNamespace(path=f"{name}.mp4") for name in "abcd"], label_sets=None)


def write(folder, **changes):
    words = {"OUTPUT_DIR": str(folder), "TEST.SAVE_RESULTS_PATH": "scores.npz", **changes}
    cfg = m3.load_cfg("X3D_tiny_mutual.yaml", [word for pair in words.items() for word in pair])
    write_reports(cfg, str(folder), TABLE, RESULT, SPLIT, ["dark", "bright"])


def test_all_files_of_a_test(tmp_path):
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "class_accuracy.csv", "confusion_w0.5-s32-t4.csv", "confusion_w0.5-s32-t4.png", "confusion_w1.0-s48-t8.csv",
        "confusion_w1.0-s48-t8.png", "query_table.csv", "query_table.json", "query_table.md", "scores.npz",
        "tradeoff.png",
    ]  # fmt: skip
    assert QueryTable.load(str(tmp_path / "query_table.json")) == TABLE
    assert (tmp_path / "class_accuracy.csv").read_text().splitlines() == [
        "class,name,videos,w1.0-s48-t8,w0.5-s32-t4",
        "0,dark,1,100.00,100.00",
        "1,bright,2,100.00,50.00",
    ]
    assert (tmp_path / "confusion_w0.5-s32-t4.csv").read_text().splitlines() == [
        "true class,dark,bright",
        "dark,1,0",
        "bright,1,1",
    ]
    with np.load(tmp_path / "scores.npz") as file:
        assert file["paths"].tolist() == ["a.mp4", "c.mp4", "d.mp4"]
        assert np.array_equal(file["w0.5-s32-t4"], SCORES[SMALL].numpy())


def test_without_matplotlib_the_numbers_are_written(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write(tmp_path, **{"TEST.SAVE_RESULTS_PATH": ""})
    names = {path.name for path in Path(tmp_path).iterdir()}
    assert not any(name.endswith((".png", ".npz")) for name in names)
    assert "query_table.md" in names
    assert "no tradeoff.png: matplotlib is not installed: pip install 'mutualnet3d[plot]'" in caplog.text
