from __future__ import annotations

import re

import pytest
import torch

from mutualnet3d.files.torch_file import read_torch_file
from mutualnet3d.files.torch_values import MAX_DEPTH, MAX_VALUES, check_values


def doubled(times, value="x"):
    """A list that has the same list twice, and so on."""
    for _ in range(times):
        value = [value, value]
    return value


def nested(depth):
    return [nested(depth - 1)] if depth else []


def test_what_a_file_may_have_passes():
    shared = torch.zeros(10)
    check_values({"a": [shared, shared], "b": (1, {2.5}), "c": None, "d": "x" * 10**6, "e": nested(40)}, 40)
    check_values(doubled(20), 0)
    check_values([0] * (MAX_VALUES - 1), 0)


def in_itself():
    values = [1]
    values.append(values)
    return values


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (doubled(22), f"it unfolds into more than {MAX_VALUES} values"),
        ({"a": doubled(45)}, f"it unfolds into more than {MAX_VALUES} values"),
        (nested(MAX_DEPTH), f"it has more than {MAX_DEPTH} containers in each other"),
        (in_itself(), "it has a container that is in itself"),
        ([torch.zeros(1).expand(11)], "it has a tensor of (11,), which is more than the file has bytes for"),
        ({"w": torch.zeros(2, device="meta")}, "it has a tensor of (2,) without its numbers in memory"),
        ([torch.zeros(2).to_sparse()], "it has a tensor of (2,) without its numbers in memory"),
    ],
)
def test_what_unfolds_is_refused(value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_values(value, 40)


def test_a_file_that_unfolds_is_refused_by_name(tmp_path):
    path = tmp_path / "a.pyth"
    torch.save({"class_names": doubled(45)}, path)
    assert path.stat().st_size < 5000
    with pytest.raises(ValueError, match=rf"a\.pyth: cannot be read as a file.*unfolds into more than {MAX_VALUES}"):
        read_torch_file(str(path), "a file")
