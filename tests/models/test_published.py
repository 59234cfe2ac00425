"""Published weights: the tables of addresses, and networks that are made with them, from a server of this machine."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from pytorchvideo.models import hub

import mutualnet3d as m3
from mutualnet3d.files.download import DownloadError
from mutualnet3d.files.web_file import hash_in
from mutualnet3d.models import published
from mutualnet3d.models.published import LocalWeights, all_published, find_weights, published_weights
from tests.models.families import pytorchvideos_x3d, randomise, relative, tiny

OF_PYTORCHVIDEO = [weights for weights in all_published() if weights.source == "pytorchvideo"]


def serve(server, monkeypatch, model, content, path="/weights.pyth"):
    """Serve `content` as the published weights of a network."""
    file = io.BytesIO()
    torch.save(content, file)
    moved = replace(published_weights(model), address=server.add(path, file.getvalue()))
    monkeypatch.setattr(published, "all_published", lambda: (moved,))
    return moved


def test_tables_have_addresses_hashes_and_names():
    assert {weights.model for weights in OF_PYTORCHVIDEO} <= set(m3.list_models())
    assert published_weights("x3d_m").address.endswith("/kinetics/X3D_M.pyth")
    assert published_weights("slowfast_8x8_r50", "kinetics400").address.endswith("/SLOWFAST_8x8_R50.pyth")
    for model in ("r3d_18", "mc3_18", "r2plus1d_18", "s3d"):
        weights = published_weights(model)
        assert (weights.source, weights.dataset) == ("torchvision", "kinetics400")
        assert len(hash_in(weights.address)) == 8
    for weights in all_published():
        assert len(weights.class_names) == 400
        assert weights.class_names[290] == "sharpening knives"


@pytest.mark.parametrize(
    ("model", "dataset", "message"),
    [
        ("slow_4x16_r50", "", r"no published weights of 'slow_4x16_r50'; there are some of x3d_xs, x3d_s, x3d_m, "),
        ("x3d_m", "imagenet", r"no published weights of x3d_m on 'imagenet'; there are those on kinetics400$"),
    ],
)
def test_weights_that_nobody_published_are_named(model, dataset, message):
    with pytest.raises(ValueError, match=message):
        published_weights(model, dataset)


def test_names_that_are_files_or_other_words_are_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x3d_m").touch()
    for path in ("x3d_m", "weights.pyth", "s3://bucket/x3d_m", "best", "/a/b:c"):
        assert find_weights(path) == LocalWeights(path)


def test_create_model_with_published_weights(server, monkeypatch):
    original = hub.x3d_xs(pretrained=False)
    randomise(original)
    original.blocks[5].activation = None
    serve(server, monkeypatch, "x3d_xs", {"model_state": original.state_dict()})
    model = m3.create_model("x3d_xs", pretrained=True).eval()
    assert (len(model.class_names), model.class_names[0]) == (400, "abseiling")
    other = m3.create_model("x3d_xs", num_classes=3, pretrained="kinetics400")
    assert other.class_names == ()
    assert torch.equal(other.blocks[0].norm.bias, model.blocks[0].norm.bias)
    assert len(server.requests) == 1
    x = torch.randn(1, 3, 4, 160, 160)
    with torch.no_grad():
        assert relative(model([x]), original.eval()(x)) < 1e-5
    with pytest.raises(ValueError, match="no published weights of x3d_xs on 'imagenet'"):
        m3.create_model("x3d_xs", pretrained="imagenet")


def test_addresses_and_names_load_alike_and_bring_their_names(server, monkeypatch):
    moved = serve(server, monkeypatch, "x3d_m", {"model_state": pytorchvideos_x3d().state_dict()})
    assert find_weights("x3d_m") == find_weights("x3d_m:kinetics400") == find_weights(moved.address)
    loaded = m3.load_weights(tiny("x3d"), moved.address)
    assert (loaded.path, loaded.class_names) == (moved.path, ())  # 400 names, and 7 classes
    assert server.requests == [("/weights.pyth", None)]


def test_a_page_in_the_place_of_weights_is_told_from_damage(server):
    address = server.add("/weights.pyth", b"please log in")
    with pytest.raises(ValueError, match=rf"weights\.pyth: cannot be read .*; it is from {address}: remove it, and it"):
        m3.load_weights(tiny("x3d"), address)


def test_without_a_network_the_place_is_named(server, monkeypatch):
    moved = serve(server, monkeypatch, "x3d_xs", {})
    server.files.clear()
    with pytest.raises(FileNotFoundError, match=r"no file at http.*: the server answers 404"):
        m3.create_model("x3d_xs", pretrained=True)
    lost = replace(moved, address="http://127.0.0.1:1/X3D_XS.pyth")
    monkeypatch.setattr(published, "all_published", lambda: (lost,))
    with pytest.raises(DownloadError, match=rf"Where there is no network, .* put it at {lost.path}"):
        m3.create_model("x3d_xs", pretrained=True)


@pytest.mark.slow
@pytest.mark.parametrize("weights", OF_PYTORCHVIDEO, ids=lambda weights: weights.model)
def test_published_names_and_shapes_are_those_of_the_networks(weights):
    """pytorchvideo's own functions, for whose networks the files are, give what `create_model` gives."""
    _, name = published._PYTORCHVIDEO[weights.model]
    with torch.device("meta"):
        original = getattr(hub, name)(pretrained=False)
    shapes = {name: tuple(value.shape) for name, value in original.state_dict().items()}
    model = m3.create_model(weights.model)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == shapes
