"""Pooled vectors and maps: what a hook by hand takes, at every width, of networks of every kind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mutualnet3d as m3
from mutualnet3d.models.features import (
    FeatureNet,
    check_layer,
    classifier_name,
    layer_maps,
    map_shapes,
    pooled_vectors,
    vector_length,
)
from tests.deploy.networks import FULL, SMALL, short
from tests.models.families import calibrated, clips, relative

OWN = m3.SubnetConfig(0.5, 16, 4)


class Own(nn.Module):
    """Network whose classifier is a convolution over a map that is averaged afterwards, as S3D's is."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv3d(3, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU(inplace=True)
        self.classifier = nn.Conv3d(16, 5, 1)

    def forward(self, x):
        return self.classifier(self.relu(self.norm(self.conv(x)))).mean(dim=(2, 3, 4))


class Two(Own):
    """Network with two classifiers, whose logits are added up."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(16, 5)

    def forward(self, x):
        x = self.relu(self.norm(self.conv(x)))
        return self.classifier(x).mean(dim=(2, 3, 4)) + self.other(x.mean(dim=(2, 3, 4)))


@pytest.fixture(scope="module")
def own():
    return calibrated(m3.make_slimmable(Own(), (4, 16)).eval(), OWN)


@pytest.mark.parametrize(
    ("family", "name", "lengths"),
    [
        ("x3d", "blocks.5.proj", (64, 64)),
        pytest.param("slow", "blocks.5.proj", (512, 256), marks=pytest.mark.slow),
        pytest.param("slowfast", "blocks.6.proj", (576, 320), marks=pytest.mark.slow),
    ],
)
def test_vectors_are_what_the_classifier_reads(family, name, lengths):
    model = calibrated(short(family), FULL, SMALL)
    assert classifier_name(model) == name
    classifier = model.get_submodule(name)
    for config, length in zip((FULL, SMALL), lengths, strict=True):
        read = []
        given = clips(model, config)
        hook = classifier.register_forward_hook(lambda layer, args, output: read.append(args[0]))  # noqa: B023
        with torch.no_grad(), model.active(config):
            logits_BK = model(given)
            hook.remove()
            vector_BC = pooled_vectors(model, given)
            again_BK = classifier(vector_BC)
        assert vector_BC.shape == (len(logits_BK), length)
        assert vector_length(model, config) == length
        assert torch.equal(vector_BC, read[0].flatten(1))
        assert relative(again_BK, logits_BK) < 1e-5
    assert not classifier._forward_pre_hooks


def test_a_convolution_as_classifier(own):
    clip = [torch.randn(3, 3, 4, 16, 16)]
    with torch.no_grad(), own.active(OWN):
        vector_BC, logits_BK = pooled_vectors(own, clip), own(clip)
        again_BK = own.get_submodule("classifier")(vector_BC[:, :, None, None, None]).flatten(1)
    assert vector_BC.shape == (3, vector_length(own, OWN)) == (3, 8)
    assert relative(again_BK, logits_BK) < 1e-5
    extracted = FeatureNet(own.extract(OWN, fold_norms=True), "classifier")
    with torch.no_grad():
        logits, vectors = extracted(clip)
    assert relative(logits, logits_BK) < 1e-5
    assert relative(vectors, vector_BC) < 1e-5


def test_a_network_without_one_classifier():
    model = m3.make_slimmable(Two().eval(), (4, 16))
    with pytest.raises(ValueError, match=r"no pooled vector, .*: classifier, other give its logits together; ask for"):
        classifier_name(model)


def test_maps_are_not_written_into_by_the_next_layer(own):
    clip = [torch.randn(2, 3, 4, 16, 16)]
    with torch.no_grad(), own.active(OWN):
        map_BCTHW = layer_maps(own, clip, "norm")  # before a ReLU in place
        after = layer_maps(own, clip, "relu")
    assert map_BCTHW.min() < 0
    assert torch.equal(map_BCTHW.relu(), after)
    shapes = map_shapes(own, OWN)
    assert list(shapes.items()) == [
        ("conv", (8, 4, 16, 16)),
        *((name, (8, 4, 16, 16)) for name in ("norm", "relu")),
        ("classifier", (5, 4, 16, 16)),
    ]
    check_layer(own, OWN, "relu")
    with pytest.raises(
        ValueError,
        match=r"no layer 'conv1' that gives .*; similar names: conv; layers of w0\.5-s16-t4: conv \(8 x 4 x 16 x 16\)",
    ):
        check_layer(own, OWN, "conv1")
