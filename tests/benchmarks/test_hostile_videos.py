from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "hostile_videos.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("hostile_videos", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_made_and_read(program, tmp_path):
    outcomes = {}
    for name in ("claims_20M.mp4", "fragment_80M.mp4", "playlist.mp4", "deep_boxes.mp4", "unfolds_2GB.mp4"):
        write = program.hostile_files(0.01)[name]
        write(tmp_path / name)
        outcomes[name] = program.read_clip(str(tmp_path / name), 10)
    assert all(outcome.startswith("VideoDecodeError") for outcome in outcomes.values()), outcomes
    assert "claims more samples" in outcomes["claims_20M.mp4"]
    assert "claims more samples" in outcomes["fragment_80M.mp4"]
    assert "of no container format that is read" in outcomes["playlist.mp4"]
    assert "the compressed index has more than" in outcomes["unfolds_2GB.mp4"]
    program.ordinary(tmp_path / "good.mp4")
    assert program.read_clip(str(tmp_path / "good.mp4"), 10) == "16 frames"


@pytest.mark.slow
def test_the_page_reads_an_ordinary_clip_beside_a_hostile_file(program, tmp_path):
    program.hostile_files(0.0001)["playlist.mp4"](tmp_path / "playlist.mp4")
    program.ordinary(tmp_path / "good.mp4")
    # The first one is in use too, and not measured.
    readers = (closing(program.LimitedClipReader(program.PREPROCESSING)) for _ in range(2))
    with next(readers), next(readers) as reader:
        program.page_read(reader, tmp_path / "good.mp4")
        cost = program.measure_page(reader, tmp_path / "playlist.mp4", tmp_path / "good.mp4")
    assert "of no container format that is read" in cost.outcome
    assert cost.seconds < program.MOST_SECONDS
    assert cost.megabytes < program.MOST_PAGE_MEGABYTES
    assert 0 < cost.wait < program.MOST_WAIT_SECONDS


@pytest.mark.slow
def test_the_program_in_small(program):
    few = r"claims_20M|playlist"
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--scale", "0.001", "--only", few], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n") == 2 + sum(bool(re.search(few, name)) for name in program.hostile_files(0.001))
