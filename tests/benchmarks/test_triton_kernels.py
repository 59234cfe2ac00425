from __future__ import annotations

import re

import pytest
import torch
import triton_kernels

from mutualnet3d.ops import triton_switch
from mutualnet3d.ops.triton_norm_launch import candidates


@pytest.mark.skipif(torch.cuda.is_available(), reason="takes the interpreter")
def test_the_benchmark_runs_in_the_interpreter(capsys):
    pytest.importorskip("triton")
    triton_kernels.main(["--tiny", "--parts", "layers", "kernels", "--precisions", "fp32"])
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| (\w+)(?:: .*)? \| (\S+) \| (\S+) \|$", printed, flags=re.MULTILINE)
    # Errors of output and gradient; no kernel is compiled; the host's times of a layer and of a launch.
    assert [name for name, *_ in rows if name != "layer"] == ["a", "b", "c", "0", "a", "partial_statistics"]
    numbers = [[float(number) for number in row] for name, *row in rows if name != "layer"]
    assert max(max(row) for row in numbers[:3]) < 1e-4
    assert numbers[3][0] == 0
    assert min(min(row) for row in numbers[4:]) > 0
    assert not triton_switch.is_on()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="takes the interpreter")
def test_all_tiles_run_in_the_interpreter(capsys):
    pytest.importorskip("triton")
    triton_kernels.main(["--tiny", "--parts", "sweep", "--layers", "b", "c", "--precisions", "fp32"])
    printed = capsys.readouterr().out
    assert printed.count("| best | ") == 2
    assert printed.count("GB/s)") == 2 * 4 * len(candidates())


def test_an_unsuitable_machine_is_named(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"the device is cpu; allowed"):
        triton_kernels.main(["--tiny"])
