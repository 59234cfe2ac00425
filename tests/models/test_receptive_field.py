"""Centres of receptive fields against those that gradients show."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.models.receptive_field import FieldCentres, field_centres, resample_map


def test_centres_are_those_of_the_pixels_that_a_place_depends_on():
    layers = [
        nn.Conv3d(1, 2, (3, 3, 3), stride=(1, 2, 2), padding=1),
        nn.Conv3d(2, 2, 3, padding="same", dilation=2),
        nn.AvgPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        nn.Conv3d(2, 2, (2, 3, 2), stride=(2, 1, 1)),
        nn.AvgPool3d(2),
    ]
    clip = torch.zeros(1, 1, 24, 120, 120, requires_grad=True)
    x, runs = clip, []
    for layer in layers:
        y = layer(x)
        runs.append((layer, tuple(x.shape[2:]), tuple(y.shape[2:])))
        x = y
    centres = field_centres(runs, (24, 120, 120))
    place = (2, 6, 7)
    (gradient,) = torch.autograd.grad(x[0, :, place[0], place[1], place[2]].sum(), clip)
    reached = gradient[0, 0].nonzero().float()
    expected = (reached.amin(dim=0) + reached.amax(dim=0)) / 2
    centre = [start + step * number for start, step, number in zip(centres.start, centres.step, place, strict=True)]
    assert centre == pytest.approx(expected.tolist())
    # A second branch that changes the same lengths moves nothing.
    shortcut = (nn.Conv3d(1, 2, 1, stride=(1, 2, 2)), *runs[0][1:])
    assert field_centres([runs[0], shortcut, *runs[1:]], (24, 120, 120)) == centres


def test_a_map_is_resampled_to_a_clip():
    map_THW = torch.zeros(2, 3, 3)
    map_THW[1, 0, 2] = 5.0
    centres = FieldCentres((1.5, 3.5, 3.5), (4.0, 8.0, 8.0), (8, 24, 24))
    resampled = resample_map(map_THW, centres, 8, 24)
    assert resampled.shape == (8, 24, 24)
    assert (resampled.min(), resampled.max()) == (0.0, 1.0)
    assert resampled[:2].max() == 0.0  # before the centre of the first of the two
    assert resampled[6:, :4, 20:].min() == 1.0  # the centre in the corner and beyond
    assert resampled[6, 0, 15:20].tolist() == pytest.approx([0.4375, 0.5625, 0.6875, 0.8125, 0.9375])
    # In a clip of half as many pixels and frames the same place is bright.
    half = resample_map(map_THW, centres, 4, 12)
    assert half[3, :2, 10:].min() == 1.0
    assert half[0].max() == 0.0
    assert resample_map(torch.zeros(1, 2, 2), centres, 3, 4).abs().max() == 0.0
