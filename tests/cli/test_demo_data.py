from __future__ import annotations

from pathlib import Path

import pytest

from mutualnet3d.cli.demo_data import main

SMALL = ["--train", "2", "--val", "1", "--workers", "1", "--height", "24", "--width", "32"]


def test_writes_a_set_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "set"
    assert main(["--output", str(folder), *SMALL]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["3 of 3 clips", f"{folder}: written"]
    assert len((folder / "train.csv").read_text().splitlines()) == 2
    assert main(["--output", str(folder), *SMALL]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["--output", str(folder), *SMALL, "--seed", "1"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {folder} holds a set with seed=0; asked for seed=1")
    assert main(["--output", str(folder), *SMALL, "--seed", "1", "--overwrite"]) == 0


def test_names_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--output", str(tmp_path / "set"), "--train", "-4"])
    assert left.value.code == 2
    error = "error: argument --train: '-4'; allowed: a number without fraction, 1 or more\n"
    assert capsys.readouterr().err.endswith(error)
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file"), *SMALL]) == 2
    assert capsys.readouterr().err.startswith("error: ")
