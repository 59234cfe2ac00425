"""Maps of videos: of a network by hand whose classes are colours, and of the tests' X3D."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import mutualnet3d as m3
from mutualnet3d.deploy.map_predictor import class_number
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.shapes import ClipShape, SubnetConfig
from tests.deploy.networks import FULL, HOW, SMALL

CLASSES = ("red", "green", "blue")


class ColourNetwork(nn.Module):
    """Score of a class: how much of its colour there is. A feature is a colour, above the clip's usual brightness, of
    4 x 4 pixels of one frame."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Conv3d(3, 3, (1, 4, 4), stride=(1, 4, 4))
        self.activation = nn.ReLU()
        self.classifier = nn.Linear(3, 3)
        with torch.no_grad():
            self.mean.weight.zero_()
            for channel in range(3):
                self.mean.weight[channel, channel] = 1 / 16
            self.mean.bias.fill_(-1.0)
            self.classifier.weight.copy_(torch.eye(3))
            self.classifier.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.activation(self.mean(x)).mean(dim=(2, 3, 4)))


@pytest.fixture(scope="module")
def colours():
    """Predictor of the colours of clips of 4 frames of 64 pixels."""
    model = m3.make_slimmable(ColourNetwork(), ClipShape(4, 64), fixed=["mean"])
    return Predictor(CheckpointNetworks("by hand", model, HOW, CLASSES, None), backend="pytorch")


@pytest.fixture(scope="module")
def coloured_frames():
    """A second of grey, 64 x 96: red above on the left of the middle square until half of it, blue below on the right
    from then on."""
    frames = np.full((24, 64, 96, 3), 60, np.uint8)
    frames[:12, :32, 16:48, 0] = 255
    frames[12:, 32:, 48:80, 2] = 255
    return frames


def mass(map_TSS, frames, rows, columns):
    """Return the part of a map that is in some frames, rows and columns."""
    return float(map_TSS[frames, rows, columns].sum() / map_TSS.sum())


def test_a_map_is_where_and_when_the_class_is(colours, coloured_frames):
    red = colours.activation_map(coloured_frames, label="red", fps=24)
    early, late, first, second = slice(0, 2), slice(2, 4), slice(0, 32), slice(32, 64)
    assert red.layer == "activation"
    assert red.map_TSS.shape == (4, 64, 64)
    assert red.map_TSS.max() == 1.0
    assert mass(red.map_TSS, early, first, first) > 0.8
    assert mass(red.map_TSS, late, second, second) < 0.01
    blue = colours.activation_map(coloured_frames, label=2, fps=24)
    assert (blue.label.name, blue.label.index) == ("blue", 2)
    assert mass(blue.map_TSS, late, second, second) > 0.8
    # Nothing is green.
    assert colours.activation_map(coloured_frames, label="green", fps=24).map_TSS.max() == 0.0
    # The clip of 8 frames' time lies in the middle of the second, the square in the middle of the picture.
    assert red.indices.tolist() == [8, 10, 12, 15]
    assert red.seconds == pytest.approx(red.indices / 24)
    assert red.box == pytest.approx((0.0, 16 / 96, 1.0, 80 / 96))


def test_it_is_drawn_where_it_is_in_the_whole_picture(colours, coloured_frames):
    red = colours.activation_map(coloured_frames, label="red", fps=24)
    grey = np.full((64, 96, 3), 60, np.uint8)
    drawn = red.draw_on(grey, red.seconds[0]).astype(int)
    assert (drawn[8:24, 24:40].sum(axis=-1) > 400).all()
    assert (drawn[40:60, 52:76] == 60).all()


@pytest.mark.parametrize(("config", "views"), [(FULL, 1), (SMALL, (2, 3))], ids=str)
def test_labels_are_those_of_a_prediction(config, views, networks, video):
    predictor = Predictor(networks, backend="pytorch")
    predicted = predictor.predict(video, config=config, views=views, top=3)
    looked = predictor.activation_map(video, config=config, views=views, top=3)
    assert [label.index for label in looked.labels] == [label.index for label in predicted.labels]
    scores = [label.score for label in predicted.labels]
    assert [label.score for label in looked.labels] == pytest.approx(scores, rel=1e-4)
    assert looked.label == looked.labels[0]
    assert (looked.config, looked.views, looked.backend, looked.row) == (
        predicted.config,
        predicted.views,
        "pytorch",
        predicted.row,
    )
    np.testing.assert_array_equal(looked.frames, predicted.frames)
    assert looked.map_TSS.shape == (config.frames, config.size, config.size)
    assert looked.map_TSS.dtype == np.float32
    assert 0.0 <= looked.map_TSS.min() <= looked.map_TSS.max() <= 1.0
    third = predictor.activation_map(video, config=config, views=views, label=predicted.labels[2].name)
    assert third.label.index == predicted.labels[2].index
    assert third.label.score == pytest.approx(scores[2], rel=1e-4)


def test_a_layer_can_be_named_and_the_chosen_ones_are_prepared(networks, video):
    predictor = Predictor(networks, backend="pytorch")
    predictor.prepare_maps([FULL, SMALL])
    chosen = {config: layer.name for (config, _), layer in predictor._map_layers.items()}
    assert chosen == {FULL: "blocks.5.pool.pre_act", SMALL: "blocks.5.pool.pre_act"}
    assert predictor.activation_map(video, config=SMALL, layer="blocks.3").layer == "blocks.3"
    with pytest.raises(ValueError, match="the network has no layer 'none'"):
        predictor.activation_map(video, config=SMALL, layer="none")


def test_an_exported_network_has_no_maps(networks, video, monkeypatch):
    predictor = Predictor(networks, backend="pytorch")
    assert predictor.has_maps(SMALL)
    read = predictor.read(video, config=SMALL)
    monkeypatch.setattr(networks, "formats", lambda config: frozenset({"onnx"}))
    assert not predictor.has_maps(SMALL)
    message = r"calibrated\.pyth has no PyTorch network of w0\.5-s48-t2, and an exported one has no activation maps: "
    with pytest.raises(ValueError, match=message):
        predictor.map_clips(read)
    with pytest.raises(ValueError, match=message):
        predictor.prepare_maps([SMALL])


@pytest.mark.parametrize("label", ["Red", 3, -1, True])
def test_unknown_classes_are_refused(label):
    message = rf"label is {label!r}; allowed: the name of a class, or its number from 0 to 2; similar names: "
    with pytest.raises(ValueError, match=message):
        class_number(label, CLASSES)


def test_a_reader_that_tells_no_place_is_refused(colours, coloured_frames):
    read = colours.read(coloured_frames, config=SubnetConfig(1.0, 64, 4))
    with pytest.raises(ValueError, match=r"frames: its reader tells no place of the clips \(ReadClips\.place\)"):
        colours.map_clips(replace(read, place=None))
