from __future__ import annotations

import importlib
import logging
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from mutualnet3d.deploy import quantize as quantize_module
from mutualnet3d.deploy.backends import CHOICES, OpenVINOInt8
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.export import ParityError, eager_logits, export
from mutualnet3d.deploy.networks import openvino_core
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.deploy.quantize import QuantizedNetworks, load_nncf, quantize
from mutualnet3d.extras import installed
from mutualnet3d.results.query_table import QueryTable
from tests.deploy.networks import FULL, SMALL, source_of

pytest.importorskip("onnx", reason="onnx is not installed (extra [deploy])")
pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
# Not by importing it here: that would make files for its statistics.
pytestmark = [
    pytest.mark.skipif(not installed("nncf"), reason="nncf is not installed (extra [deploy])"),
    pytest.mark.slow,  # to quantise takes seconds
]

CPU = torch.device("cpu")
FRAMES = np.zeros((8, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny X3D of two sub-networks."""
    with torch.random.fork_rng(devices=[]):
        return source_of("x3d", tmp_path_factory.mktemp("quantized"))


@pytest.fixture(scope="module")
def float32_models(source):
    """The two sub-networks in float32."""
    return {config: source.openvino(config) for config in (FULL, SMALL)}


@pytest.fixture(scope="module")
def quantized(source, float32_models):
    """The source that has them in int8 too, and whose table knows the accuracy."""
    models = {config: quantize(model, clips_of(source, config)) for config, model in float32_models.items()}
    return QuantizedNetworks(source, models, with_int8(source.table, 0.5, 0.25))


def clips_of(source, config):
    """Two batches, of seven clips and of one."""
    return [random_clips(source.shapes(config), number, seed=number) for number in (7, 1)]


def with_int8(table, *losses):
    """Return the test's rows, and rows with points of top-1 lost in int8, one by one; None: not known."""
    rows = [
        replace(row, backend=OpenVINOInt8.name, milliseconds=1.0, top1=row.top1 - loss, top5=row.top5 - loss)
        for row, loss in zip(table.default_rows, losses, strict=True)
        if loss is not None
    ]
    return QueryTable((*table.default_rows, *rows), {**table.context, "backend": "pytorch"})


def with_table(quantized, table):
    return QuantizedNetworks(quantized, quantized._models, table)


def inputs_of(node):
    return [port.get_source_output().get_node() for port in node.inputs()]


def is_int8(node):
    """Return True if both sides of a product are quantised: weights are int8, or (depthwise) rounded in use."""
    value, weights = inputs_of(node)
    while value.get_type_name() in ("Transpose", "Reshape"):
        value = inputs_of(value)[0]
    while weights.get_type_name() in ("Multiply", "Convert", "Reshape"):
        weights = inputs_of(weights)[0]
    are_int8 = weights.get_type_name() == "FakeQuantize" or weights.get_element_type().get_type_name() == "i8"
    return value.get_type_name() == "FakeQuantize" and are_int8


def products_of(model):
    return [node for node in model.get_ops() if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul")]


def test_products_are_in_int8(float32_models, quantized):
    products = products_of(quantized.openvino(SMALL, int8=True))
    outside = [node for node in products if not is_int8(node)]
    # Those of squeeze and excitation: one after a mean, one after its ReLU.
    assert sorted(inputs_of(node)[0].get_type_name() for node in outside) == 4 * ["ReduceMean"] + 4 * ["Relu"]
    assert len(products) == len(products_of(float32_models[SMALL])) == 29
    assert not any(node.get_type_name() == "FakeQuantize" for node in float32_models[SMALL].get_ops())


def test_inputs_keep_their_order():
    """A network of two pathways: the sum of what each one's pixels are worth."""
    ops = importlib.import_module("openvino").opset13
    inputs = [ops.parameter([-1, frames, 8, 8, 3], np.uint8, name) for frames, name in ((2, "slow"), (4, "fast"))]
    generator = np.random.default_rng(0)
    parts = []
    for clip in inputs:
        size = int(np.prod(clip.get_partial_shape().get_min_shape()[1:]))
        flat = ops.reshape(ops.convert(clip, np.float32), np.array([0, size]), special_zero=True)
        parts.append(ops.matmul(flat, generator.standard_normal((size, 5)).astype(np.float32), False, False))
    model = importlib.import_module("openvino").Model([ops.add(*parts)], inputs, "two")
    batches = [[torch.randint(0, 256, (4, frames, 8, 8, 3), dtype=torch.uint8) for frames in (2, 4)] for _ in range(2)]
    quantised = quantize(model, batches)
    run, run_int8 = (openvino_core().compile_model(version, "CPU") for version in (model, quantised))
    expected, got = (
        next(iter(compiled([clip.numpy() for clip in batches[0]]).values())) for compiled in (run, run_int8)
    )
    assert [is_int8(node) for node in products_of(quantised)] == [True, True]
    # Under 0.02 on CPUs with VNNI; 0.026 on one with AVX2 alone, which adds products otherwise.
    assert 0 < abs(got - expected).max() < 0.05 * abs(expected).max()


def test_logits_are_close_and_not_rounded(quantized):
    backend = OpenVINOInt8(quantized, CPU, 1)
    for config in (FULL, SMALL):
        clips = random_clips(quantized.shapes(config), 4, seed=5)
        got, expected = backend.forward(config)(clips), eager_logits(quantized, config, clips)
        assert 0 < (got - expected).abs().max() < 0.1 * expected.abs().max()
        node = quantized.openvino(config, int8=True).get_results()[0]
        while node.get_type_name() != "MatMul":
            node = inputs_of(node)[0]
            assert node.get_type_name() != "FakeQuantize"


def test_clips_that_the_model_does_not_take(float32_models, quantized):
    model = float32_models[SMALL]
    with pytest.raises(ValueError, match="no clips to calibrate int8 with; give some training clips"):
        quantize(model, [])
    message = r"the model takes clips uint8 \(B, 2, 48, 48, 3\); got "
    with pytest.raises(ValueError, match=message + r"uint8 \(1, 4, 64, 64, 3\)"):
        quantize(model, [random_clips(quantized.shapes(FULL), 1)])
    with pytest.raises(ValueError, match=message + r"float32 \(1, 2, 48, 48, 3\)"):
        quantize(model, [[torch.zeros(1, 2, 48, 48, 3)]])
    with pytest.raises(ValueError, match=message + r"uint8 .*, uint8 "):
        quantize(model, [2 * random_clips(quantized.shapes(SMALL), 1)])


def test_says_nothing_sends_nothing_and_does_the_same_again(float32_models, quantized, monkeypatch, capfd):
    sent = []

    class Sends:
        def __getattr__(self, name):
            return lambda *args, **kwargs: sent.append(name)

    load_nncf()
    decorator = importlib.import_module("nncf.telemetry.decorator")
    sends, level = Sends(), logging.getLogger("nncf").level
    monkeypatch.setattr(decorator, "telemetry", sends)
    (clips,) = zip(*clips_of(quantized, SMALL), strict=True)
    again = quantize(float32_models[SMALL], [[torch.cat(clips)]])  # however they are batched
    assert sent == []
    assert capfd.readouterr() == ("", "")
    assert decorator.telemetry is sends
    assert logging.getLogger("nncf").level == level
    assert not importlib.import_module("rich").get_console().quiet
    sources, clips = (quantized, QuantizedNetworks(quantized, {SMALL: again})), random_clips(quantized.shapes(SMALL), 2)
    assert torch.equal(*(OpenVINOInt8(networks, CPU, 1).forward(SMALL)(clips) for networks in sources))


def test_everyones_loggers_stay_what_they_are(monkeypatch):
    class OtherLogger(logging.Logger): ...

    before = logging.getLoggerClass()
    monkeypatch.setattr(quantize_module, "require", lambda name: logging.setLoggerClass(OtherLogger) or name)
    assert load_nncf() == "nncf"
    assert logging.getLoggerClass() is before


def test_without_nncf(float32_models, quantized, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ModuleNotFoundError, match=r"^nncf is not installed: pip install 'mutualnet3d\[deploy\]'$"):
        quantize(float32_models[SMALL], clips_of(quantized, SMALL))


# ---- the predictor ---------------------------------------------------------------------------------------------------


def test_budgets_are_met_by_the_accuracy_of_int8(quantized):
    """The small sub-network loses nothing, the full one two points: it is the worse one now."""
    predictor = Predictor(
        with_table(quantized, with_int8(quantized.table, 2.0, 0.0)), backend="openvino-int8", threads=1
    )
    assert [(row.config, row.top1, row.top5) for row in predictor.table.rows] == [(FULL, 88, 97), (SMALL, 89, 99)]
    assert {row.backend for row in predictor.table.rows} == {"openvino-int8"}
    got = predictor.predict(FRAMES, gflops=quantized.gflops(FULL))
    assert (got.config, got.row.top1, got.backend) == (SMALL, 89.0, "openvino-int8")
    assert predictor.predict(FRAMES, config=FULL).row.top1 == 88.0
    (point,) = predictor.points()
    assert (point.config, point.top1) == (SMALL, 89.0)
    assert predictor.predict(FRAMES, milliseconds=1e6).row == point


def test_sub_networks_without_an_accuracy_in_int8_are_left_out(quantized):
    predictor = Predictor(
        with_table(quantized, with_int8(quantized.table, None, 0.0)), backend="openvino-int8", threads=1
    )
    assert [row.config for row in predictor.table.rows] == [SMALL]
    assert predictor.predict(FRAMES, gflops=quantized.gflops(FULL)).config == SMALL
    assert predictor.predict(FRAMES).row is None  # it runs if it is asked for
    unknown = Predictor(
        with_table(quantized, with_int8(quantized.table, None, None)), backend="openvino-int8", threads=1
    )
    assert unknown.predict(FRAMES, config=SMALL).row is None
    for budget in ({"gflops": 1.0}, {"milliseconds": 1e6}):
        with pytest.raises(
            ValueError,
            match=r"has no rows of back end openvino-int8 with 1 x 1 .*; a budget needs accuracies \(`mutualnet3d exp",
        ):
            unknown.predict(FRAMES, **budget)


def test_a_sub_network_that_is_not_there_in_int8(quantized):
    some = QuantizedNetworks(quantized, {FULL: quantized._models[FULL]})
    predictor = Predictor(some, backend="openvino-int8", threads=1)
    with pytest.raises(ValueError, match=r"calibrated\.pyth has no openvino-int8 network of w0\.5-s48-t2"):
        predictor.predict(FRAMES, config=SMALL)


@pytest.mark.parametrize(
    ("losses", "problem"),
    [
        ((0.5, 0.5), None),
        ((-1.0, 0.0), None),
        ((0.5, 0.6), r"openvino-int8 costs w0\.5-s48-t2 0\.60 points of top-1"),  # it may be the next one that is run
        ((0.75, 0.0), r"openvino-int8 costs w1\.0-s64-t4 0\.75 points of top-1"),
        ((0.0, None), r"the query table has no accuracy of w0\.5-s48-t2 on openvino-int8"),
    ],
)
def test_fast_takes_int8_where_it_is_known_to_cost_next_to_nothing(quantized, monkeypatch, losses, problem):
    monkeypatch.setitem(CHOICES, "fast", ("openvino-int8", "pt2"))  # of which it has none
    networks = with_table(quantized, with_int8(quantized.table, *losses))
    if problem is None:
        predictor = Predictor(networks, backend="fast", threads=1)
        assert predictor.backend == "openvino-int8"
        got = predictor.predict(FRAMES, config=FULL)
        assert (got.backend, got.row.top1) == ("openvino-int8", 90.0 - losses[0])
    else:
        with pytest.raises(ValueError, match=rf"no back end can run {FULL} here: openvino-int8: {problem}"):
            Predictor(networks, backend="fast", threads=1)


# ---- the bundle ------------------------------------------------------------------------------------------------------


def test_a_bundle_has_them_and_their_accuracy(quantized, tmp_path):
    bundle = export(
        quantized, str(tmp_path / "bundle"), formats=["pytorch"], int8=quantized._models, table=quantized.table
    )
    assert bundle.table == quantized.table
    for config in (FULL, SMALL):
        assert bundle.networks[config].files == {"openvino-int8": f"networks/{config}-int8.xml"}
        assert 0 < bundle.networks[config].differences["openvino-int8"] < 0.1
        clips = random_clips(bundle.shapes(config), 2, seed=3)
        of_bundle, of_source = (
            OpenVINOInt8(networks, CPU, 1).forward(config)(clips) for networks in (bundle, quantized)
        )
        assert torch.equal(of_bundle, of_source)
    predictor = Predictor(bundle, backend="openvino-int8", threads=1)
    assert predictor.predict(FRAMES, gflops=quantized.gflops(FULL)).row.top1 == 89.5


def test_int8_that_gives_no_numbers_is_not_exported(quantized, tmp_path, monkeypatch):
    def forward(backend, config):
        return lambda clips: torch.full((len(clips[0]), len(quantized.class_names)), torch.nan)

    monkeypatch.setattr(OpenVINOInt8, "forward", forward)
    with pytest.raises(ParityError, match=r"w0\.5-s48-t2 as openvino-int8, 2 clips at once: a difference of nan"):
        export(quantized, str(tmp_path / "bundle"), [SMALL], ["pytorch"], int8=quantized._models)
    assert list(tmp_path.iterdir()) == []
