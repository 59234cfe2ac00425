from __future__ import annotations

TOOL = "tools/make_annotations.py"


def test_folders(run_tool, tmp_path):
    for name in ("run", "jump"):
        (tmp_path / name).mkdir()
        for index in range(4):
            (tmp_path / name / f"{index}.mp4").touch()
    status, out, err = run_tool(TOOL, "folders", tmp_path, "--output", tmp_path, "--val-fraction", 0.5, "--seed", 3)
    assert (status, out, err) == (0, "train: 4 videos, 2 classes\nval: 4 videos, 2 classes\n", "")
    assert len((tmp_path / "val.csv").read_text().splitlines()) == 4


def test_kinetics(run_tool, tmp_path):
    path = tmp_path / "validate.csv"
    path.write_text("label,youtube_id,time_start,time_end,split\nyoga,abc,1,11,val\nzumba,def,1,11,val\n")
    (tmp_path / "abc_000001_000011.mp4").touch()
    words = ["kinetics", path, "--videos", tmp_path, "--output", tmp_path]
    assert run_tool(TOOL, *words) == (0, "val: found 1 of 2 videos, 1 classes\n", "")
    assert (tmp_path / "val.csv").read_text() == "abc_000001_000011.mp4 0\n"


def test_names_bad_input(run_tool, tmp_path):
    status, _, err = run_tool(TOOL, "folders", tmp_path / "none", "--output", tmp_path)
    assert (status, err) == (2, f"error: no folder at {tmp_path / 'none'}\n")
    status, _, err = run_tool(TOOL, "kinetics", tmp_path / "none.csv", "--videos", tmp_path, "--output", tmp_path)
    assert (status, err.startswith(f"error: no file at {tmp_path / 'none.csv'}")) == (2, True)
    status, _, err = run_tool(TOOL)
    assert (status, "required: KIND" in err) == (2, True)
