from __future__ import annotations

import pytest

from mutualnet3d.results.paper import paper_results, results_of
from mutualnet3d.shapes import SubnetConfig

X3D_M = {"arch": "x3d", "depth": 50, "alpha": 8, "num_frames": 16, "sampling_rate": 5, "crop_size": 224}
SLOW = {"arch": "slow", "depth": 50, "alpha": 8, "num_frames": 8, "sampling_rate": 8, "crop_size": 224}
SLOWFAST = {"arch": "slowfast", "depth": 50, "alpha": 8, "num_frames": 32, "sampling_rate": 2, "crop_size": 224}


def test_the_papers_rows():
    results = paper_results()
    assert {key: (of_network.network, len(of_network.rows)) for key, of_network in results.items()} == {
        "x3d_m": ("x3d_m", 11), "slow_8x8": ("slow_8x8", 9), "slowfast_4x16": ("slowfast_4x16", 10),
    }  # fmt: skip
    x3d_m = results["x3d_m"]
    assert (x3d_m.views, x3d_m.num_views, results["slow_8x8"].num_views) == ("10 clips x 1 centre crop", 10, 30)
    assert (x3d_m.rows[0].config, x3d_m.rows[0].gflops, x3d_m.rows[0].top1) == (SubnetConfig(1.0, 224, 16), 4.73, 75.1)
    assert x3d_m.separate == ((4.73, 74.6), (1.96, 72.9), (0.6, 68.6))
    assert results["slow_8x8"].reproduced == ((54.5, 74.2),)
    for of_network in results.values():
        assert [row.gflops for row in of_network.rows] == sorted((row.gflops for row in of_network.rows), reverse=True)


@pytest.mark.parametrize(
    ("network", "values"),
    [("x3d_m", X3D_M), ("slow_8x8", SLOW), ("slowfast_4x16", SLOWFAST), ("x3d_m", X3D_M | {"depth": 0})],
)
def test_the_results_of_a_network(network, values):
    results = results_of(**values)
    assert results is not None
    assert results == paper_results()[network]


@pytest.mark.parametrize(
    "values",
    [
        X3D_M | {"num_frames": 13, "sampling_rate": 6},
        X3D_M | {"crop_size": 312},  # X3D-L
        SLOW | {"arch": "c2d"},
        SLOW | {"depth": 101},
        SLOW | {"num_frames": 4, "sampling_rate": 16},
        SLOWFAST | {"alpha": 4},
        SLOWFAST | {"num_frames": 4, "sampling_rate": 16},
    ],
)
def test_a_network_that_the_paper_has_not(values):
    assert results_of(**values) is None
