"""`mutualnet3d segments`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
import torch

from mutualnet3d.cli.segments import OUTPUTS
from tests.cli.test_latency import write_tested
from tests.conftest import numbered_frames, write_video
from tests.damages import with_damaged_packets


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return write_tested(tmp_path_factory.mktemp("tested"), class_names=["dark", "bright"])[1]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Path of 96 frames, 24 a second, with a keyframe every half second."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_video(path, numbered_frames(96), qp="0", preset="ultrafast", g="12")


@pytest.fixture
def segments(run_tool, tested):
    """Run the command on PyTorch and one thread."""

    def run(*words):
        return run_tool(
            "mutualnet3d", "segments", *words, "--checkpoint", tested, "--backend", "pytorch", "--threads", 1
        )

    return run


def test_segments_are_printed_and_written(segments, film, tmp_path):
    pytest.importorskip("matplotlib")
    outputs = [tmp_path / "out" / f"film{suffix}" for suffix in OUTPUTS]
    words = [word for path in outputs for word in ("--output", path)]
    scores, plot = tmp_path / "scores.npz", tmp_path / "film.png"
    words += ["--scores", scores, "--plot", plot]
    status, out, err = segments(film, "--every", 0.5, "--subnet", "w0.5-s32-t2", "--top", 2, *words)
    assert (status, err) == (0, "")
    values = json.loads(outputs[0].read_text())
    parts = values["segments"]
    assert (parts[0]["start"], parts[-1]["end"], values["config"]) == (0, 4.0, "w0.5-s32-t2")
    assert {segment["label"] for segment in parts} <= {"dark", "bright"}
    rows = list(csv.DictReader(outputs[1].open()))
    assert [(float(row["start"]), row["label"]) for row in rows] == [(part["start"], part["label"]) for part in parts]
    assert outputs[2].read_text().startswith("1\n00:00:00,000 --> 00:0")
    with np.load(scores) as file:
        assert file["scores"].shape == (values["windows"]["number"], 2)
    assert plot.read_bytes().startswith(b"\x89PNG")
    lines = out.splitlines()
    assert lines[0].split() == ["start", "s", "end", "s", "score", "%", "label"]
    assert len(lines) == len(parts) + 2
    pattern = (
        rf"{len(parts)} segments? in 4 s; \d+ windows of \d\.\d\d s, w0\.5-s32-t2 on pytorch; \S+ times real time: "
        r"decoding \d+\.\d s, network \d+\.\d s, all \d+\.\d s"
    )
    assert re.fullmatch(pattern, lines[-1])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        ["film.csv", "film.json", "film.png", "film.srt", "scores.npz"]
    )


def test_what_is_lost_is_said(segments, film, tmp_path, caplog):
    damaged = with_damaged_packets(film, tmp_path / "damaged.mp4", range(36, 72))
    status, out, _ = segments(damaged, "--every", 0.25, "--output", tmp_path / "a.json")
    values = json.loads((tmp_path / "a.json").read_text())
    lost, number = values["frames"]["lost"], values["frames"]["number"]
    assert (status, lost > 0) == (0, True)
    (stretch,) = values["lost"]
    assert 1.4 < stretch["start"] < 2.0 < 2.5 < stretch["end"] < 3.1
    text = f"damaged.mp4: {lost} of {number} frames cannot be decoded, {values['frames']['damaged']} are damaged; "
    assert f"{text}without label: {stretch['start']:.1f} to {stretch['end']:.1f} s" in caplog.text
    assert all(part["end"] <= stretch["start"] or part["start"] >= stretch["end"] for part in values["segments"])
    assert max(part["end"] for part in values["segments"]) == 4.0
    assert "4 s;" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "a.txt"], "--output a.txt: expected a name that ends in .json or .csv or .srt"),
        (["--scores", "a.json"], "--scores a.json: expected a name that ends in .npz"),
        (["--plot", "a.gif"], "--plot a.gif: expected a name that ends in .png or .svg or .html"),
        (["--smooth", 2], "smooth is 2; it must be an odd number of windows"),
        (["--every", 0], "every is 0.0; it must be a number above 0, seconds"),
        (["--gflops", 1e-9], ""),
        (["--gflops", 1, "--subnet", "w0.5-s32-t2"], "give a budget"),
    ],
)
def test_words_that_are_not_allowed(segments, film, words, message):
    status, out, err = segments(film, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")


def test_a_video_that_cannot_be_read(segments, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("text.mp4", "nowhere.mp4"):
        status, out, err = segments(tmp_path / name, "--output", tmp_path / "a.csv")
        assert (status, out) == (2, "")
        assert re.match(rf"error: .*{name}", err)
    assert not (tmp_path / "a.csv").exists()
