from __future__ import annotations

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


def test_names_bad_input(run_tool, tmp_path):
    words = ["--input", tmp_path / "none", "--output", tmp_path / "out"]
    assert run_tool(TOOL, *words)[::2] == (2, f"error: no folder at {tmp_path / 'none'}\n")
    assert run_tool(TOOL, *words, "--crf", 99)[::2] == (2, "error: crf is 99; allowed: 0 to 51\n")
