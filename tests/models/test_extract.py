"""A sub-network cut out, of every family."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mutualnet3d.models import SlimmableNet
from mutualnet3d.shapes import SubnetConfig
from tests.models.families import FAMILIES, calibrated, clips, relative, tiny

SUBNET = SubnetConfig(width=0.6, size=48, frames=2)


@pytest.fixture(params=list(FAMILIES))
def model(request: pytest.FixtureRequest) -> SlimmableNet:
    return tiny(request.param)


@pytest.mark.parametrize(
    ("config", "memory_format", "fold_norms"),
    [
        (SUBNET, torch.contiguous_format, False),
        (SUBNET, torch.channels_last_3d, True),
        pytest.param(SubnetConfig(1.0, 64, 4), torch.channels_last_3d, False, marks=pytest.mark.slow),
        (SubnetConfig(0.83, 64, 4), torch.contiguous_format, True),
    ],
    ids=str,
)
def test_extracted_network_is_ordinary_and_gives_the_logits(model, config, memory_format, fold_norms):
    calibrated(model.to(memory_format=memory_format), config)
    # Folding rounds every weight, other kernels round sums, and a tiny random network makes 1e-5 of 1e-7: in double
    # precision rounding hides nothing. (Networks of the real size: tests/models/test_pyslowfast_weights.py.)
    is_double = fold_norms or memory_format == torch.channels_last_3d
    dtype = torch.float64 if is_double else torch.float32
    model.to(dtype)
    x = [clip.to(dtype, memory_format=memory_format) for clip in clips(model, config)]
    copies = [clip.clone() for clip in x]
    with torch.no_grad(), model.active(config):
        expected = model(x)
    extracted = model.extract(config, fold_norms=fold_norms)
    with torch.no_grad():
        logits = extracted(x)
    assert expected.abs().max() > 0.1
    assert relative(logits, expected) < (1e-11 if is_double else 1e-5)
    assert not extracted.training
    assert all(torch.equal(clip, copy) for clip, copy in zip(x, copies, strict=True))
    slimmable = [
        type(module).__name__ for module in extracted.modules() if "mutualnet3d.ops" in type(module).__module__
    ]
    assert not slimmable
    assert not isinstance(extracted, SlimmableNet)
    norms = [module for module in extracted.modules() if isinstance(module, nn.BatchNorm3d)]
    assert bool(norms) is not fold_norms
    if not fold_norms:
        assert list(extracted.state_dict()) == list(model.state_dict())
    first = next(iter(extracted.parameters()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert first.abs().sum() > 0  # it has memory of its own


def test_extracting_needs_statistics(model):
    with pytest.raises(ValueError, match=r"w0\.6-s48-t2 has no batch-norm statistics: calibrate it before"):
        model.extract(SUBNET)
