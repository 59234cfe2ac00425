"""The command; what it writes: tests/deploy/test_export.py, with --int8: tests/runner/test_quantizing.py."""

from __future__ import annotations

import re

import pytest
import torch

from mutualnet3d.cli.main import main
from mutualnet3d.deploy import Bundle
from tests.cli.test_latency import write_tested


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return write_tested(tmp_path_factory.mktemp("tested"))[1]


def test_the_sub_networks_that_are_named(checkpoint, tmp_path, capsys):
    output = str(tmp_path / "bundle")
    words = ["--checkpoint", checkpoint, "--output", output, "--formats", "pytorch"]
    assert main(["export", *words, "--subnet", "w1.0-s32-t4", "w0.5-s32-t2"]) == 0
    assert {str(config) for config in Bundle.load(output).configs} == {"w1.0-s32-t4", "w0.5-s32-t2"}
    full, small, closing = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"w1\.0-s32-t4 +\d\.\d{4} GFLOPs", full)  # nothing was converted
    assert re.fullmatch(r"w0\.5-s32-t2 +\d\.\d{4} GFLOPs", small)
    assert closing == f"wrote 2 sub-networks to {output}"


def test_names_bad_input(checkpoint, tmp_path, capsys):
    words = ["export", "--checkpoint", checkpoint, "--output"]
    assert main([*words, ""]) == 2
    assert main([*words, str(tmp_path)]) == 2
    assert main([*words, str(tmp_path / "new"), "--subnet", "x"]) == 2
    empty, present, key = capsys.readouterr().err.splitlines()
    assert empty == "error: --output is empty; expected a folder that is not there yet"
    assert present == f"error: --output: {tmp_path} is there already; expected a new folder"
    assert key.startswith("error: not a sub-network's key: 'x'")
    assert not (tmp_path / "new").exists()
