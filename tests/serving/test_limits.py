from __future__ import annotations

import pytest

from mutualnet3d.process_pool import num_cores
from mutualnet3d.serving.limits import ServingLimits


def test_defaults_and_what_is_not_allowed():
    assert ServingLimits().workers == num_cores() + 1
    assert ServingLimits(queue=0, queue_seconds=0.5).queue == 0
    for values, message in (
        ({"workers": 0}, "workers is 0; allowed: 1 or more"),
        ({"queue": -1}, "queue is -1; allowed: 0 or more"),
        ({"uploads": 1.5}, r"uploads is 1\.5; it must be a number without fraction"),
        ({"clips": True}, "clips is True; it must be a number without fraction"),
        ({"decode_seconds": 0.0}, "decode_seconds is 0; allowed: above 0, below 3600"),
        ({"grace_seconds": float("nan")}, "grace_seconds is nan; allowed: above 0"),
        ({"upload_seconds": "1"}, "upload_seconds is '1'; it must be a number$"),
    ):
        with pytest.raises(ValueError, match=message):
            ServingLimits(**values)
