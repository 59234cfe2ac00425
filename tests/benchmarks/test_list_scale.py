"""Start with long lists, of videos that are there or not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mutualnet3d.data.find_videos import find_videos
from mutualnet3d.data.found_cache import FoundCache
from mutualnet3d.data.lists import read_kinetics_list

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import list_scale

    return list_scale


def test_a_list_has_its_lines(module, tmp_path):
    module.write_list(tmp_path / "train.csv", 702)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    assert len(lines) == 702
    assert lines[701] == "train/class_001/0000000701.mp4 1"


def test_files_are_made_once_and_changed_long_ago(module, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "NUM_CLASSES", 2)
    module.write_list(tmp_path / "train.csv", 5)
    for length in (3, 5):
        module.make_files(tmp_path, length)
    listed = read_kinetics_list(str(tmp_path / "train.csv"), 2)
    assert find_videos(listed).existing == listed
    cache = FoundCache(listed, str(tmp_path / "cache"))
    cache.save(bytes(5))
    assert cache.load() == bytes(5)


def test_memory_of_a_process(module):
    before = module.memory_mb()
    block = bytearray(b"x" * (64 << 20))
    grown = module.memory_mb()
    assert 60 < grown["uss"] - before["uss"] < 80
    assert 60 < grown["rss"] - before["rss"] < 80
    assert grown["peak"] >= grown["rss"] - 1
    assert len(block) == 64 << 20


def test_a_row_that_hangs_or_fails_is_told(module):
    hanging = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    assert module.run([sys.executable, "-c", hanging], 1.0) == ("killed after 1 s", "")
    assert module.run([sys.executable, "-c", "raise SystemExit('no list')"], 30.0) == ("status 1", "no list")
    assert module.run([sys.executable, "-c", "print(7)"], 30.0) == ("", "7\n")
