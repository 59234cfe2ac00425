from __future__ import annotations

import pytest
import torch

from mutualnet3d.models.channel_flow import Channels
from mutualnet3d.models.channel_rules import Call, Layout, NoRule, operation_name, rule_of


def layout_after(function, x, *args, axis=1, **kwargs):
    """Return the rule's layout of `function(x, ...)`, whose channels are one run."""
    layout = Layout(axis, (Channels(x.shape[axis]),))
    result = function(x, *args, **kwargs)
    output = result if isinstance(result, torch.Tensor) else result[0]
    rule = rule_of(function)
    assert rule is not None
    return rule(Call(function, (x, *args), kwargs, [x], [layout], output))


X = torch.zeros(2, 8, 4, 6, 6)


@pytest.mark.parametrize(
    ("function", "args", "axis"),
    [
        (torch.Tensor.permute, (0, 2, 3, 4, 1), 4),
        (torch.transpose, (1, 2), 2),
        (torch.movedim, (1, 0), 0),
        (torch.mean, ((2, 3, 4),), 1),
        (torch.Tensor.amax, (0,), 0),
        (torch.flatten, (2,), 1),
        (torch.Tensor.view, (2, 8, -1), 1),
        (torch.Tensor.unsqueeze, (1,), 2),
        (torch.Tensor.expand, (5, 2, 8, 4, 6, 6), 2),
        (torch.unbind, (0,), 0),
        (torch.chunk, (2, 2), 1),
        (torch.Tensor.__getitem__, ((0,),), 0),
        (torch.Tensor.__getitem__, ((..., 0),), 1),
        (torch.Tensor.__getitem__, ((slice(None), None, slice(None), torch.tensor([0, 2])),), 2),
        (torch.nn.functional.max_pool3d, (2,), 1),
        (torch.Tensor.relu_, (), 1),
    ],
)
def test_the_place_of_the_channels(function, args, axis):
    layout = layout_after(function, X, *args)
    assert layout.axis == axis
    assert [run.size for run in layout.runs] == [8]


def test_pictures_are_pooled_too():
    frames_NCHW = torch.zeros(8, 16, 6, 6)
    assert layout_after(torch.nn.functional.adaptive_avg_pool2d, frames_NCHW, 1).axis == 1
    with pytest.raises(NoRule, match="it works along the dimension of the channels"):
        layout_after(torch.nn.functional.adaptive_avg_pool2d, frames_NCHW, 1, axis=2)


def test_channels_that_are_averaged_are_gone():
    assert layout_after(torch.mean, X, 1) is None
    assert layout_after(torch.Tensor.sum, X, (1, 2)) is None


@pytest.mark.parametrize(
    ("function", "args", "reason"),
    [
        (torch.Tensor.view, (2, 2, 4, -1), "it joins the channels"),
        (torch.flatten, (0, 1), "it joins the channels"),
        (torch.Tensor.__getitem__, ((slice(None), 0),), "it cuts the channels"),
        (torch.Tensor.__getitem__, ((0, slice(None), [0, 1]),), "it takes values by several lists"),
        (torch.split, (4, 1), "it cuts the channels"),
        (torch.softmax, (1,), "it turns channels into probabilities"),
    ],
)
def test_what_a_rule_does_not_cover(function, args, reason):
    with pytest.raises(NoRule, match=reason):
        layout_after(function, X, *args)


def test_pooling_along_the_channels_has_no_rule():
    with pytest.raises(NoRule, match="it works along the dimension of the channels"):
        layout_after(torch.nn.functional.avg_pool3d, X, 1, axis=2)


def test_names_of_operations():
    names = [torch.add, torch.Tensor.__iadd__, torch.Tensor.__rtruediv__, torch.nn.functional.relu, torch.relu_]
    assert [operation_name(function) for function in names] == ["add", "add", "div", "relu", "relu"]
    assert rule_of(torch.fft.fftn) is None
