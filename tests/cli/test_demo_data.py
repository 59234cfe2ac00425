import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = ["--train", "2", "--val", "1", "--workers", "1", "--height", "24", "--width", "32"]


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    return runpy.run_path(str(Path(__file__).parents[2] / "tools" / "make_demo_data.py"))["main"]


def test_writes_a_set_once(
    main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    assert main(["--output", str(folder), *SMALL]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["3 of 3 clips", f"{folder}: written"]
    assert len((folder / "train.csv").read_text().splitlines()) == 2
    assert main(["--output", str(folder), *SMALL]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["--output", str(folder), *SMALL, "--seed", "1"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {folder} holds a set with seed=0; asked for seed=1")
    assert main(["--output", str(folder), *SMALL, "--seed", "1", "--overwrite"]) == 0


def test_names_bad_input(main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path / "set"), "--train", "-4"]) == 2
    assert capsys.readouterr().err == "error: num_train is -4; allowed: 1 or more\n"
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file"), *SMALL]) == 2
    assert capsys.readouterr().err.startswith("error: ")
