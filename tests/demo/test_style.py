from __future__ import annotations

from typing import Any

import pytest

from mutualnet3d.demo.style import MovingShapesStyle


@pytest.mark.parametrize(
    ("wrong", "allowed"),
    [
        ({"contrast": (0.5, 0.2)}, "0 or more, rising, finite"),
        ({"noise": -0.1}, "0 or more"),
        ({"growth_per_s": (0.9, 1.2)}, "1 or more"),
        ({"flicker": float("nan")}, "0 or more"),
    ],
)
def test_values_that_are_refused(wrong: dict[str, Any], allowed: str) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"^style\.{name} is .*; allowed: {allowed}"):
        MovingShapesStyle(**wrong)
