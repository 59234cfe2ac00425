"""Networks out of a model file, in the forms that back ends take."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from mutualnet3d.deploy.networks import CONVERTERS, to_onnx
from tests.deploy.networks import FULL, SMALL, source_of


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return source_of("x3d", tmp_path_factory.mktemp("source"))


def test_sub_networks_are_ordered_by_their_costs(source):
    assert source.configs == (FULL, SMALL)
    assert repr(source) == f"<CheckpointNetworks: {source.path}: 2 sub-networks, 7 classes>"
    assert source.gflops(FULL) > source.gflops(SMALL) > 0
    assert source.formats(SMALL) == {"pytorch", "openvino", "onnx"}
    assert source.formats(SMALL.__class__(0.7, 48, 2)) == frozenset()
    assert (source.modules("onnx"), source.modules("pytorch")) == (CONVERTERS, ())
    assert source.network() is source.network()
    assert not source.network().training


@pytest.mark.slow
def test_an_onnx_model_says_nothing_of_this_machine(source):
    """The exporter notes the stack trace of every operation, with the paths of the source files."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra [deploy])")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra [deploy])")
    content = source.onnx(SMALL)
    assert source.onnx(SMALL) is content  # two back ends ask for it
    model = onnx.load_from_string(content)
    assert len(model.graph.node) > 20
    assert not any(node.metadata_props for node in model.graph.node)
    assert os.path.dirname(torch.__file__).encode() not in content
    assert os.path.dirname(os.path.dirname(os.path.abspath(__file__))).encode() not in content
    assert [output.name for output in model.graph.output] == ["logits"]


def test_a_missing_converter_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"^onnx(script)? is not installed: pip install 'mutualnet3d\[deploy\]'"
    ):
        to_onnx(None, 1)
