from __future__ import annotations

import pytest

from mutualnet3d.deploy.bundled_network import BundledNetwork
from mutualnet3d.shapes import ClipShape

VALUES = {
    "gflops": 0.5,
    "params": 7,
    "inputs": [[2, 32, 32, 3]],
    "files": {"onnx": "networks/a.onnx", "openvino": "networks/a.xml"},
    "differences": {"onnx": 1e-6},
}


def test_json_and_back():
    network = BundledNetwork.from_json(VALUES, "here")
    assert network.inputs == (ClipShape(2, 32),)
    assert network.to_json() == VALUES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gflops": 10**400}, "here: gflops is beyond"),
        ({"params": float("nan")}, "here: params is nan"),
        ({"inputs": [[2, 32, 16, 3]]}, r"here: inputs is .*; it must be \(T, S, S, 3\)"),
        ({"inputs": [[10**400, 32, 32, 3]]}, "here: inputs: a clip of .* has more than 1024 MB"),
        ({"inputs": [[10**6, 10**4, 10**4, 3]]}, "here: inputs: a clip of .* has more than 1024 MB"),
        ({"files": {"exe": "networks/a.exe"}}, r"here: files has 'exe': 'networks/a\.exe'; allowed: onnx \(\*\.onnx\)"),
        ({"files": {"openvino": "networks/a.onnx"}}, r"here: files has 'openvino': 'networks/a\.onnx'; allowed"),
        ({"files": {"onnx": "networks/a.ort"}}, r"here: files has 'onnx': 'networks/a\.ort'; allowed"),
    ],
)
def test_values_that_are_none_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        BundledNetwork.from_json({**VALUES, **change}, "here")
