"""torchvision's networks, against torchvision's own code and fvcore's counts."""

from __future__ import annotations

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torchvision.models import video

import mutualnet3d as m3
from mutualnet3d.deploy.export import export
from mutualnet3d.deploy.networks import CheckpointNetworks
from mutualnet3d.extras import installed
from mutualnet3d.models import SlimmableNet
from mutualnet3d.models.torchvision_networks import TORCHVISION, build_torchvision
from mutualnet3d.mutual import SubnetSpace, mutual_step
from mutualnet3d.shapes import ClipShape, SubnetConfig
from tests.deploy.networks import CLASS_NAMES, FULL, HOW, SMALL, table_of
from tests.models.families import FULL_CLIP, NUM_CLASSES, calibrated, clips, randomise, relative


def pair(kind: str, full_clip: ClipShape = FULL_CLIP) -> tuple[torch.nn.Module, SlimmableNet]:
    """Return torchvision's network and the slimmable one with its weights, nothing in them 0 or 1."""
    torch.manual_seed(0)
    original = getattr(video, kind)(num_classes=NUM_CLASSES).eval()
    randomise(original)
    model = build_torchvision(kind=kind, full_clip=full_clip, num_classes=NUM_CLASSES).eval()
    model.load_state_dict(original.state_dict())  # torchvision's names
    return original, model


def products(network: torch.nn.Module, clip: torch.Tensor) -> int:
    """Return fvcore's count of multiply-adds of convolutions and linear layers."""
    counts = FlopCountAnalysis(network, clip).unsupported_ops_warnings(False).by_operator()
    return counts["conv"] + counts.get("linear", 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TORCHVISION)
def test_from_torchvisions_logits_to_an_exported_sub_network(kind, tmp_path):
    original, model = pair(kind)
    # S3D's own pooling needs maps of 2 x 7 x 7.
    for shape in [(1, 3, 16, 224, 224)] if kind == "s3d" else [(2, 3, 4, 64, 64), (1, 3, 7, 96, 80)]:
        x = torch.randn(shape)
        with torch.no_grad():
            assert relative(model([x]), original(x)) < 1e-5
    config = SubnetConfig(1.0, 224 if kind == "s3d" else 64, 16)
    assert m3.multiply_adds(model, config) == products(original, torch.zeros(1, 3, 16, config.size, config.size))

    calibrated(model, FULL, SMALL)
    x = clips(model, SMALL)
    with torch.no_grad(), model.active(SMALL):
        extracted = model.extract(SMALL)
        assert relative(extracted(x), model(x)) < 1e-5
    assert m3.multiply_adds(model, SMALL) == products(extracted.content, x[0][:1])

    path = tmp_path / "calibrated.pyth"
    path.write_bytes(b"stands for the checkpoint")
    networks = CheckpointNetworks(str(path), model, HOW, CLASS_NAMES, table_of(model, SMALL))
    formats = ["pt2"]
    # ResNet's kinds are alike.
    if kind in ("s3d", "r3d_18") and installed("onnx") and installed("onnxscript") and installed("onnxruntime"):
        formats.append("onnx")
    if "onnx" in formats and installed("openvino"):
        formats.append("openvino")
    bundle = export(networks, str(tmp_path / "bundle"), [SMALL], formats)  # an error beyond 1e-4
    assert set(bundle.networks[SMALL].differences) == set(formats)

    with torch.no_grad():
        x = clips(model, model.full)
        before = model(x)
        assert m3.sort_channels(model) >= 10
        assert relative(model(x), before) < 1e-5

    space = SubnetSpace((0.5, 1.0), (64, 48), (4, 2))
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.01)
    for step in range(3):
        full, *subnets = space.at_step(0, step)
        optimizer.zero_grad()
        labels = torch.tensor([0, 1])
        losses = mutual_step(model, lambda config: clips(model, config), labels, full, subnets).losses
        assert len(losses) == 4
        assert all(torch.isfinite(loss) for loss in losses.values())
        optimizer.step()


def test_s3d_takes_small_clips_and_joins_its_branches():
    with torch.device("meta"):
        model = m3.create_model("s3d", num_classes=NUM_CLASSES)
    assert (model.min_frames, model.full_clip) == (1, ClipShape(16, 224))
    assert model.channel_flow.classifiers() == ["classifier.1"]
    assert model.channel_flow.in_parts("features.6.branch0.0") == (64, 128, 32, 32)
    # 0.63 of each branch, rounded by itself.
    rules = model.channel_flow.in_rules("features.6.branch0.0")
    assert [rule.at(0.63) for rule in rules] == [40, 80, 24, 24]
    assert m3.multiply_adds(model, SubnetConfig(0.63, 48, 2)) > 0


@pytest.mark.slow
def test_blocks_that_start_as_their_shortcut():
    model = build_torchvision(kind="mc3_18", full_clip=ClipShape(2, 32), num_classes=2, zero_init_final_bn=True)
    scales = [value.abs().max() for name, value in model.named_parameters() if name.endswith("conv2.1.weight")]
    assert scales == [0] * 8


def test_an_unknown_network():
    with pytest.raises(ValueError, match="unknown network of torchvision 'r3d_50'; allowed: r3d_18, mc3_18"):
        build_torchvision(kind="r3d_50", full_clip=FULL_CLIP, num_classes=2)
