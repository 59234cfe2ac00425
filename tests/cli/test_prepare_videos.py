from __future__ import annotations

import glob
import json
from pathlib import Path

from mutualnet3d.cli import prepare_videos
from mutualnet3d.data.make_lists import lists_of_kinetics
from tests.conftest import numbered_frames, write_video

TOOL = "tools/prepare_videos.py"


def test_prepares_and_counts_failures(run_tool, tmp_path):
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    write_video(root / "a.avi", numbered_frames(5), codec="libx264")
    (root / "train.csv").write_text("a.avi 0\n")
    words = ["--input", root, "--output", out, "--short-side", 16, "--workers", 1, "--preset", "ultrafast"]
    status, printed, _ = run_tool(TOOL, *words, "--lists", root / "train.csv")
    assert (status, printed) == (0, "1 videos: 1 encoded, 0 there already, 0 failed\n")
    assert (out / "train.csv").read_text() == "a.mp4 0\n"
    (root / "b.mp4").touch()
    assert run_tool(TOOL, *words)[:2] == (1, "2 videos: 0 encoded, 1 there already, 1 failed\n")


def test_the_example_of_the_help_runs_on_what_make_lists_leaves(tmp_path, monkeypatch):
    """The pattern data/kinetics/*.csv names missing.csv too."""
    monkeypatch.chdir(tmp_path)
    data = Path("data") / "kinetics"
    for name in ("yoga/a_000001_000011.mp4", "zumba/b_000001_000011.mp4"):
        (data / name).parent.mkdir(parents=True)
        write_video(data / name, numbered_frames(3))
    rows = ["yoga,a,1,11,train", "zumba,b,1,11,val", "zumba,gone,1,11,val"]
    Path("all.csv").write_text("\n".join(["label,youtube_id,time_start,time_end,split", *rows]) + "\n")
    lists_of_kinetics(["all.csv"], str(data), str(data))
    assert (data / "missing.csv").exists()
    (line,) = [
        line.split() for line in str(prepare_videos.__doc__).splitlines() if line.strip().startswith("mutualnet3d")
    ]
    words = [word for pattern in line[2:] for word in (sorted(glob.glob(pattern)) if "*" in pattern else [pattern])]
    assert prepare_videos.main([*words, "--workers", "1", "--preset", "ultrafast"]) == 0
    output = Path("data") / "kinetics_256"
    assert (output / "train.csv").read_text() == "yoga/a_000001_000011.mp4 0\n"
    assert (output / "missing.csv").read_text() == (data / "missing.csv").read_text()
    assert json.loads((output / "labels.json").read_text()) == {"yoga": 0, "zumba": 1}


def test_other_settings_need_an_option(run_tool, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    write_video(root / "a.mp4", numbered_frames(3))
    words = ["--input", root, "--output", tmp_path / "out", "--workers", 1, "--preset", "ultrafast", "--short-side"]
    assert run_tool(TOOL, *words, 32)[0] == 0
    status, _, err = run_tool(TOOL, *words, 16)
    assert status == 2
    assert "1 videos that were encoded with short_side 32, not 16; --redo encodes them anew, --keep leaves them" in err
    assert run_tool(TOOL, *words, 16, "--keep")[1] == "1 videos: 0 encoded, 1 there already, 0 failed\n"
    assert run_tool(TOOL, *words, 16, "--redo")[1] == "1 videos: 1 encoded, 0 there already, 0 failed\n"


def test_names_bad_input(run_tool, tmp_path):
    words = ["--input", tmp_path / "none", "--output", tmp_path / "out"]
    assert run_tool(TOOL, *words)[::2] == (2, f"error: no folder at {tmp_path / 'none'}\n")
    assert run_tool(TOOL, *words, "--crf", 99)[::2] == (2, "error: crf is 99; allowed: 0 to 51\n")


def test_shared_work_and_its_status(run_tool, tmp_path):
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    write_video(root / "a.mp4", numbered_frames(3))
    words = ["--input", root, "--output", out, "--workers", 1, "--preset", "ultrafast"]
    folder = out / "prepared.csv.work"
    assert run_tool(TOOL, *words, "--status")[::2] == (2, f"error: no shared work at {folder}; --shared begins one\n")
    assert run_tool(TOOL, *words, "--block", 4)[::2] == (
        2,
        "error: --block and --lease are of a work that several processes share; they need --shared\n",
    )
    assert run_tool(TOOL, *words, "--shared", "--block", 0)[::2] == (2, "error: block is 0 files; allowed: 1 or more\n")
    summary = "1 videos: 1 encoded, 0 there already, 0 failed\n"
    assert run_tool(TOOL, *words, "--shared", "--lease", 60)[:2] == (0, summary)
    assert run_tool(TOOL, *words, "--status")[:2] == (0, summary)
    status, _, err = run_tool(TOOL, *words, "--shared", "--crf", 18)
    assert status == 2
    assert "it has crf 23, not 18, lease 60.0, not 180.0. Take part with the list and the settings that it has" in err
