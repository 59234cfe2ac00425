"""Two gloo processes run every case once and store what came out; the tests compare it with the joined batch here."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import distributed as dist
from torch import nn

from mutualnet3d.ops import BatchStatistics, SlimBatchNorm3d
from tests.gloo import in_processes

PROCESSES = 2
FEATURES = 12


@dataclasses.dataclass(frozen=True)
class Case:
    """One layer, and the joined batches that it trains on; each process takes its half of their videos."""

    channels: int = FEATURES
    in_subnet: bool = False
    affine: bool = True
    momentum: float | None = 0.1
    steps: int = 1
    dtype: torch.dtype = torch.float64
    center: float = 1.0
    deviation: float = 3.0
    shape_THW: tuple[int, int, int] = (3, 5, 4)
    videos: int = 2
    channels_last: bool = True

    def parameters(self) -> dict[str, torch.Tensor]:
        """The full layer's state, of the width `FEATURES`."""
        generator = torch.Generator().manual_seed(0)
        draw = torch.rand(4, FEATURES, generator=generator, dtype=torch.float64) + 0.5
        names = (
            ("weight", "bias", "running_mean", "running_var")
            if self.affine
            else ("", "", "running_mean", "running_var")
        )
        return {name: values for name, values in zip(names, draw, strict=True) if name}

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The joined batch, and the weights of its outputs in the loss: both (PROCESSES * videos, C, T, H, W)."""
        generator = torch.Generator().manual_seed(step + 1)
        shape = (PROCESSES * self.videos, self.channels, *self.shape_THW)
        x, weights = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        # Halves that differ, and no channel like another.
        x = x + torch.linspace(-1, 1, len(x), dtype=x.dtype).view(-1, 1, 1, 1, 1)
        x = self.center + self.deviation * x * torch.linspace(1, 2, self.channels).view(-1, 1, 1, 1)
        layout = torch.channels_last_3d if self.channels_last else torch.contiguous_format
        return x.to(self.dtype).contiguous(memory_format=layout), weights.to(self.dtype)


FLOAT32 = Case(dtype=torch.float32, shape_THW=(4, 28, 28))
BFLOAT16 = Case(dtype=torch.bfloat16, shape_THW=(4, 28, 28), center=0.5, deviation=1.0)
CASES = {
    "full width": Case(),
    "full width, channels first": Case(channels_last=False),
    "full width, many pieces": Case(shape_THW=(8, 40, 36)),
    "slimmed in a sub-network": Case(channels=7, in_subnet=True),
    "full width in a sub-network": Case(in_subnet=True),
    "no weight, no bias": Case(affine=False),
    "two steps": Case(steps=2),
    "two steps, cumulative average": Case(steps=2, momentum=None),
    "one value per channel and process": Case(videos=1, shape_THW=(1, 1, 1)),
    "float32": FLOAT32,
    "float32, far from zero": dataclasses.replace(FLOAT32, center=1e3, deviation=1.0),
    "float32, far from zero, channels first": dataclasses.replace(
        FLOAT32, center=1e3, deviation=1.0, channels_last=False
    ),
    "bfloat16": BFLOAT16,
    "bfloat16, no weight, no bias": dataclasses.replace(BFLOAT16, affine=False),
}
DOUBLE = [name for name, case in CASES.items() if case.dtype == torch.float64]


# --- in the two processes -------------------------------------------------------------------------------------------


def slim_layer(case: Case) -> SlimBatchNorm3d:
    layer = SlimBatchNorm3d(FEATURES, affine=case.affine, momentum=case.momentum)
    layer.to(torch.float64 if case.dtype == torch.float64 else torch.float32)
    layer.load_state_dict(case.parameters(), strict=False)
    layer.in_subnet = case.in_subnet
    return layer


def train(case: Case, rank: int) -> dict[str, object]:
    layer = slim_layer(case)
    layer.sync_group = dist.group.WORLD
    results: dict[str, object] = {"outputs": [], "gradients": []}
    for step in range(case.steps):
        x, weights = (tensor.chunk(PROCESSES)[rank] for tensor in case.batch(step))
        x = x.clone().requires_grad_()  # keeps the layout
        with torch.autocast("cpu", torch.bfloat16, enabled=case.dtype == torch.bfloat16):
            y = layer(x)
        (y * weights).mean(dtype=torch.promote_types(y.dtype, torch.float32)).backward()
        results["outputs"].append(y.detach())
        results["gradients"].append(x.grad)
    results["parameters"] = {name: parameter.grad for name, parameter in layer.named_parameters()}
    results["buffers"] = dict(layer.named_buffers())
    return results


def train_after_convolution(rank: int) -> torch.Tensor:
    """A convolution's weight gradient, averaged over the processes as DistributedDataParallel does."""
    layer = slim_layer(Case())
    layer.sync_group = dist.group.WORLD
    x, weights = (tensor.chunk(PROCESSES)[rank] for tensor in Case().batch(0))
    convolution = first_convolution()
    (layer(convolution(x)) * weights).mean().backward()
    dist.all_reduce(convolution.weight.grad)
    return convolution.weight.grad / PROCESSES


def first_convolution() -> nn.Conv3d:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Conv3d(FEATURES, FEATURES, 1, bias=False).double()


def frozen_input(rank: int) -> dict[str, torch.Tensor]:
    """The parameters' gradients where x needs none, and outputs without any gradient."""
    layer = slim_layer(Case())
    layer.sync_group = dist.group.WORLD
    x, weights = (tensor.chunk(PROCESSES)[rank] for tensor in Case().batch(0))
    (layer(x) * weights).mean().backward()
    with torch.no_grad():
        return {"weight": layer.weight.grad, "bias": layer.bias.grad, "no_grad": layer(x)}


def alone(rank: int) -> dict[str, torch.Tensor]:
    """Run forwards of one process alone: a collective would wait for the other until its time limit."""
    groups = [dist.new_group([member]) for member in range(PROCESSES)]
    if rank != 0:
        dist.barrier()
        return {}
    x = Case().batch(0)[0]
    layer = slim_layer(Case())
    layer.sync_group = dist.group.WORLD
    results = {"copy": copy.deepcopy(layer)(x)}
    meta_layer = slim_layer(Case()).to("meta")
    meta_layer.sync_group = dist.group.WORLD
    results["meta"] = meta_layer(x.to("meta"))
    results["evaluation"] = layer.eval()(x)
    layer.train().batch_statistics = BatchStatistics()
    results["calibration"] = layer(x)
    layer.batch_statistics, layer.in_subnet = None, True
    layer.statistics = (torch.zeros(7).double(), torch.ones(7).double())
    results["sub-network's evaluation"] = layer.eval()(x[:, :7])
    layer = slim_layer(Case())
    layer.sync_group = groups[0]
    results["group of one"] = layer(x)
    results["group of one, mean"] = layer.running_mean
    dist.barrier()
    return results


def work() -> dict[str, object]:
    """In each of the processes."""
    rank = dist.get_rank()
    results: dict[str, object] = {name: train(case, rank) for name, case in CASES.items()}
    results["after a convolution"] = train_after_convolution(rank)
    results["frozen input"] = frozen_input(rank)
    results["alone"] = alone(rank)
    return results


# --- in the test's own process --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results() -> list[dict]:
    return in_processes("tests.ops.test_sync_norm", "work", PROCESSES)


def joined(results: list[dict], name: str, key: str, step: int) -> torch.Tensor:
    return torch.cat([of_process[name][key][step] for of_process in results])


def reference(case: Case) -> dict[str, object]:
    """nn.BatchNorm3d of the case's width, in float64, on the joined batches."""
    layer = nn.BatchNorm3d(case.channels, affine=case.affine, momentum=case.momentum).double()
    small = {name: values[: case.channels] for name, values in case.parameters().items()}
    if case.dtype != torch.float64:
        small = {name: values.float().double() for name, values in small.items()}
    layer.load_state_dict(small, strict=False)
    expected: dict[str, object] = {"outputs": [], "gradients": []}
    for step in range(case.steps):
        x, weights = (tensor.double() for tensor in case.batch(step))
        x = x.clone().requires_grad_()
        y = layer(x)
        (y * weights).mean().backward()
        expected["outputs"].append(y.detach())
        expected["gradients"].append(x.grad)
    expected["parameters"] = {name: parameter.grad for name, parameter in layer.named_parameters()}
    expected["buffers"] = dict(layer.named_buffers())
    return expected


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, as a fraction of the largest value expected."""
    assert got.shape == expected.shape
    return float((got.double() - expected).abs().max() / expected.abs().max())


def averaged(results: list[dict], name: str) -> dict[str, torch.Tensor]:
    gradients = [of_process[name]["parameters"] for of_process in results]
    return {key: torch.stack([of_one[key] for of_one in gradients]).mean(0) for key in gradients[0]}


@pytest.mark.parametrize("name", DOUBLE)
def test_two_processes_equal_the_joined_batch(results, name):
    case, expected = CASES[name], reference(CASES[name])
    for step in range(case.steps):
        assert relative_error(joined(results, name, "outputs", step), expected["outputs"][step]) < 1e-12
        # The gradient of both processes' losses, each a mean over half the batch: twice that of the joined mean.
        gradients = joined(results, name, "gradients", step)
        # Two values become -1 and 1 but for eps, whatever they are: hardly a gradient is left.
        bound = 1e-9 if case.shape_THW == (1, 1, 1) else 1e-12
        assert relative_error(gradients / PROCESSES, expected["gradients"][step]) < bound
    averages = averaged(results, name)
    assert set(averages) == ({"weight", "bias"} if case.affine else set())
    for key, gradient in averages.items():
        assert relative_error(gradient[: case.channels], expected["parameters"][key]) < 1e-12
        assert gradient[case.channels :].abs().sum() == 0


@pytest.mark.parametrize("name", DOUBLE)
def test_tracked_statistics_are_the_joined_batchs_and_untouched_in_a_subnet(results, name):
    case, expected = CASES[name], reference(CASES[name])["buffers"]
    for of_process in results:
        buffers = of_process[name]["buffers"]
        if case.in_subnet:
            assert buffers["num_batches_tracked"] == 0
            for key in ("running_mean", "running_var"):
                assert torch.equal(buffers[key], case.parameters()[key])
        else:
            assert buffers["num_batches_tracked"] == case.steps
            for key in ("running_mean", "running_var"):
                assert relative_error(buffers[key], expected[key]) < 1e-12
    for key in ("running_mean", "running_var"):
        assert torch.equal(*(of_process[name]["buffers"][key] for of_process in results))


@pytest.mark.parametrize(
    ("name", "output_bound", "gradient_bound"),
    [
        ("float32", 1e-6, 1e-6),
        ("float32, far from zero", 1e-4, 1e-4),
        ("float32, far from zero, channels first", 1e-4, 1e-4),
    ],
)
def test_float32_is_sound_far_from_zero(results, name, output_bound, gradient_bound):
    expected = reference(CASES[name])
    assert relative_error(joined(results, name, "outputs", 0), expected["outputs"][0]) < output_bound
    gradients = joined(results, name, "gradients", 0)
    assert relative_error(gradients / PROCESSES, expected["gradients"][0]) < gradient_bound
    for key, gradient in averaged(results, name).items():
        assert relative_error(gradient, expected["parameters"][key]) < gradient_bound * 10
    buffers = results[0][name]["buffers"]
    assert relative_error(buffers["running_mean"], expected["buffers"]["running_mean"]) < 1e-5
    assert relative_error(buffers["running_var"], expected["buffers"]["running_var"]) < 1e-5


@pytest.mark.parametrize("name", ["bfloat16", "bfloat16, no weight, no bias"])
def test_bfloat16_is_rounded_once(results, name):
    expected = reference(CASES[name])
    y, gradients = joined(results, name, "outputs", 0), joined(results, name, "gradients", 0)
    assert y.dtype == gradients.dtype == torch.bfloat16
    assert relative_error(y, expected["outputs"][0]) < 2**-8
    assert relative_error(gradients / PROCESSES, expected["gradients"][0]) < 2**-7  # the loss's own product is rounded
    for key, gradient in averaged(results, name).items():
        assert gradient.dtype == torch.float32
        assert relative_error(gradient, expected["parameters"][key]) < 2**-7
    buffers = results[0][name]["buffers"]
    assert buffers["running_var"].dtype == torch.float32
    assert relative_error(buffers["running_mean"], expected["buffers"]["running_mean"]) < 1e-5
    assert relative_error(buffers["running_var"], expected["buffers"]["running_var"]) < 1e-5
    # Batch norm takes a channel's mean out of the gradient; in bfloat16 all the way it would stay in.
    means = gradients.double().mean((0, 2, 3, 4)).abs() / gradients.double().abs().mean((0, 2, 3, 4))
    assert means.max() < 1e-4


@pytest.mark.parametrize("name", list(CASES))
def test_the_memory_format_stays(results, name):
    layout = torch.channels_last_3d if CASES[name].channels_last else torch.contiguous_format
    for of_process in results:
        for tensor in of_process[name]["outputs"] + of_process[name]["gradients"]:
            assert tensor.is_contiguous(memory_format=layout)


def test_averaged_gradients_behind_the_norm_are_the_joined_batchs(results):
    layer, convolution = nn.BatchNorm3d(FEATURES).double(), first_convolution()
    layer.load_state_dict(Case().parameters(), strict=False)
    x, weights = Case().batch(0)
    (layer(convolution(x)) * weights).mean().backward()
    for of_process in results:
        assert relative_error(of_process["after a convolution"], convolution.weight.grad) < 1e-12


def test_an_input_that_needs_no_gradient(results):
    expected = reference(Case())
    for key in ("weight", "bias"):
        gradient = torch.stack([of_process["frozen input"][key] for of_process in results]).mean(0)
        assert relative_error(gradient, expected["parameters"][key]) < 1e-12
    y = torch.cat([of_process["frozen input"]["no_grad"] for of_process in results])
    assert relative_error(y, expected["outputs"][0]) < 1e-12


def test_one_process_alone_may_evaluate_calibrate_and_dry_run(results):
    got, x = results[0]["alone"], Case().batch(0)[0]
    ordinary = nn.BatchNorm3d(FEATURES).double()
    ordinary.load_state_dict(Case().parameters(), strict=False)
    assert torch.equal(got["evaluation"], ordinary.eval()(x))
    assert torch.equal(got["group of one"], ordinary.train()(x))
    assert torch.equal(got["group of one, mean"], ordinary.running_mean)
    torch.testing.assert_close(got["calibration"], ordinary(x), rtol=1e-12, atol=1e-12)
    slim = slim_layer(Case())
    weight_C, bias_C = slim.weight[:7, None, None, None], slim.bias[:7, None, None, None]
    by_hand = x[:, :7] / (1 + slim.eps) ** 0.5 * weight_C + bias_C
    torch.testing.assert_close(got["sub-network's evaluation"], by_hand, rtol=1e-12, atol=1e-12)
    assert got["meta"].shape == x.shape


def test_a_deep_copy_is_of_no_group(results):
    ordinary = nn.BatchNorm3d(FEATURES).double()
    ordinary.load_state_dict(Case().parameters(), strict=False)
    assert torch.equal(results[0]["alone"]["copy"], ordinary(Case().batch(0)[0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_group_it_is_torchs_own(dtype):
    case = Case(dtype=dtype)
    slim, ordinary = slim_layer(case), nn.BatchNorm3d(FEATURES).to(dtype)
    ordinary.load_state_dict(slim.state_dict())
    assert SlimBatchNorm3d.sync_group is None
    x, weights = case.batch(0)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    for _ in range(2):
        ya, yb = slim(a), ordinary(b)
        (ya * weights).mean().backward()
        (yb * weights).mean().backward()
        assert torch.equal(ya, yb)
    assert torch.equal(a.grad, b.grad)
    assert torch.equal(slim.weight.grad, ordinary.weight.grad)
    assert torch.equal(slim.bias.grad, ordinary.bias.grad)
    assert all(
        torch.equal(p, q) for p, q in zip(slim.state_dict().values(), ordinary.state_dict().values(), strict=True)
    )
