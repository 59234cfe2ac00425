from __future__ import annotations

import copy

import pytest
import torch

from mutualnet3d.models.network import VideoNet
from mutualnet3d.shapes import SubnetConfig
from tests.models.families import FULL_CLIP, calibrated, clips, tiny

SUBNET = SubnetConfig(0.6, 48, 2)


def test_its_methods_are_those_of_the_modules():
    model = calibrated(tiny("x3d"), SUBNET)
    x = clips(model, SUBNET)
    with torch.no_grad(), model.active(SUBNET):
        torch.testing.assert_close(model.extract(SUBNET)(x), model(x), rtol=1e-5, atol=1e-6)
    assert type(model.extract(SUBNET)) is VideoNet
    with pytest.raises(ValueError, match=r"w0\.7-s48-t2 can be interpolated between .*; calibrated widths: 0\.6"):
        model.interpolate_statistics(SubnetConfig(0.7, 48, 2))


@pytest.mark.parametrize("family", ["x3d", "slowfast"])
def test_a_copy_has_statistics_of_its_own(family):
    model = calibrated(tiny(family), SUBNET)
    other = copy.deepcopy(model)
    x = clips(model, SUBNET)
    with torch.no_grad(), model.active(SUBNET), other.active(SUBNET):
        expected = model(x)
        assert torch.equal(other(x), expected)
    other.load_state_dict(model.state_dict())
    assert not other.statistics  # loading weights clears a copy's too
    assert list(model.statistics) == [SUBNET]
    assert (other.builder, other.arguments) == (model.builder, model.arguments)
    assert other.full_clip == FULL_CLIP
