from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from mutualnet3d.deploy import Label as PublicLabel
from mutualnet3d.results.label import Label


def test_a_label_is_a_value():
    label = Label("jump", 3, 0.5)
    assert label == Label("jump", 3, 0.5) != Label("jump", 3, 0.25)
    assert PublicLabel is Label
    with pytest.raises(FrozenInstanceError):
        label.score = 1.0
