"""Weights of this project's files and of pytorchvideo's, and files that do not fit."""

from __future__ import annotations

import argparse
import functools
import logging
import types

import pytest
import torch
from pytorchvideo.models.resnet import create_resnet
from safetensors.torch import save_file

import mutualnet3d as m3
from mutualnet3d.files.torch_file import CHECKPOINT, MODEL, write_torch_file
from mutualnet3d.models.resnet import build_resnet
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import SubnetConfig
from tests.models.families import FULL_CLIP, calibrated, clips, pytorchvideos_x3d, relative, tiny


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_pytorchvideos_weights_give_its_logits(prefix, wrapped, tmp_path):
    original = pytorchvideos_x3d().eval()
    state = {f"{prefix}{name}": value for name, value in original.state_dict().items()}
    torch.save({"model_state": state} if wrapped else state, tmp_path / "zoo.pyth")
    model = tiny("x3d")
    loaded = m3.load_weights(model, str(tmp_path / "zoo.pyth"))
    assert (loaded.source, loaded.of_project, loaded.new_classifier, loaded.step) == ("pytorchvideo", False, False, 0)
    assert str(loaded) == f"weights of {tmp_path}/zoo.pyth (pytorchvideo's)"
    x = torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad():
        assert relative(model([x]), original(x)) < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"statistics": {"w0.6-s48-t2": {}}}, "statistics of w0.6-s48-t2 are not of this network's batch norms"),
        ({"statistics": [1]}, r"statistics is \[1\]; it must be a mapping"),
        ({"model_state": None}, "no weights in it"),
        ({"model_state": {5: torch.zeros(1)}}, "no weights in it"),
    ],
)
def test_damaged_files_of_ours_are_named(change, message, tmp_path):
    model = tiny("x3d")
    write_torch_file(str(tmp_path / "ours.pyth"), MODEL, {"model_state": model.state_dict(), **change})
    with pytest.raises(ValueError, match=rf"ours\.pyth: {message}"):
        m3.load_weights(model, str(tmp_path / "ours.pyth"))


@pytest.mark.parametrize("averaged", [[1], {"weights": {}}, {"model_state": None}])
def test_averaged_weights_that_are_none_are_named(averaged, tmp_path):
    model = tiny("x3d")
    content = {"model_state": model.state_dict(), "averaged": averaged}
    write_torch_file(str(tmp_path / "ours.pyth"), CHECKPOINT, content)
    with pytest.raises(ValueError, match=r"ours\.pyth: (has no averaged weights|no weights in it)"):
        m3.load_weights(model, str(tmp_path / "ours.pyth"), averaged=True)


@pytest.mark.parametrize("file_format", [CHECKPOINT, MODEL])
def test_our_own_files_bring_their_statistics(file_format, tmp_path):
    model, config = tiny("slowfast"), SubnetConfig(0.6, 48, 2)
    calibrated(model, config)
    content = {"step": 12, "model_state": model.state_dict(), **model.statistics.state_dict()}
    write_torch_file(str(tmp_path / "ours.pyth"), file_format, content)
    other = tiny("slowfast")
    with torch.no_grad():
        next(other.parameters()).zero_()
    calibrated(other, SubnetConfig(0.7, 64, 4))
    loaded = m3.load_weights(other, str(tmp_path / "ours.pyth"))
    assert (loaded.of_project, loaded.step) == (True, 12)
    assert list(other.statistics) == [config]  # those of the weights before are gone
    x = clips(model, config)
    with torch.no_grad(), model.active(config), other.active(config):
        assert torch.equal(model(x), other(x))


def test_a_classifier_of_another_number_of_classes_starts_afresh(tmp_path, caplog):
    torch.save({"model_state": pytorchvideos_x3d(400).state_dict()}, tmp_path / "k400.pyth")
    model = tiny("x3d")
    before = model.blocks[-1].proj.weight.clone()
    loaded = m3.load_weights(model, str(tmp_path / "k400.pyth"))
    assert loaded.new_classifier
    (record,) = caplog.records
    assert record.getMessage().endswith("k400.pyth: classifier of 400 classes left out; that of 7 starts afresh")
    assert torch.equal(model.blocks[-1].proj.weight, before)
    with pytest.raises(
        ValueError, match=r"k400\.pyth: its classifier has 400 classes, the model 7; MODEL\.NUM_CLASSES"
    ):
        m3.load_weights(model, str(tmp_path / "k400.pyth"), new_classifier=False)


def test_other_mismatches_list_the_keys_and_load_nothing(tmp_path):
    state = pytorchvideos_x3d().state_dict()
    del state["blocks.0.norm.weight"]
    state["blocks.9.odd"] = torch.ones(1)
    state["blocks.0.norm.bias"] = torch.ones(3)
    torch.save(state, tmp_path / "odd.pyth")
    model = tiny("x3d")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    message = (
        r"odd\.pyth: the checkpoint is of another model\. 1 missing: blocks\.0\.norm\.weight; "
        r"1 unknown here: blocks\.9\.odd; 1 of another shape: blocks\.0\.norm\.bias is \(3,\), here \(16,\)"
    )
    with pytest.raises(ValueError, match=message):
        m3.load_weights(model, str(tmp_path / "odd.pyth"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("slow", "a ResNet of one pathway and not an X3D"),
        ("slowfast", "a SlowFast and not an X3D"),
        ("c2d", "a ResNet of one pathway and not an X3D"),
    ],
)
def test_a_wrong_family_is_named(family, expected, tmp_path):
    torch.save({"model_state": tiny(family).state_dict()}, tmp_path / "other.pyth")
    with pytest.raises(ValueError, match=rf"other\.pyth: the checkpoint is of another model, {expected}\. \d+ missing"):
        m3.load_weights(tiny("x3d"), str(tmp_path / "other.pyth"))


def test_weights_of_images_are_inflated_where_asked(tmp_path):
    """A clip of one picture repeated gives what the picture gave, away from the ends of the clip."""
    flat = create_resnet(
        model_num_class=7, stem_dim_out=16, stem_conv_kernel_size=(1, 7, 7), stage_conv_a_kernel_size=((1, 1, 1),) * 4
    )
    state = {name: value[:, :, 0] if value.ndim == 5 else value for name, value in flat.state_dict().items()}
    torch.save({"model_state": state}, tmp_path / "images.pyth")
    model = build_resnet(kind="slow_i3d", full_clip=FULL_CLIP, num_classes=7, width_per_group=16)
    with pytest.raises(
        ValueError, match=r"of another shape: blocks\.0\.conv\.weight is \(16, 3, 7, 7\), here \(16, 3, 5"
    ):
        m3.load_weights(model, str(tmp_path / "images.pyth"))
    m3.load_weights(model, str(tmp_path / "images.pyth"), inflate=True)
    picture = torch.randn(1, 3, 1, 64, 64)
    with torch.no_grad():
        expected = flat.blocks[0].conv(picture)[:, :, 0]
        inflated = model.blocks[0].conv(picture.expand(-1, -1, 9, -1, -1))[:, :, 4]
    torch.testing.assert_close(inflated, expected, rtol=1e-5, atol=1e-5)


@functools.cache
def shared_network():
    return tiny("x3d")


def load_into_tiny(content, path, **options):
    """Save `content`, load it into a tiny X3D whose weights are all 0, and return the largest weight."""
    torch.save(content, path)
    model = shared_network()
    with torch.no_grad():
        for value in model.state_dict().values():
            value.zero_()
    m3.load_weights(model, str(path), **options)
    weight = model.blocks[0].conv.conv_t.weight
    assert torch.equal(weight, weight.flatten()[0].expand_as(weight))
    return weight.flatten()[0].item()


def state_of(level, prefix=""):
    """Return a state dict of the tiny X3D, all of whose floats are `level`."""
    state = shared_network().state_dict()
    return {f"{prefix}{name}": torch.full_like(value, level) for name, value in state.items()}


def test_a_lightning_file_gives_the_network_and_names_the_rest(tmp_path, caplog):
    caplog.set_level(logging.INFO, "mutualnet3d")
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {
            **{name: value for name, value in state_of(1, "net._orig_mod.").items() if "num_batches" not in name},
            "criterion.weight": torch.ones(7),
            "val_top1.tp": torch.ones(7),
        },
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        "args": argparse.Namespace(lr=0.1),
    }
    assert load_into_tiny(content, tmp_path / "last.ckpt") == 1
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "last.ckpt: the weights are those of state_dict without 'net.' and '_orig_mod.'; "
        "not used: 2 tensors (criterion.weight, val_top1.tp)"
    )


def test_averages_are_loaded_where_asked_or_alone(tmp_path, caplog):
    caplog.set_level(logging.INFO, "mutualnet3d")
    content = {"model": state_of(1), "model_ema": {**state_of(2, "module."), "n_averaged": torch.tensor(5)}}
    assert load_into_tiny(content, tmp_path / "a.pth") == 1
    assert caplog.records[-1].getMessage().endswith("a.pth: not used, though they fit: model_ema without 'module.'")
    assert load_into_tiny(content, tmp_path / "a.pth", averaged=True) == 2
    assert load_into_tiny({"ema_state_dict": state_of(3)}, tmp_path / "b.pth") == 3
    with pytest.raises(ValueError, match=r"c\.pth: has no averaged weights; .* of other projects tensors under a name"):
        load_into_tiny({"model": state_of(1)}, tmp_path / "c.pth", averaged=True)


def test_usual_names_go_before_others_and_equals_are_refused(tmp_path):
    assert load_into_tiny({"best": state_of(1), "state_dict": state_of(2)}, tmp_path / "a.pth") == 2
    assert load_into_tiny({**state_of(1, "teacher."), **state_of(2, "model.")}, tmp_path / "b.pth") == 2
    assert load_into_tiny({"model": state_of(1), "net": state_of(1)}, tmp_path / "c.pth") == 1  # the same
    message = (
        r"d\.pth: holds several weights that fit the network: .* without 'teacher\.'; .* without 'student\.'\. Save"
    )
    with pytest.raises(ValueError, match=message):
        load_into_tiny({**state_of(1, "teacher."), **state_of(2, "student.")}, tmp_path / "d.pth")


def test_a_mismatch_in_a_container_lists_names_without_prefix(tmp_path):
    state = state_of(1, "module.")
    del state["module.blocks.0.norm.weight"]
    with pytest.raises(ValueError, match=r"of another model\. 1 missing: blocks\.0\.norm\.weight$"):
        load_into_tiny({"epoch": 1, "net": state}, tmp_path / "odd.pth")


def test_safetensors_give_the_same_weights(tmp_path):
    model = tiny("x3d")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = tiny("x3d")
    with torch.no_grad():
        next(other.parameters()).zero_()
    m3.load_weights(other, str(tmp_path / "model.safetensors"))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_files_that_are_no_weights(tmp_path):
    model = build_x3d(full_clip=FULL_CLIP, num_classes=2, width_factor=1.0, depth_factor=0.3, dim_c5=32)
    with pytest.raises(FileNotFoundError, match=r"no file at .*none\.pyth, which should be weights"):
        m3.load_weights(model, str(tmp_path / "none.pyth"))
    (tmp_path / "c2.pkl").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(
        ValueError, match=r"c2\.pkl: Caffe2 model files \(\.pkl\) are Python pickles, and loading one runs"
    ):
        m3.load_weights(model, str(tmp_path / "c2.pkl"))
    (tmp_path / "text.pyth").write_text("not a checkpoint")
    message = r"text\.pyth: cannot be read as weights, it may be truncated or damaged, of another kind, or hold .*\)$"
    with pytest.raises(ValueError, match=message):  # one line
        m3.load_weights(model, str(tmp_path / "text.pyth"))
    torch.save({"model_state": types.SimpleNamespace()}, tmp_path / "object.pyth")
    with pytest.raises(ValueError, match=r"containers of them \(Unsupported global: GLOBAL types\.SimpleNamespace\)$"):
        m3.load_weights(model, str(tmp_path / "object.pyth"))
    torch.save([1, 2], tmp_path / "list.pyth")
    with pytest.raises(ValueError, match=r"list\.pyth: holds a list, not a checkpoint or a state dict"):
        m3.load_weights(model, str(tmp_path / "list.pyth"))
    torch.save(
        {"format": "mutualnet3d.checkpoint", "version": 99, "model_state": model.state_dict()}, tmp_path / "new.pyth"
    )
    with pytest.raises(ValueError, match=r"new\.pyth: checkpoint version 99; this release reads up to 1"):
        m3.load_weights(model, str(tmp_path / "new.pyth"))
    torch.save({"epoch": 1}, tmp_path / "empty.pyth")
    with pytest.raises(ValueError, match=r"empty\.pyth: no weights in it; its keys are epoch"):
        m3.load_weights(model, str(tmp_path / "empty.pyth"))
