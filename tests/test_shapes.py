from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutualnet3d.shapes import ClipShape, SubnetConfig, union_of_shapes


@pytest.mark.parametrize("width", [0.0, -0.5, 1.01, float("nan"), float("inf"), "0.5", True, None])
def test_width_outside_0_to_1_is_refused(width):
    with pytest.raises(ValueError, match=r"width must be in \(0, 1\]"):
        SubnetConfig(width=width, size=160, frames=10)


@pytest.mark.parametrize("value", [0, -1, 2.5, "16", True, None])
@pytest.mark.parametrize("field", ["size", "frames"])
def test_size_and_frames_must_be_positive_integers(field, value):
    with pytest.raises(ValueError, match=f"{field} must be an integer of at least 1, got {value!r}"):
        SubnetConfig(**{"width": 1.0, "size": 160, "frames": 10, field: value})
    with pytest.raises(ValueError, match=f"{field} must be an integer"):
        ClipShape(**{"size": 160, "frames": 10, field: value})


def test_key_is_the_documented_one_and_hashes_by_value():
    config = SubnetConfig(width=0.63, size=160, frames=10)
    assert str(config) == "w0.63-s160-t10"
    assert len({config, SubnetConfig(0.63, 160, 10)}) == 1
    assert SubnetConfig(1, 224, 16) == SubnetConfig.parse("w1.0-s224-t16")


@given(width=st.floats(min_value=1e-6, max_value=1.0), size=st.integers(1, 999), frames=st.integers(1, 99))
def test_parse_undoes_str(width, size, frames):
    config = SubnetConfig(width, size, frames)
    assert SubnetConfig.parse(str(config)) == config


@pytest.mark.parametrize("key", ["", "0.63-s160-t10", "w0.63-s160", "w0.63-s160-t10 ", "w-0.5-s160-t10", "full"])
def test_parse_refuses_what_is_no_key(key):
    with pytest.raises(ValueError, match="not a sub-network's key"):
        SubnetConfig.parse(key)


def test_union_of_shapes_has_each_once_largest_first():
    small, large = ClipShape(4, 32), ClipShape(8, 48)
    assert union_of_shapes([(small,), (large, small), (large,)]) == (large, small)
