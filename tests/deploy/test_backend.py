"""The base of the back ends: features that a store's networks have not, and files that give something else."""

from __future__ import annotations

import pytest
import torch

from mutualnet3d.deploy.backend import Backend
from mutualnet3d.deploy.backends import OnnxRuntime, PyTorch
from mutualnet3d.deploy.bundle import Bundle
from mutualnet3d.deploy.bundled_network import BundledNetwork
from mutualnet3d.deploy.clip_network import random_clips
from tests.deploy.networks import CLASS_NAMES, HOW, SMALL

CPU = torch.device("cpu")


def bundle_of(features=None, has_checkpoint=False):
    """Return a bundle of which no file is there."""
    files = {"onnx": "networks/a.onnx"}
    network = BundledNetwork(0.1, 7, (SMALL.clip_shape,), files, features=features)
    return Bundle("bundle", {SMALL: network}, HOW, CLASS_NAMES, None, has_checkpoint, {})


class Short(Backend):
    """Back end of "files" that give three values of each view."""

    name, format = "short", "onnx"

    def _make(self, config, features=False):
        return lambda clips: torch.zeros(len(clips[0]), 3)


def test_a_bundle_without_features_says_what_to_do():
    text = r"bundle: its onnx network of w0\.5-s48-t2 gives logits alone, no features; export with --features .*"
    with pytest.raises(ValueError, match=rf"{text}give any\)$"):
        OnnxRuntime(bundle_of(), CPU, 1).forward(SMALL, features=True)
    with pytest.raises(ValueError, match=f"{text}, or take back end pytorch$"):
        OnnxRuntime(bundle_of(has_checkpoint=True), CPU, 1).forward(SMALL, features=True)


def test_files_that_give_something_else_are_refused():
    backend, clips = Short(bundle_of(features=4), CPU, 1), random_clips((SMALL.clip_shape,), 2)
    with pytest.raises(
        ValueError, match=r"a\.onnx: the network gives \(2, 3\) for 2 views; expected features of length 4"
    ):
        backend.forward(SMALL, features=True)(clips)
    with pytest.raises(ValueError, match=r"a\.onnx: .* \(2, 3\) for 2 views; expected logits of 7 classes of each"):
        backend.forward(SMALL)(clips)
    assert Short(bundle_of(features=3), CPU, 1).forward(SMALL, features=True)(clips).shape == (2, 3)


def test_maps_are_pytorchs(networks):
    with pytest.raises(ValueError, match="back end onnxruntime gives no maps of layers; PyTorch does"):
        OnnxRuntime(networks, CPU, 1).map_forward(SMALL, "blocks.4")
    maps = PyTorch(networks, CPU, 1).map_forward(SMALL, "blocks.4")(random_clips(networks.shapes(SMALL), 2))
    assert maps.shape == (2, 48, 2, 2, 2)
    assert maps.is_contiguous()
