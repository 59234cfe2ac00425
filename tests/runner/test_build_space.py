from __future__ import annotations

import pytest

import mutualnet3d as m3
from mutualnet3d.runner import build_test_space, configs_to_test
from tests.runner.runs import CFG, make_cfg


def keys(cfg):
    return [str(config) for config in configs_to_test(cfg)]


@pytest.mark.parametrize(
    ("name", "overrides", "full", "size"),
    [
        ("SLOW_8x8_R50.yaml", [], "w1.0-s256-t8", 256),  # as PySlowFast tests it
        ("SLOW_8x8_R50_mutual.yaml", [], "w1.0-s256-t8", 144),
        ("SLOWFAST_4x16_R50_mutual.yaml", [], "w1.0-s256-t4", 144),
        ("X3D_M.yaml", [], "w1.0-s224-t16", 224),
        ("X3D_M_mutual.yaml", [], "w1.0-s224-t16", 144),
        ("X3D_tiny_mutual.yaml", [], "w1.0-s48-t8", 32),
        ("X3D_tiny_mutual.yaml", ["DATA.TRAIN_JITTER_SCALES", [60, 64], "DATA.TEST_CROP_SIZE", 60], "w1.0-s60-t8", 40),
        ("X3D_tiny_mutual.yaml", ["TEST.SIZES", [56, 44, 36]], "w1.0-s56-t8", 36),
    ],
)
def test_sizes_of_testing(name, overrides, full, size):
    cfg = m3.load_cfg(name, overrides)
    space = build_test_space(cfg)
    assert str(space.full) == full
    assert min(space.sizes) == size
    assert keys(cfg)[0] == full


def test_a_size_for_each_that_is_trained():
    of_each = r"TEST\.SIZES is .*; it must be a size in pixels for each of MUTUAL\.SIZES, \[48"
    for sizes, message in (
        ([56, 44], of_each),
        ([56, 44, 44], of_each),
        ([56, 44, 30.5], r"TEST\.SIZES is .*30\.5\]; it must be a list of whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            m3.load_cfg(CFG, ["TEST.SIZES", sizes])


@pytest.mark.parametrize(
    ("name", "number", "first", "last"),
    [
        ("X3D_M_mutual.yaml", 11, "w1.0-s224-t16", "w0.63-s144-t6"),
        ("SLOW_8x8_R50_mutual.yaml", 9, "w1.0-s256-t8", "w0.63-s144-t3"),
        ("SLOWFAST_4x16_R50_mutual.yaml", 10, "w1.0-s256-t4", "w0.63-s144-t2"),
    ],
)
def test_the_papers_subnets(name, number, first, last):
    subnets = keys(m3.load_cfg(name, ["TEST.SUBNETS", ["paper"]]))
    assert (len(subnets), subnets[0], subnets[-1]) == (number, first, last)


def test_the_paper_has_not_all_networks():
    with pytest.raises(ValueError, match=r"the paper has no results of this network \(x3d, 8 frames.*x3d_m, slow_8x8"):
        configs_to_test(m3.load_cfg(CFG, ["TEST.SUBNETS", ["paper"]]))


def test_keys_may_have_sizes_of_training_and_of_testing():
    both = ["w0.63-s224-t8", "w0.63-s160-t8", "w0.63-s182-t8"]
    assert keys(m3.load_cfg("SLOW_8x8_R50_mutual.yaml", ["TEST.SUBNETS", both])) == both
    with pytest.raises(ValueError, match=r"size 200 is none of the space's 256, 224, 182, 144, 192, 160, 128"):
        configs_to_test(m3.load_cfg("SLOW_8x8_R50_mutual.yaml", ["TEST.SUBNETS", ["w0.63-s200-t8"]]))


@pytest.mark.parametrize(
    ("subnets", "message"),
    [
        (["w0.4-s32-t4"], r"width 0\.4 is outside the space's 0\.5 to 1\.0"),
        (["w0.5-s64-t4"], "size 64 is none of the space's 32"),
        (["w0.5-s32-t3"], "3 frames are none of the space's 4, 2"),
        (["w1.5-s32-t4"], r"width must be in \(0, 1\], got 1\.5"),
        (["small"], "not a sub-network's key: 'small'"),
        ([], "TEST.SUBNETS is empty"),
    ],
)
def test_subnets_that_are_not_there(tiny_overrides, subnets, message):
    with pytest.raises(ValueError, match=message):
        configs_to_test(make_cfg(tiny_overrides(TEST__SUBNETS=subnets)))
