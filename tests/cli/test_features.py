"""`mutualnet3d features`: what it writes of a list, how it goes on, and what it refuses."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
import torch

from mutualnet3d.deploy import Predictor
from tests.cli.test_latency import write_tested
from tests.conftest import write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a checkpoint, and a list of four files, of which one is broken and one comes twice."""
    folder = tmp_path_factory.mktemp("features")
    with torch.random.fork_rng(devices=[]):
        write_tested(folder, class_names=["dark", "bright"])
    rng = np.random.default_rng(0)
    for name in ("a b", "c"):
        write_video(folder / f"{name}.mp4", rng.integers(0, 256, (36, 48, 64, 3), dtype=np.uint8))
    (folder / "broken.mp4").write_text("no video")
    (folder / "list.csv").write_text("a b.mp4 1\nbroken.mp4 0\nc.mp4 0\n./c.mp4 0\n")
    return folder


@pytest.fixture
def features(run_tool, folder, tmp_path):
    """Return a function that takes the features of the list: status, text of standard error."""

    def run(*words, videos="list.csv", output="features.npz"):
        more = ["--checkpoint", folder / "calibrated.pyth", "--threads", 1, "--output", tmp_path / output]
        if "--backend" not in words:
            more += ["--backend", "pytorch"]
        status, out, err = run_tool("mutualnet3d", "features", folder / videos, *more, *words)
        assert out == ""
        return status, err

    return run


def test_a_list_with_a_broken_file(features, folder, tmp_path, caplog):
    status, err = features("--subnet", "w0.5-s32-t2", "--views", 2, "--per-clip", "--workers", 1)
    assert status == 1
    assert err.endswith("features.npz: 3 files: 2 ok, 1 bad; w0.5-s32-t2 on pytorch, 2 x 1 views\n")
    assert "1 of 4 paths repeat an earlier one" in caplog.text
    predictor = Predictor.load(folder / "calibrated.pyth", backend="pytorch", threads=1)
    expected = [
        predictor.features(folder / name, config="w0.5-s32-t2", views=2, per_clip=True) for name in ("a b.mp4", "c.mp4")
    ]
    with np.load(tmp_path / "features.npz") as file:
        np.testing.assert_allclose(
            file["features"], np.concatenate([part.feature_NC for part in expected]), rtol=1e-4, atol=1e-5
        )
        assert file["start"].tolist() == [start for part in expected for start in part.start_N]
        assert file["video"].tolist() == [part.source for part in expected for _ in range(2)]
        assert file["labels"].tolist() == [1, 1, 0, 0]
        assert (str(file["config"]), str(file["layer"])) == ("w0.5-s32-t2", "")
        assert file["unread"].tolist() == [f"{folder}/broken.mp4"]
        assert file["reason"][0].startswith(f"{folder}/broken.mp4: ")
    assert sorted(os.listdir(tmp_path)) == ["features.npz", "features.npz.run.json"]


def test_a_run_that_was_stopped_goes_on(features, tmp_path, monkeypatch, caplog):
    whole = Predictor.features_of_files
    asked = []

    def stopped(self, paths, plan, **settings):
        asked.append(len(paths))
        yield next(whole(self, paths, plan, **settings))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "features_of_files", stopped)
        for _ in range(2):
            status, err = features("--every", 0.5)
            assert (status, err.splitlines()[-1]) == (130, "interrupted; the same command goes on")
    assert asked == [3, 2]
    assert features("--every", 0.5)[0] == 1
    assert "2 of 3 files are done already" in caplog.text
    with np.load(tmp_path / "features.npz") as file:
        assert file["features"].shape == (len(file["start"]), 32)
        assert set(file["start"].tolist()) == {0.0, 0.5}
    status, err = features("--every", 0.25)
    assert status == 2
    assert re.search(r"was begun with --every 0\.5, not 0\.25; --overwrite begins anew", err)


def test_maps_are_taken_by_pytorch(features, tmp_path):
    words = ["--layer", "blocks.4", "--every", 0.5, "--subnet", "w0.5-s32-t2"]
    assert features(*words, "--backend", "auto", videos="c.mp4")[0] == 0
    with np.load(tmp_path / "features.npz") as file:
        assert (file["features"].ndim, str(file["layer"]), str(file["backend"])) == (5, "blocks.4", "pytorch")
        assert "labels" not in file
    status, err = features("--layer", "blocks.44", "--every", 0.5, videos="c.mp4", output="b.npz")
    assert (status, "similar names: blocks.4," in err) == (2, True)
    assert not (tmp_path / "b.npz.run.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--every", 1, "--views", 2], "--views has no effect with --every"),
        (["--every", 1, "--workers", 2], "--workers has no effect with --every"),
        (["--every", 0], "every is 0.0; it must be a number above 0, seconds"),
        (["--gflops", 1, "--subnet", "w0.5-s32-t2"], "give a budget"),
        (["--views", "a"], "--views a: expected clips of a video"),
    ],
)
def test_words_that_are_not_allowed(features, tmp_path, words, message):
    status, err = features(*words)
    assert status == 2
    assert err.splitlines()[-1].startswith(f"error: {message}")
    assert os.listdir(tmp_path) == []
    assert features(output="a.csv")[0] == 2
