from __future__ import annotations

import pytest

TOOL = "tools/complexity.py"


@pytest.mark.slow
def test_the_grid_of_a_config(run_tool):
    status, out, err = run_tool(
        TOOL,
        "--cfg",
        "SLOWFAST_4x16_R50_mutual.yaml",
        "MUTUAL.TEST_WIDTHS",
        "[1.0, 0.63]",
        "MUTUAL.SIZES",
        "[224, 128]",
        "TEST.SIZES",
        "[256, 144]",
    )
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert "full network trained at 4 x 224 x 224 and 32 x 224 x 224, 400 classes. GFLOPs" in lines[0]
    rows = [line.split() for line in lines[2:]]
    assert len(rows) == 2 * 2 * 3
    assert rows[0] == ["w1.0-s256-t4", "36.099", "34.480"]  # the paper: 36.1
    assert rows[-1][0] == "w0.63-s144-t2"


def test_beside_the_paper(run_tool):
    status, out, _ = run_tool(TOOL, "--cfg", "SLOW_8x8_R50_mutual.yaml", "--paper")
    assert status == 0
    rows = [line.split() for line in out.splitlines()[3:]]
    assert len(rows) == 9
    assert rows[-1] == ["w0.63-s144-t3", "2.677", "12.963", "2.680", "-0.11%", "68.60"]


def test_a_network_that_the_paper_has_not(run_tool):
    status, _, err = run_tool(TOOL, "--cfg", "X3D_S.yaml", "--paper")
    assert status == 2
    assert "error: X3D_S.yaml: the paper has no results of this network; it has them of x3d_m, slow_8x8" in err
