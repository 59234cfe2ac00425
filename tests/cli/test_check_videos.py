from __future__ import annotations

from tests.conftest import numbered_frames, write_video

TOOL = "tools/check_videos.py"


def test_good_and_bad_videos(run_tool, tmp_path):
    write_video(tmp_path / "good.mp4", numbered_frames(5))
    path = tmp_path / "train.csv"
    words = ["--list", path, "--output", tmp_path / "report.csv", "--workers", 1]
    path.write_text("good.mp4 0\n")
    assert run_tool(TOOL, *words)[:2] == (0, "1 videos: 1 ok, 0 missing, 0 bad, 0 short\n")
    assert (tmp_path / "report.csv").read_text() == "path,status,reason,note,listed_at\n"

    path.write_text("gone.mp4 1\ngood.mp4 0\n")
    clean = tmp_path / "clean.csv"
    assert run_tool(TOOL, *words, "--clean-list", clean)[:2] == (1, "2 videos: 1 ok, 1 missing, 0 bad, 0 short\n")
    assert clean.read_text() == "good.mp4 0\n"
    status, out, _ = run_tool(TOOL, *words, "--min-frames", 6)
    assert (status, out) == (1, "2 videos: 0 ok, 1 missing, 0 bad, 1 short\n")


def test_several_lists(run_tool, tmp_path):
    write_video(tmp_path / "good.mp4", numbered_frames(5))
    (tmp_path / "train.csv").write_text("good.mp4 0\n")
    (tmp_path / "val.csv").write_text("good.mp4 0\ngone.mp4 0\n")
    words = ["--list", tmp_path / "train.csv", tmp_path / "val.csv", "--output", tmp_path / "report.csv"]
    status, out, err = run_tool(TOOL, *words, "--clean-list", tmp_path / "a.csv", tmp_path / "b.csv")
    assert (status, out) == (1, "3 videos: 2 ok, 1 missing, 0 bad, 0 short; 1 in another list too\n")
    assert (tmp_path / "b.csv").read_text() == "good.mp4 0\n"
    (tmp_path / "folder").mkdir()
    status, _, err = run_tool(TOOL, *words, "--clean-list", tmp_path / "a.csv", tmp_path / "folder")
    assert (status, err) == (2, f"error: --clean-list: {tmp_path / 'folder'} is a folder; expected a file\n")


def test_names_bad_input(run_tool, tmp_path):
    status, _, err = run_tool(TOOL, "--list", tmp_path / "none.csv", "--output", tmp_path / "report.csv")
    assert status == 2
    assert err.startswith(f"error: no list of videos at {tmp_path / 'none.csv'}")
    (tmp_path / "train.csv").write_text("a.mp4 0\n")
    words = ["--list", tmp_path / "train.csv", "--output", tmp_path / "report.csv"]
    assert run_tool(TOOL, *words, "--workers", 0)[2] == "error: workers is 0; allowed: 1 or more\n"
    assert run_tool(TOOL, *words, "--timeout", 0)[2] == "error: timeout is 0.0 seconds; allowed: more than 0\n"
    assert not (tmp_path / "report.csv").exists()


def test_shared_work_and_its_status(run_tool, tmp_path):
    (tmp_path / "train.csv").write_text("gone.mp4 0\n")
    words = ["--list", tmp_path / "train.csv", "--output", tmp_path / "report.csv", "--workers", 1]
    error = f"error: no shared work at {tmp_path / 'report.csv.work'}; --shared begins one\n"
    assert run_tool(TOOL, *words, "--status")[::2] == (2, error)
    summary = "1 videos: 0 ok, 1 missing, 0 bad, 0 short\n"
    assert run_tool(TOOL, *words, "--shared")[:2] == (1, summary)
    assert run_tool(TOOL, *words, "--status")[:2] == (0, summary)
