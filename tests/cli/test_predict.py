from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mutualnet3d.cli.predict import main
from mutualnet3d.deploy import Predictor
from mutualnet3d.results.cascade import Cascade, Stage
from mutualnet3d.results.query_table import QueryTable, Views
from mutualnet3d.shapes import SubnetConfig
from tests.cli.test_latency import write_tested
from tests.conftest import numbered_frames, write_video

TOOL = "tools/predict.py"
CLASSES = ["dark", "very bright"]


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A checkpoint, beside it its query table."""
    with torch.random.fork_rng(devices=[]):
        return write_tested(tmp_path_factory.mktemp("tested"), class_names=CLASSES)[1]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (30, 48, 64, 3), dtype=np.uint8)
    write_video(folder / "numbered.mp4", numbered_frames(30))
    write_video(folder / "some noise.mp4", noise)
    (folder / "broken.mp4").write_text("no video")
    return folder


@pytest.fixture
def predict(run_tool, tested):
    """Function that runs the tool, on PyTorch and one thread unless its words say otherwise."""

    def run(*words, backend="pytorch"):
        return run_tool(TOOL, *words, "--checkpoint", tested, "--threads", 1, "--backend", backend)

    return run


def without_times(line):
    return {name: value for name, value in line.items() if name != "milliseconds"}


def test_json_lines_are_what_the_predictor_says(predict, tested, videos):
    paths = [str(videos / name) for name in ("numbered.mp4", "some noise.mp4")]
    status, out, err = predict(*paths, "--gflops", 3.6, "--views", "2x3", "--top", 1, "--json")
    predictor = Predictor.load(tested, backend="pytorch", threads=1)
    lines = [json.loads(line) for line in out.splitlines()]
    expected = [predictor.predict(path, gflops=3.6, views=(2, 3), top=1).to_json() for path in paths]
    assert status == 0
    assert [*map(without_times, lines)] == [*map(without_times, expected)]
    assert [(line["source"], line["config"], line["views"]) for line in lines] == [
        (path, "w0.5-s32-t2", 6) for path in paths
    ]
    for line in lines:
        times = line["milliseconds"]
        assert times["total"] == pytest.approx(times["decode"] + times["prepare"] + times["network"])
    closing = err.splitlines()[-1]
    assert re.fullmatch(
        r"2 videos; w0\.5-s32-t2 on pytorch, 2 x 3 views; median ms: decode \d+\.\d, prepare \d+\.\d, network \d+\.\d",
        closing,
    )


def test_a_mean_budget(run_tool, tested, videos, tmp_path):
    """The threshold is the margin of one of the videos: it ends there, and the other, less sure, goes on."""
    paths = [str(videos / name) for name in ("numbered.mp4", "some noise.mp4")]
    full, small = (SubnetConfig.parse(key) for key in ("w1.0-s32-t4", "w0.5-s32-t2"))
    alone = Predictor.load(tested, backend="pytorch", threads=1)
    margins = []
    for path in paths:
        best, second = alone.predict(path, config=small).labels
        margins.append(best.score - second.score)
    stages = Stage(small, Views(), sum(margins) / 2, 1.0), Stage(full, Views(), 0.0, 0.5)
    cascade = Cascade(stages, 93.0, 99.0, 95.0)
    table = QueryTable.load(os.path.join(os.path.dirname(tested), "query_table.json"))
    QueryTable(table.rows, table.context, (cascade,)).save(str(tmp_path / "table.json"))
    words = ["--checkpoint", tested, "--table", tmp_path / "table.json", "--threads", 1, "--backend", "pytorch"]
    status, out, err = run_tool(TOOL, *paths, *words, "--mean-gflops", 1.0, "--batch-size", 2, "--json")
    assert status == 0
    lines = [json.loads(line) for line in out.splitlines()]
    ran = [[stage["config"] for stage in line["stages"]] for line in lines]
    unsure = margins.index(min(margins))
    assert ran[unsure] == [str(small), str(full)]
    assert ran[1 - unsure] == [str(small)]
    assert [line["top1"] for line in lines] == [93.0, 93.0]
    mean = sum(line["gflops_of_video"] for line in lines) / 2
    assert f"2 videos; w0.5-s32-t2 > w1.0-s32-t4 on pytorch; mean GFLOPs {mean:.4g}; median ms: decode " in err
    status, out, err = run_tool(TOOL, *paths, *words, "--mean-gflops", 0.9)
    assert (status, out) == (2, "")
    assert err.startswith("error: no cascade fits mean_gflops=0.9; the cheapest in gflops is w0.5-s32-t2 > w1.0-s32-t4")


def test_a_budget_chooses_the_views(predict, tested, videos, tmp_path):
    """Two clips of the small network are better than one of the large one, and cost as much."""
    table = QueryTable.load(os.path.join(os.path.dirname(tested), "query_table.json"))
    small = table.rows[1]
    path = str(tmp_path / "table.json")
    table.with_rows([replace(small, views=Views(2), top1=95.0, pass_milliseconds=15.0)]).save(path)
    video = str(videos / "numbered.mp4")
    for budget, views, top1, words in ((1.0, 2, 95.0, "pytorch, 2 x 1 views;"), (0.9, 1, 45.0, "pytorch;")):
        status, out, err = predict(video, "--gflops", budget, "--table", path, "--json")
        line = json.loads(out)
        assert (status, line["config"], line["views"], line["top1"]) == (0, "w0.5-s32-t2", views, top1)
        assert line["gflops_of_video"] == views * line["gflops"]
        assert f"w0.5-s32-t2 on {words}" in err


def test_the_table(predict, tested, videos):
    path = str(videos / "some noise.mp4")
    status, out, err = predict(path)
    best, second = Predictor.load(tested, backend="pytorch").predict(path).labels
    header, first, other = out.splitlines()
    assert status == 0
    assert " ".join(header.split()) == "video score % label sub-network GFLOPs ms: decode prepare network"
    shown = re.fullmatch(
        rf"{re.escape(path)} +(\d+\.\d\d)  (.+?) +w1\.0-s32-t4 +(\d\.\d+) +(\d+\.\d) +(\d+\.\d) +(\d+\.\d)", first
    )
    assert shown
    assert (float(shown[1]), shown[2]) == (pytest.approx(100 * best.score, abs=0.011), best.name)
    assert other.split(maxsplit=1)[1] == second.name
    # Columns are below each other.
    assert header.index("label") == first.index(best.name, len(path)) == other.index(second.name)
    assert header.index("sub-network") == first.index("w1.0")
    assert len(header) == len(first)
    assert err.endswith("\n")
    assert err.splitlines()[-1].startswith("1 video; w1.0-s32-t4 on pytorch; median ms: ")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_video_that_cannot_be_read_does_not_stop_the_others(predict, videos, as_json):
    bad, gone, good = (str(videos / name) for name in ("broken.mp4", "gone.mp4", "numbered.mp4"))
    status, out, err = predict(bad, gone, good, *(["--json"] if as_json else []))
    assert status == 1
    reasons = [line for line in err.splitlines() if line.startswith(str(videos))]
    assert [reason.partition(": ")[0] for reason in reasons] == [bad, gone]
    assert "3 videos, 2 of them could not be read; w1.0-s32-t4 on pytorch; median ms" in err
    if as_json:
        lines = [json.loads(line) for line in out.splitlines()]
        assert lines[:2] == [
            {"source": path, "error": reason} for path, reason in zip((bad, gone), reasons, strict=True)
        ]
        assert (lines[2]["source"], len(lines)) == (good, 3)
    else:
        assert [line.split()[0] for line in out.splitlines()[:2]] == ["video", good]
        assert bad not in out


def test_no_video_can_be_read(predict, videos):
    status, out, err = predict(videos / "broken.mp4")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1] == "1 video, 1 of them could not be read"


def test_folders_of_pictures_are_predicted(predict, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(12):
            Image.new("RGB", (64, 48), (20 * number,) * 3).save(tmp_path / name / f"{number}.png")
    (tmp_path / "list.txt").write_text("a\nb\n")
    status, out, _ = predict(tmp_path / "b", tmp_path / "list.txt", "--subnet", "w0.5-s32-t2", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [line["source"] for line in lines] == [str(tmp_path / name) for name in ("b", "a", "b")]
    assert lines[0]["labels"] == lines[1]["labels"]


def test_a_list_is_predicted(predict, videos, tmp_path):
    (tmp_path / "list.csv").write_text(f"{videos}/numbered.mp4 1\n{videos}/some noise.mp4 0\n")
    status, out, _ = predict(tmp_path / "list.csv", "--subnet", "w0.5-s32-t2", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [line["source"] for line in lines] == [f"{videos}/numbered.mp4", f"{videos}/some noise.mp4"]
    assert {line["config"] for line in lines} == {"w0.5-s32-t2"}


def test_labels_above_a_threshold(predict, videos):
    """The best of them in any case."""
    words = (videos / "numbered.mp4", "--subnet", "w0.5-s32-t2", "--json", "--threshold")
    of_all, of_some = (json.loads(predict(*words, threshold)[1])["labels"] for threshold in (0, 1))
    assert len(of_all) == 2
    assert of_some == of_all[:1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gflops", "0.1"], "no sub-network fits gflops=0.1; the cheapest in gflops is w0.5-s32-t2 with 0.5"),
        (
            ["--gflops", "1", "--subnet", "w0.5-s32-t2"],
            "give a budget (gflops, milliseconds) or a sub-network (config)",
        ),
        (["--views", "3y"], "--views 3y: expected clips of a video, as in 10, or clips x crops of each, as in 10x3"),
        (["--views", "2x2"], "views is (2, 2); allowed: clips over the video"),
        (["--threshold", "2"], "--threshold is 2.0; it must be a score from 0 to 1"),
        (["--backend", "fastest"], "unknown back end 'fastest'; allowed: auto, fast, openvino"),
        (["--checkpoint", "none.pyth"], "no file at none.pyth"),
        (["none.csv"], "no list of videos at none.csv"),
        (["--workers", "2"], "--workers is of --output, which is not given"),
        (["--timeout", "2"], "--timeout is of --output, which is not given"),
        (["--overwrite"], "--overwrite is of --output, which is not given"),
        (["--batch-size", "0"], "batch_size is 0; it must be an integer of at least 1"),
    ],
)
def test_wrong_arguments_are_one_line(run_tool, tested, videos, words, message):
    words = [videos / "numbered.mp4", "--checkpoint", tested, "--backend", "pytorch", *words]
    status, out, err = run_tool(TOOL, *words, "--json")
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_ctrl_c_is_one_line(predict, videos, monkeypatch):
    def interrupted(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "predict_many", interrupted)
    assert predict(videos / "numbered.mp4", "--json") == (130, "", "interrupted\n")


def test_who_reads_the_output_may_leave(tested, videos, monkeypatch, capsys):
    """A reader that closes the pipe, such as `| head`."""
    read, write = os.pipe()
    os.close(read)
    words = [videos / "numbered.mp4", "--checkpoint", tested, "--backend", "pytorch", "--json"]
    with os.fdopen(write, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        assert main([str(word) for word in words]) == 1
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_on_standard_error(predict, videos, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    status, out, err = predict(videos / "numbered.mp4", videos / "numbered.mp4", "--json")
    assert status == 0
    assert [json.loads(line)["source"] for line in out.splitlines()] == [str(videos / "numbered.mp4")] * 2
    assert re.search(r"videos: +0%.* 0/2 ", err)


def test_names_of_files_may_be_any_bytes(predict, videos):
    odd = os.fsdecode(b"\xff.mp4")
    status, out, err = predict(odd, videos / "numbered.mp4", "--json")
    assert status == 1
    assert [json.loads(line)["source"] for line in out.splitlines()] == [odd, str(videos / "numbered.mp4")]
    assert err.startswith("\\udcff.mp4: ")


def test_names_are_not_obeyed_by_a_terminal_and_exact_in_json(videos, tmp_path, run_tool):
    name = "\x1b[2J\u202edark\nbright"
    with torch.random.fork_rng(devices=[]):
        checkpoint = write_tested(tmp_path, class_names=[name, "very bright"])[1]
    path = tmp_path / "a\x1b]0;b\x07\r.mp4"
    path.write_bytes((videos / "numbered.mp4").read_bytes())
    broken = tmp_path / "broken\x1b[1m.mp4"
    broken.write_text("no video")
    words = [path, broken, "--checkpoint", checkpoint, "--threads", 1, "--backend", "pytorch"]
    status, out, err = run_tool(TOOL, *words)
    assert status == 1
    assert "\\x1b[2J\\u202edark\\nbright" in out
    assert "a\\x1b]0;b\\x07\\r.mp4" in out
    assert "broken\\x1b[1m.mp4: " in err
    assert set("".join(out + err)) & set("\x1b\x07\r\u202e") == set()
    status, out, _ = run_tool(TOOL, *words, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert name in [label["name"] for label in lines[0]["labels"]]
    assert [line["source"] for line in lines] == [str(path), str(broken)]


@pytest.mark.slow
def test_another_back_end(predict, videos):
    for module in ("openvino", "onnx", "onnxscript"):
        pytest.importorskip(module)
    words = [videos / "numbered.mp4", "--subnet", "w0.5-s32-t2", "--json"]
    (of_pytorch,), (of_openvino,) = (
        [json.loads(line) for line in predict(*words, backend=name)[1].splitlines()] for name in ("pytorch", "openvino")
    )
    assert (of_pytorch["backend"], of_openvino["backend"]) == ("pytorch", "openvino")
    for label, other in zip(of_pytorch["labels"], of_openvino["labels"], strict=True):
        assert (label["name"], label["score"]) == (other["name"], pytest.approx(other["score"], abs=1e-4))
