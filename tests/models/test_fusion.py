"""Adaptive fusion: laterals resized to the Slow pathway's clip."""

from __future__ import annotations

import pytest
import torch

from mutualnet3d.models.fusion import resize


def test_resized_laterals_meet_the_instants_of_slows_frames():
    """A lateral that says its own instant: Slow's first and last frame meet the first and last, the others between."""
    lateral = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 2, 4, 8, 8)
    for frames, expected in (
        (4, [0, 1, 2, 3]),
        (3, [0, 1.5, 3]),
        (2, [0, 3]),
        (1, [0]),
        (7, [i / 2 for i in range(7)]),
    ):
        like = torch.zeros(1, 5, frames, 8, 8)
        assert resize(lateral, like)[0, 0, :, 3, 3].tolist() == pytest.approx(expected)


def test_resized_laterals_keep_their_place_in_the_picture():
    """A ramp over the picture stays the ramp, pixels being areas: the centre of the crop stays the centre."""
    centres = (torch.arange(56.0) + 0.5) / 56
    lateral = centres.expand(1, 1, 2, 56, 56)
    resized = resize(lateral, torch.zeros(1, 1, 2, 40, 40))
    expected = (torch.arange(40.0) + 0.5) / 40
    assert resized[0, 0, 1, 7].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert resize(lateral, torch.zeros(1, 9, 2, 56, 56)) is lateral
