"""PySlowFast's names: fixtures of its own networks, and weights that fit none of ours."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from tests.conftest import SHARED
from tests.models.families import tiny

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
@pytest.mark.parametrize(
    "name",
    [
        "x3d_xs",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("x3d_m", "slow_8x8_r50", "slowfast_4x16_r50")),
    ],
)
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


@pytest.mark.slow
@needs_fixtures
@pytest.mark.parametrize("kind", ["c2d", "i3d"])
def test_pyslowfasts_other_resnets_have_the_same_names(kind, tmp_path):
    """C2D's and I3D's checkpoints have Slow's names; their stages lie elsewhere, after the pooling of time."""
    reference = json.loads((FIXTURES / "slow_8x8_r50.json").read_text())
    model = m3.create_model(f"{kind}_8x8_r50")
    own = [tuple(value.shape) for value in model.state_dict().values()]
    names = [name for name, _ in reference["state_dict"]]
    path = pyslowfast_checkpoint(tmp_path / "a.pyth", list(zip(names, own, strict=True)))
    m3.load_weights(model, path)
    for (name, value), foreign_name in zip(model.state_dict().items(), names, strict=True):
        assert torch.equal(value, fill(foreign_name, tuple(value.shape))), (name, foreign_name)


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
