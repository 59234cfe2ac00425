from __future__ import annotations

import threading

import pytest
from torch import nn

from mutualnet3d.models.size_limit import limited_size


def test_a_network_may_have_so_many_weights():
    with limited_size(max_values=12, max_tensors=2):
        nn.Linear(3, 3)  # 9 + 3
    with pytest.raises(ValueError, match="larger than allowed: 11 weights in 2 tensors"), limited_size(11, 2):
        nn.Linear(3, 3)
    with pytest.raises(ValueError, match="larger than allowed: 99 weights in 1 tensors"), limited_size(99, 1):
        nn.Linear(3, 3)
    nn.Linear(30, 30)  # afterwards any


def test_other_threads_may_build_what_they_like():
    errors = []

    def build():
        try:
            nn.Linear(30, 30)
        except ValueError as error:
            errors.append(error)

    with limited_size(1, 1):
        thread = threading.Thread(target=build)
        thread.start()
        thread.join()
    assert errors == []
