"""The kernels against torch's operations: on a GPU, or in Triton's interpreter on the CPU (tests/conftest.py)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.ops import SlimBatchNorm3d, triton_norm, triton_switch
from mutualnet3d.ops.triton_norm_launch import Tile, Tiles, Tracking, candidates, using

pytest.importorskip("triton")

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda z: z,
    "relu": F.relu,
    "swish": F.silu,
}
SHAPES = [(2, 24, 2, 5, 5), (3, 54, 2, 4, 4), (1, 1, 3, 5, 7)]
WIDE_SHAPES = [(1, 600, 1, 2, 2), (2, 8, 1, 1, 1), (1, 43, 5, 9, 11), (3, 216, 2, 3, 3), (2, 34, 4, 13, 7)]


@pytest.fixture(scope="module")
def device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@pytest.fixture(autouse=True)
def _kernels_are_on(device: torch.device) -> Iterator[None]:
    with triton_switch.switched(True, device):
        yield


class Case:
    """Features around 5 with deviation 2, scale, shift, a shortcut, and the gradient of the output."""

    def __init__(self, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.float32):
        features = functools.partial(torch.randn, *shape)
        last = torch.channels_last_3d
        self.x = (features() * 2 + 5).to(device, dtype, memory_format=last).requires_grad_()
        self.shortcut = features().to(device, dtype, memory_format=last).requires_grad_()
        self.grad = features().to(device, dtype)
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        self.weight, self.bias = (torch.randn(shape[1], dtype=exact, device=device).requires_grad_() for _ in range(2))
        self.mixing = (torch.randn(shape[1], shape[1], dtype=exact, device=device) / shape[1]).requires_grad_()

    def gate(self, means: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(torch.einsum("bcthw,dc->bdthw", means, self.mixing.to(means.dtype)))

    def exact(self) -> Case:
        """Return the same numbers in float64."""
        copy = object.__new__(Case)
        for name, value in self.__dict__.items():
            setattr(copy, name, value.detach().double().requires_grad_(value.requires_grad))
        return copy

    def tensors(self, *names: str) -> list[torch.Tensor]:
        return [getattr(self, name) for name in names]

    def batch_norm(self) -> torch.Tensor:
        return F.batch_norm(self.x, None, None, self.weight, self.bias, True, 0.0, 1e-5)


def check(case: Case, y: torch.Tensor, expected: torch.Tensor, exact: Case, *names: str) -> None:
    """Compare y with a float64 output, and the gradients of the tensors called `names`, relative to the largest."""
    assert y.dtype == case.x.dtype
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    gradients = torch.autograd.grad(y, case.tensors(*names), case.grad)
    right = torch.autograd.grad(expected, exact.tensors(*names), exact.grad)
    rounding = 1e-2 if y.dtype in (torch.bfloat16, torch.float16) else 0
    assert_close(y, expected, 1e-5 + rounding)
    for gradient, value, name in zip(gradients, right, names, strict=True):
        assert gradient.dtype == getattr(case, name).dtype
        assert_close(gradient, value, 1e-4 + rounding, name)


def assert_close(value: torch.Tensor, right: torch.Tensor, allowed: float, name: str = "output") -> None:
    error = (value.double() - right).abs().max().item() / max(1.0, right.abs().max().item())
    assert error < allowed, f"{name}: {error}"


def check_norm(case: Case, activation: str) -> None:
    exact = case.exact()
    y = triton_norm.normalize_activate(case.x, case.weight, case.bias, 1e-5, activation)
    check(case, y, ACTIVATIONS[activation](exact.batch_norm()), exact, "x", "weight", "bias")


def check_shortcut(case: Case, activation: str) -> None:
    exact = case.exact()
    y = triton_norm.normalize_activate(case.x, case.weight, case.bias, 1e-5, activation, case.shortcut)
    expected = ACTIVATIONS[activation](exact.batch_norm() + exact.shortcut)
    check(case, y, expected, exact, "x", "weight", "bias", "shortcut")


def check_gate(case: Case, activation: str) -> None:
    exact = case.exact()
    y = triton_norm.normalize_gate_activate(case.x, case.weight, case.bias, 1e-5, case.gate, activation)
    normalised = exact.batch_norm()
    expected = ACTIVATIONS[activation](exact.gate(normalised.mean((2, 3, 4), keepdim=True)) * normalised)
    check(case, y, expected, exact, "x", "weight", "bias", "mixing")


CHECKS = [
    *((check_norm, activation) for activation in ACTIVATIONS),
    *((check_shortcut, activation) for activation in ("none", "relu")),
    *((check_gate, activation) for activation in ACTIVATIONS),
]


@pytest.mark.parametrize(
    ("check_one", "activation", "shape"),
    [
        (check_norm, "relu", SHAPES[0]),
        (check_norm, "swish", SHAPES[1]),
        (check_norm, "none", SHAPES[2]),
        (check_shortcut, "relu", SHAPES[1]),
        (check_gate, "swish", SHAPES[1]),
    ],
)
def test_output_and_gradients_equal_torchs(check_one, activation, shape, device):
    check_one(Case(shape, device), activation)


# All shapes, all checks and both types, but not all with all: the interpreter takes seconds for one.
MIXED = [
    (shape, *CHECKS[number % len(CHECKS)], torch.float16 if number % 2 else torch.float32)
    for number, shape in enumerate([*SHAPES, *WIDE_SHAPES])
]


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "check_one", "activation", "dtype"), MIXED)
def test_output_and_gradients_equal_torchs_for_any_shape(check_one, activation, shape, dtype, device):
    check_one(Case(shape, device, dtype), activation)


@pytest.mark.needs_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("shape", [(4, 54, 4, 56, 56), (2, 432, 16, 7, 7), (3, 24, 13, 41, 41), (2, 2048, 4, 7, 7)])
@pytest.mark.parametrize(("check_one", "activation"), CHECKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_and_gradients_equal_torchs_on_a_gpu(check_one, activation, shape, dtype, device):
    check_one(Case(shape, device, dtype), activation)


def test_features_far_from_zero_keep_their_digits(device):
    """Plain sums of squares would leave a variance of 0 or less."""
    case = Case((2, 8, 3, 8, 8), device)
    case.x = (case.x.detach() * 0.5 + 3000).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    exact = case.exact()
    y = triton_norm.normalize_activate(case.x, case.weight, case.bias, 1e-5)
    # A mean of float32 is right to 1e-4 here, a tenth of a per mille of the deviation.
    assert_close(y, exact.batch_norm(), 2e-3)


@pytest.mark.parametrize("activation", ["swish", pytest.param("none", marks=pytest.mark.slow)])
def test_derivatives_are_those_of_finite_differences(activation, device):
    case = Case((2, 3, 1, 2, 3), device, torch.float64)

    def norm(x, weight, bias):
        return triton_norm.normalize_activate(x, weight, bias, 1e-5, activation)

    assert torch.autograd.gradcheck(norm, (case.x, case.weight, case.bias), fast_mode=True)


@pytest.mark.slow
def test_derivatives_by_way_of_the_gate_are_those_of_finite_differences(device):
    case = Case((2, 3, 1, 2, 3), device, torch.float64)

    def norm(x, weight, bias, mixing):
        case.mixing = mixing
        return triton_norm.normalize_gate_activate(x, weight, bias, 1e-5, case.gate, "swish")

    assert torch.autograd.gradcheck(norm, (case.x, case.weight, case.bias, case.mixing), fast_mode=True)


def test_tracked_statistics_move_as_torchs(device):
    case = Case((3, 10, 2, 3, 5), device)
    mean, variance = torch.randn(10, device=device), torch.rand(10, device=device) + 0.5
    expected = mean.clone(), variance.clone()
    triton_norm.normalize_activate(case.x, case.weight, case.bias, 1e-5, tracking=Tracking(mean, variance, 0.3))
    F.batch_norm(case.x, *expected, case.weight, case.bias, True, 0.3, 1e-5)
    torch.testing.assert_close((mean, variance), expected)


def test_not_a_number_stays_one(device):
    case = Case((2, 3, 1, 2, 2), device)
    with torch.no_grad():
        case.x[0, 1, 0, 0, 0] = torch.nan
    y = triton_norm.normalize_activate(case.x, case.weight, case.bias, 1e-5, "relu")
    assert y[:, 1].isnan().all()
    assert not y[:, [0, 2]].isnan().any()


def test_a_gradient_in_another_format_is_taken(device):
    case = Case((2, 8, 2, 3, 3), device)
    case.grad = torch.ones((), device=device).expand(case.x.shape)
    check_norm(case, "relu")


def test_weights_alone_may_have_gradients(device):
    case = Case((2, 8, 2, 3, 3), device)
    case.x = case.x.detach()
    exact = case.exact()
    y = triton_norm.normalize_activate(case.x, case.weight, case.bias, 1e-5, "relu")
    check(case, y, F.relu(exact.batch_norm()), exact, "weight", "bias")


@pytest.mark.parametrize("tile", [Tile(1024, 4), *(pytest.param(t, marks=pytest.mark.slow) for t in candidates())])
def test_every_tile_gives_the_same(tile, device):
    case = Case((2, 54, 2, 4, 5), device)
    with using(Tiles(tile, tile)):
        check_norm(case, "swish")


def test_what_the_kernels_are_for(device):
    x = torch.randn(2, 8, 2, 3, 3, device=device).contiguous(memory_format=torch.channels_last_3d)
    weight, bias = torch.ones(8, device=device), torch.zeros(8, device=device)
    assert triton_norm.takes(x, weight, bias)
    assert triton_norm.takes(x.bfloat16(), weight, bias)
    refused = {
        "contiguous": x.contiguous(),
        "every other frame": x[:, :, ::2],
        "some channels": x[:, :4],
        "whole numbers": x.int(),
        "one value per channel": x[:1, :, :1, :1, :1],
        "pictures": x[:, :, 0],
        "no clips": x[:0],
    }
    assert [name for name, value in refused.items() if triton_norm.takes(value, weight, bias)] == []
    assert not triton_norm.takes(x, None, None)
    assert not triton_norm.takes(x, weight.double(), bias.double())
    assert not triton_norm.takes(x, weight.bfloat16(), bias.bfloat16())
    with triton_switch.switched(False, device):
        assert not triton_norm.takes(x, weight, bias)


@pytest.mark.parametrize("in_subnet", [False, True])
def test_the_layer_takes_them(in_subnet, device):
    norm = SlimBatchNorm3d(16).to(device)
    norm.in_subnet = in_subnet
    x = torch.randn(2, 8 if in_subnet else 16, 2, 3, 3, device=device).contiguous(memory_format=torch.channels_last_3d)
    assert norm.fuses(x)
    other = SlimBatchNorm3d(16).to(device)
    other.in_subnet = in_subnet
    y = norm(x)
    with triton_switch.switched(False, device):
        assert not other.fuses(x)
        expected = other(x)
    torch.testing.assert_close(y, expected)
    assert y.grad_fn.name() != expected.grad_fn.name()
    torch.testing.assert_close(norm.state_dict(), other.state_dict())


def test_the_layer_leaves_other_modes_to_torch(device):
    x = torch.randn(2, 8, 2, 3, 3, device=device).contiguous(memory_format=torch.channels_last_3d)

    def layer(num_channels: int = 8, **attributes: object) -> SlimBatchNorm3d:
        norm = SlimBatchNorm3d(num_channels).to(device)
        for name, value in attributes.items():
            setattr(norm, name, value)
        return norm

    assert layer().fuses(x)
    assert layer(frozen=True, in_full=False, in_subnet=True).fuses(x)
    for attributes in (
        {"training": False},
        {"frozen": True},
        {"momentum": None},
        {"batch_statistics": object()},
        {"num_channels": 16},  # which is an error of the layer
        {"num_channels": 4, "in_subnet": True},
    ):
        assert not layer(**attributes).fuses(x), attributes
