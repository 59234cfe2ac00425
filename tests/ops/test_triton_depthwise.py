from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.ops import SlimConv3d, kernels, triton_depthwise, triton_switch
from tests.ops.depthwise_cases import DEVICE, Case, leaves, needs_triton, relative_errors

LAST = torch.channels_last_3d


def arguments(**changes):
    """A call's arguments that the kernels take, but for the changes."""
    call = {
        "x": torch.randn(1, 8, 3, 4, 4).to(memory_format=LAST),
        "weight": torch.randn(8, 1, 3, 3, 3),
        "bias": None,
        "stride": (1, 2, 2),
        "padding": (1, 1, 1),
        "dilation": (1, 1, 1),
        "groups": 8,
    }
    return {**call, **changes}


def test_they_fit_a_depthwise_layer_in_channels_last():
    assert triton_depthwise.fits(**arguments())
    assert triton_depthwise.fits(**arguments(weight=torch.randn(8, 1, 5, 1, 1), padding=(2, 0, 0), stride=(1, 1, 1)))
    assert triton_depthwise.fits(**arguments(weight=torch.randn(8, 1, 3, 3, 3).to(memory_format=LAST)))


@pytest.mark.parametrize(
    "changes",
    [
        {"x": torch.randn(1, 8, 3, 4, 4)},
        {"x": torch.randn(1, 16, 3, 4, 4).to(memory_format=LAST)[:, :8]},
        {"x": torch.randn(0, 8, 3, 4, 4).to(memory_format=LAST)},
        {"x": torch.randn(1, 8, 1, 4, 4).to(memory_format=LAST), "padding": (0, 1, 1)},
        {"x": torch.randn(1, 8, 3, 4, 4, dtype=torch.bfloat16).to(memory_format=LAST)},
        {"x": torch.randn(8, 3, 4, 4)},
        {"weight": torch.randn(8, 8, 3, 3, 3), "groups": 1},
        {"weight": torch.randn(16, 1, 3, 3, 3)},
        {"weight": torch.randn(8, 2, 3, 3, 3), "groups": 4},
        {"weight": torch.randn(8, 1, 3, 3, 5)},
        {"bias": torch.randn(8)},
        {"padding": "same", "stride": (1, 1, 1)},
        {"padding": (3, 1, 1)},
        {"dilation": (1, 2, 2)},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_they_do_not_fit_others(changes):
    assert not triton_depthwise.fits(**arguments(**changes))


def test_they_fit_clips_whose_offsets_have_32_bits(monkeypatch):
    monkeypatch.setattr(triton_depthwise, "MOST_NUMBERS", 8 * 3 * 4 * 4)
    assert triton_depthwise.fits(**arguments())
    monkeypatch.setattr(triton_depthwise, "MOST_NUMBERS", 8 * 3 * 4 * 4 - 1)
    assert not triton_depthwise.fits(**arguments())


def test_autocast_makes_the_types_one():
    half = arguments(x=torch.randn(1, 8, 3, 4, 4, dtype=torch.bfloat16).to(memory_format=LAST))
    double = arguments(x=torch.randn(1, 8, 3, 4, 4, dtype=torch.float64).to(memory_format=LAST))
    with torch.autocast("cpu", torch.bfloat16):
        assert triton_depthwise.fits(**arguments())
        assert triton_depthwise.fits(**half)
        assert not triton_depthwise.fits(**double)  # autocast leaves float64 alone, and torch refuses the pair


def test_the_switch_is_off_at_first():
    call = arguments(x=torch.randn(1, 8, 3, 4, 4).to(memory_format=LAST).requires_grad_())
    assert "Triton" not in type(kernels.conv3d(**call, training=True).grad_fn).__name__


@needs_triton
def test_a_slimmable_layer_under_autocast():
    """Half its width: in bfloat16, with the weight's gradient in float32, of those channels alone."""
    conv = SlimConv3d(16, 16, (3, 1, 1), padding=(1, 0, 0), groups=16, bias=False).to(DEVICE)
    x, _ = leaves(Case((1, 8, 3, 3, 3)), torch.float32)
    with triton_switch.switched(True, DEVICE), torch.autocast(DEVICE.type, torch.bfloat16):
        y = conv(x)
    assert type(y.grad_fn).__name__ == "_TritonDepthwiseBackward"
    y.float().square().sum().backward()
    assert (y.dtype, x.grad.dtype, conv.weight.grad.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    assert y.is_contiguous(memory_format=LAST)
    rounded_x = x.detach().bfloat16().float().requires_grad_()
    weight = conv.weight.detach()[:8].bfloat16().float().requires_grad_()
    expected = F.conv3d(rounded_x, weight, None, 1, (1, 0, 0), 1, 8)
    grads = torch.autograd.grad(expected, (rounded_x, weight), 2 * y.detach().float())
    errors = relative_errors((y, x.grad, conv.weight.grad[:8]), (expected, *grads))
    # The interpreter cuts bfloat16 off instead of rounding it.
    assert max(errors[:2]) < 1e-2
    assert errors[2] < 1e-5
    assert conv.weight.grad[8:].abs().sum() == 0


@needs_triton
def test_gradients_that_nobody_needs_are_not_computed():
    case = Case((1, 2, 1, 2, 2), kernel=(1, 1, 1))
    for needs_x in (True, False):
        x, weight = leaves(case, torch.float32)
        (weight if needs_x else x).requires_grad_(False)
        triton_depthwise.depthwise_conv3d(x, weight, *case.settings).sum().backward()
        assert (x.grad is not None, weight.grad is not None) == (needs_x, not needs_x)


@needs_triton
def test_gradients_are_those_of_small_differences():
    case = Case((1, 2, 3, 3, 2), kernel=(2, 2, 1), stride=(1, 2, 1))

    def conv(x, weight):
        return triton_depthwise.depthwise_conv3d(x, weight, *case.settings)

    assert torch.autograd.gradcheck(conv, leaves(case, torch.float64), fast_mode=True)


@needs_triton
def test_gradients_of_gradients():
    case = Case((1, 2, 2, 3, 2), kernel=(3, 1, 1))
    x, weight = leaves(case, torch.float64)
    seconds = []
    for y in (
        F.conv3d(x, weight, None, *case.settings, 1, 2),
        triton_depthwise.depthwise_conv3d(x, weight, *case.settings),
    ):
        first = torch.autograd.grad(y.square().sum(), (x, weight), create_graph=True)
        seconds.append(torch.autograd.grad(sum(gradient.square().sum() for gradient in first), (x, weight)))
    assert max(relative_errors(seconds[1], seconds[0])) < 1e-12


@pytest.mark.needs_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 1, 1)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-3)])
@pytest.mark.parametrize("shape", [(2, 54, 5, 20, 20), (1, 43, 1, 9, 7), (3, 216, 6, 7, 7)])
def test_on_a_gpu(shape, dtype, tolerance, kernel, stride):
    """They are taken when the switch is on, in a slimmable layer, and are as exact as the type allows."""
    torch.manual_seed(0)
    padding = tuple(length // 2 for length in kernel)
    channels = shape[1]
    conv = SlimConv3d(channels + 8, channels + 8, kernel, stride, padding, groups=channels + 8, bias=False).cuda()
    x = torch.randn(shape, device="cuda", dtype=dtype).to(memory_format=LAST).requires_grad_()
    with triton_switch.switched(True, torch.device("cuda")), torch.autocast("cuda", dtype, dtype != torch.float32):
        y = conv(x)
    assert type(y.grad_fn).__name__ == "_TritonDepthwiseBackward"
    grad = torch.randn_like(y)
    y.backward(grad)
    exact_x = x.detach().double().contiguous().requires_grad_()
    weight = conv.weight.detach()[:channels].to(dtype).double().requires_grad_()
    expected = F.conv3d(exact_x, weight, None, stride, padding, 1, channels)
    expected.backward(grad.double())
    for mine, exact in ((y, expected), (x.grad, exact_x.grad), (conv.weight.grad[:channels], weight.grad)):
        assert ((mine.double() - exact).norm() / exact.norm()).item() < tolerance
    assert conv.weight.grad[channels:].abs().sum() == 0
