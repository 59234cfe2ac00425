"""Weights that people have: fixtures of PySlowFast's own networks, pytorchvideo's, and files that do not fit."""

from __future__ import annotations

import json
import re
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorchvideo.models.resnet import create_resnet
from pytorchvideo.models.x3d import create_x3d

import mutualnet3d as m3
from mutualnet3d.engine.checkpoint import save_checkpoint, statistics_to_state
from mutualnet3d.models.resnet import build_resnet
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import SubnetConfig
from tests.conftest import SHARED
from tests.models.families import NATIVE, calibrated, clips, randomise, tiny

FIXTURES = SHARED / "fixtures" / "pyslowfast"
needs_fixtures = pytest.mark.skipif(
    not FIXTURES.exists(), reason=f"PySlowFast's reference outputs are not at {FIXTURES}"
)


def fill(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The fixtures' rule for weights, from their README."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    if name.endswith("running_mean"):
        value = rng.randn(*shape) * 0.1
    elif name.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif name.endswith(".bias"):
        value = rng.randn(*shape) * 0.1
    elif len(shape) >= 2:
        value = rng.randn(*shape) * np.sqrt(1.6 / np.prod(shape[1:]))
    else:
        value = rng.uniform(0.6, 1.0, shape)
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


def pyslowfast_checkpoint(path: Path, shapes: list[tuple[str, tuple[int, ...]]]) -> str:
    state = {name: fill(name, tuple(shape)) for name, shape in shapes}
    torch.save({"epoch": 3, "model_state": state, "optimizer_state": {"state": {}}, "cfg": "TRAIN: {}"}, path)
    return str(path)


@needs_fixtures
@pytest.mark.parametrize("name", ["x3d_xs", "x3d_m", "slow_8x8_r50", "slowfast_4x16_r50"])
def test_pyslowfasts_checkpoints_give_its_logits(name, tmp_path):
    reference = json.loads((FIXTURES / f"{name}.json").read_text())
    path = pyslowfast_checkpoint(tmp_path / "a.pyth", reference["state_dict"])
    model = m3.create_model(name).eval()
    loaded = m3.load_weights(model, path)
    assert (loaded.source, loaded.new_classifier) == ("PySlowFast", False)
    frames, size = reference["num_frames"], reference["crop_size"]
    z = np.random.RandomState(0).randn(1, 3, frames, 8, 8).repeat(size // 8, 3).repeat(size // 8, 4)
    clip = torch.from_numpy(z.astype(np.float32))
    x = [clip]
    if reference["alpha"]:
        x = [clip[:, :, torch.linspace(0, frames - 1, frames // reference["alpha"]).long()], clip]
    expected, probabilities = (torch.tensor(reference[key]).view(1, -1) for key in ("logits", "probs"))
    with torch.no_grad():
        logits = model(x)
        assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()
        assert (logits.softmax(1) - probabilities).abs().max() <= 1e-4 * probabilities.max()
        for fold_norms in (False, True):
            extracted = model.extract(model.full, fold_norms)(x)
            assert (extracted - logits).abs().max() <= 1e-5 * logits.abs().max()


@needs_fixtures
@pytest.mark.parametrize("kind", ["c2d", "i3d"])
def test_pyslowfasts_other_resnets_have_the_same_names(kind, tmp_path):
    """C2D's and I3D's checkpoints have Slow's names; their stages lie elsewhere, behind the pooling of time."""
    reference = json.loads((FIXTURES / "slow_8x8_r50.json").read_text())
    model = m3.create_model(f"{kind}_8x8_r50")
    own = [tuple(value.shape) for value in model.state_dict().values()]
    names = [name for name, _ in reference["state_dict"]]
    path = pyslowfast_checkpoint(tmp_path / "a.pyth", list(zip(names, own, strict=True)))
    m3.load_weights(model, path)
    for (name, value), theirs in zip(model.state_dict().items(), names, strict=True):
        assert torch.equal(value, fill(theirs, tuple(value.shape))), (name, theirs)


def small_x3d(num_classes=7):
    return create_x3d(
        input_clip_length=4, input_crop_size=64, model_num_class=num_classes, head_dim_out=64,
        width_factor=1.0, depth_factor=0.7, head_activation=None,
    )  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_pytorchvideos_weights_give_its_bits(prefix, wrapped, tmp_path):
    theirs = small_x3d().eval()
    randomise(theirs)
    state = {f"{prefix}{name}": value for name, value in theirs.state_dict().items()}
    torch.save({"model_state": state} if wrapped else state, tmp_path / "zoo.pyth")
    model = tiny("x3d")
    loaded = m3.load_weights(model, str(tmp_path / "zoo.pyth"))
    assert (loaded.source, loaded.ours, loaded.new_classifier, loaded.step) == ("pytorchvideo", False, False, 0)
    assert str(loaded) == f"weights of {tmp_path}/zoo.pyth (pytorchvideo's)"
    x = torch.randn(2, 3, 4, 64, 64)
    with torch.no_grad():
        assert torch.equal(model([x]), theirs(x))


def test_our_own_checkpoints_bring_their_statistics(tmp_path):
    model, config = tiny("slowfast"), SubnetConfig(0.6, 48, 2)
    calibrated(model, config)
    content = {"step": 12, "model_state": model.state_dict(), "statistics": statistics_to_state(model.statistics)}
    save_checkpoint(str(tmp_path / "ours.pyth"), content)
    other = tiny("slowfast")
    with torch.no_grad():
        next(other.parameters()).zero_()
    calibrated(other, SubnetConfig(0.7, 64, 4))
    loaded = m3.load_weights(other, str(tmp_path / "ours.pyth"))
    assert (loaded.ours, loaded.step) == (True, 12)
    assert list(other.statistics) == [config]  # those of the weights before are gone
    x = clips(model, config)
    with torch.no_grad(), model.active(config), other.active(config):
        assert torch.equal(model(x), other(x))


def test_a_classifier_of_another_number_of_classes_starts_afresh(tmp_path, caplog):
    torch.save({"model_state": small_x3d(400).state_dict()}, tmp_path / "k400.pyth")
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
    state = small_x3d().state_dict()
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


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "family"), [("slowfast_4x16_r50", "slow"), ("slow_8x8_r50", "slowfast"), ("x3d_xs", "slow")]
)
def test_a_wrong_family_of_pyslowfasts(name, family, tmp_path):
    reference = json.loads((FIXTURES / f"{name}.json").read_text())
    path = pyslowfast_checkpoint(tmp_path / "psf.pyth", reference["state_dict"])
    with pytest.raises(ValueError, match=r"psf\.pyth: (the checkpoint is of another model|PySlowFast's weights, but)"):
        m3.load_weights(tiny(family), path)


def test_names_that_no_network_of_pyslowfasts_has(tmp_path):
    path = pyslowfast_checkpoint(tmp_path / "nln.pyth", [("s3.pathway0_nonlocal1.conv_phi.weight", (4, 4, 1, 1, 1))])
    with pytest.raises(
        ValueError, match=r"nln\.pyth: PySlowFast's weights, but .*: s3\.pathway0_nonlocal1\.conv_phi\.wei"
    ):
        m3.load_weights(tiny("slow"), path)


def test_weights_of_images_are_inflated_where_asked(tmp_path):
    """A clip of one picture repeated gives what the picture gave, away from the ends of the clip."""
    flat = create_resnet(
        model_num_class=7, stem_dim_out=16, stem_conv_kernel_size=(1, 7, 7), stage_conv_a_kernel_size=((1, 1, 1),) * 4
    )
    state = {name: value[:, :, 0] if value.ndim == 5 else value for name, value in flat.state_dict().items()}
    torch.save({"model_state": state}, tmp_path / "images.pyth")
    model = build_resnet(kind="slow_i3d", full_clip=NATIVE, num_classes=7, width_per_group=16)
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


def test_shortcut_norms_of_pyslowfasts_x3d_are_folded_for_slices_too(tmp_path):
    """PySlowFast's X3D has a batch norm that pytorchvideo's has not; what it does survives in every sub-network."""
    names = json.loads((FIXTURES / "x3d_xs.json").read_text())["state_dict"] if FIXTURES.exists() else []
    if not names:
        pytest.skip(f"PySlowFast's reference outputs are not at {FIXTURES}")
    extra = [name for name, _ in names if re.search(r"s2\.pathway0_res0\.branch1_bn", name)]
    assert len(extra) == 5
    model = m3.create_model("x3d_xs").eval()
    m3.load_weights(model, pyslowfast_checkpoint(tmp_path / "a.pyth", names))
    state = {name: fill(name, tuple(shape)) for name, shape in names}
    block, x, kept = model.blocks[1].res_blocks[0], torch.randn(1, 24, 2, 8, 8), 16
    prefix = "s2.pathway0_res0.branch1"
    norm = [state[f"{prefix}_bn.{leaf}"][:kept] for leaf in ("running_mean", "running_var", "weight", "bias")]
    with torch.no_grad():
        shortcut = torch.nn.functional.conv3d(x[:, :kept], state[f"{prefix}.weight"][:kept, :kept], stride=(1, 2, 2))
        expected = torch.nn.functional.batch_norm(shortcut, *norm)
        folded = block.branch1_conv(x[:, :kept], out_width=kept)
        shift_C = block.branch2.norm_c.bias - state["s2.pathway0_res0.branch2.c_bn.bias"]
    torch.testing.assert_close(folded + shift_C[:kept].view(1, -1, 1, 1, 1), expected, rtol=1e-5, atol=1e-5)


def test_files_that_are_no_weights(tmp_path):
    model = build_x3d(full_clip=NATIVE, num_classes=2, width_factor=1.0, depth_factor=0.3, dim_c5=32)
    with pytest.raises(FileNotFoundError, match=r"no file at .*none\.pyth, which should be weights"):
        m3.load_weights(model, str(tmp_path / "none.pyth"))
    (tmp_path / "c2.pkl").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(
        ValueError, match=r"c2\.pkl: Caffe2 model files \(\.pkl\) are Python pickles, and loading one runs"
    ):
        m3.load_weights(model, str(tmp_path / "c2.pkl"))
    (tmp_path / "text.pyth").write_text("not a checkpoint")
    said = r"text\.pyth: cannot be read as weights, it may be truncated or damaged, of another kind, or hold .*\)$"
    with pytest.raises(ValueError, match=said):  # one line
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
