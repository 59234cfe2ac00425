"""The load on a server: the whole of it in seconds, on a network of the tests."""

from __future__ import annotations

import re

import pytest
import serving

from mutualnet3d.extras import installed
from tests.cli.test_latency import write_tested
from tests.cli.test_serve import MODULES
from tests.conftest import numbered_frames, restored_generators, write_video


def test_growth_is_that_of_the_line_after_the_first_fifth():
    samples = [(float(second), 10**9 if second < 20 else 5_000_000 + 1000 * second) for second in range(100)]
    assert serving.growth_of(samples) == pytest.approx(79_000)
    assert serving.growth_of(samples[:1]) == 0.0


def test_a_row_counts_and_sorts():
    load = serving.Load(16, seconds=10.0)
    for number in range(100):
        load.add(200, number / 1000)
    load.add(429, 0.002)
    load.add(500, 9.0)
    words = load.row().split()
    assert words == ["16", "10.00", "50.0", "95.0", "99.0", "100", "1", "2.0", "2.0", "2.0", "1"]
    assert len(serving.HEADER.replace(" ms", "_ms").split()) == len(words)


@pytest.mark.slow
@pytest.mark.skipif(not all(map(installed, MODULES)), reason="the extra `serve` is not installed")
def test_a_load_of_seconds(tmp_path, monkeypatch, capsys):
    with restored_generators():
        write_tested(tmp_path)
    (tmp_path / "videos" / "faults").mkdir(parents=True)
    path = write_video(tmp_path / "videos" / "ü 1.mp4", numbered_frames(20))
    (tmp_path / "videos" / "faults" / "cut.mp4").write_bytes(path.read_bytes()[:100])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["--checkpoint", tmp_path / "calibrated.pyth", "--videos", tmp_path / "videos", "--clients", 1, 2]
    words += ["--faults", tmp_path / "videos" / "faults", "--overload", 12, "--seconds", 1, "--minutes", 0.03]
    words += ["--allowed-mb", 1000, "--", "--backend", "pytorch", "--queue", 1, "--workers", 1]
    assert serving.main([*map(str, words)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[1:5]]
    assert [row[0] for row in rows] == ["1", "2", "12", "2"]
    assert int(rows[2][6]) > 0  # refused
    assert re.match(r"memory \d+ MB at the start, \d+ MB at the end, growth [+-]\d+\.\d MB over 0\.03 min", lines[5])
    assert re.fullmatch(r"answers by status: 200: \d+, 422: \d+, 429: \d+", lines[6])
