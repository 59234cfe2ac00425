from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from pytorchvideo.models.resnet import create_resnet
from torch import nn

import mutualnet3d as m3
from mutualnet3d.models import read_model_file
from mutualnet3d.models.build import BUILDERS, FAMILIES, build_network, recipe_of
from mutualnet3d.models.network import OwnNet
from mutualnet3d.mutual import mutual_step
from mutualnet3d.runner import test as run_test
from mutualnet3d.runner import train as run_train
from tests.models.families import calibrated, clips, randomise, relative

PAGE = Path(__file__).resolve().parents[2] / "docs" / "OWN_NETWORK.md"
SUBNET = m3.SubnetConfig(0.5, 24, 4)


@pytest.fixture(scope="module")
def example():
    """Values of the page's example after it has run."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    values: dict[str, object] = {"__name__": "example"}
    try:
        exec(compile(code, str(PAGE), "exec"), values)
        yield values
    finally:
        BUILDERS.pop("my_net", None)
        FAMILIES.pop("my_net", None)


@pytest.fixture
def network(example):
    torch.manual_seed(0)
    network = example["MyNet"](2).eval()
    randomise(network)
    return network


def test_the_pages_example_runs(example):
    model, config = example["model"], example["config"]
    assert config == SUBNET
    assert 0 < m3.multiply_adds(model, config) < 0.1 * m3.multiply_adds(model, model.full)
    assert example["small"](example["clips_for"](config)).shape == (8, 2)
    assert (model.builder, model.min_frames) == ("my_net", 1)
    assert model.channel_flow.in_parts("blocks.0.merge") == (16, 32)


def test_it_is_the_network_at_width_1_and_its_weights_are_copies(network):
    names, x = list(network.state_dict()), torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        expected = network(x)
        model = m3.make_slimmable(network, (8, 32))
        assert torch.equal(model([x]), expected)
        larger = torch.randn(1, 3, 9, 40, 36)
        assert torch.equal(model([larger]), network(larger))
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(network(x), expected)
    assert list(model.state_dict()) == list(model.extract(model.full).state_dict()) == names
    assert not model.training
    assert not model.content.training
    assert model.train().content.training


def test_a_sub_network_is_cut_out_sorted_and_counted(network):
    model = calibrated(m3.make_slimmable(network, (8, 32)), SUBNET)
    x = clips(model, SUBNET)
    with torch.no_grad():
        with model.active(SUBNET):
            expected = model(x)
        extracted = model.extract(SUBNET)
        assert type(extracted) is OwnNet
        assert relative(extracted(x), expected) < 1e-5
        assert relative(model.extract(SUBNET, fold_norms=True)(x), expected) < 1e-5
    for config, plain, clip in (
        (SUBNET, extracted.content, x[0][:1]),
        (model.full, network, torch.zeros(1, 3, 8, 32, 32)),
    ):
        counts = FlopCountAnalysis(plain, clip).unsupported_ops_warnings(False).by_operator()
        assert m3.multiply_adds(model, config) == counts["conv"] + counts["linear"]
        assert m3.models.count_parameters(model, config) == sum(value.numel() for value in plain.parameters())
    # The merged channels and the classifier's inputs: by hand.
    assert extracted.content.blocks[0].merge.weight.shape == (16, 8 + 16, 1, 1, 1)
    columns = [*range(8), *range(16, 32)]
    with torch.no_grad():
        assert torch.equal(extracted.content.blocks[0].merge.weight, network.blocks[0].merge.weight[:16, columns])
        x = clips(model, model.full)
        before = model(x)
        # The residual stream, and in each block the dense branch; what is depthwise goes along with the stream.
        assert m3.sort_channels(model) == 3
        assert relative(model(x), before) < 1e-5


def test_logits_without_dropout_are_those_of_a_second_pass(network):
    model = m3.make_slimmable(network, (8, 32)).train()
    x = clips(model, model.full)
    tracked = {name: value.clone() for name, value in model.named_buffers()}
    with model.dropout.off(), model.active(model.full), torch.no_grad():
        expected = model(x)
    assert all(torch.equal(value, tracked[name]) for name, value in model.named_buffers())
    with model.dropout.clean_logits() as dropout:
        logits = model(x)
        assert torch.equal(dropout.clean_BK, expected)
        assert not dropout.clean_BK.requires_grad
        assert not torch.equal(logits, expected)
    # Tracked once.
    assert all(value == tracked[name] + 1 for name, value in model.named_buffers() if "num_batches" in name)
    mutual_step(
        model, lambda config: clips(model, config), torch.tensor([0, 1]), model.full, [SUBNET], subnet_dropout=False
    )
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
def test_a_network_of_pytorchvideo_takes_its_own_route():
    network = create_resnet(model_num_class=3, stem_dim_out=8, head_pool_kernel_size=(4, 1, 1)).eval()
    model = m3.make_slimmable(network, m3.ClipShape(4, 32)).eval()
    assert type(model) is m3.models.SlimmableNet
    x = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model([x]).softmax(1), network(x).softmax(1))


class Joined(nn.Module):
    """Batch norm and depthwise convolution over a concatenation, and groups of it; `code` is how it ends."""

    def __init__(self, code="shape"):
        super().__init__()
        self.code = code
        self.first, self.second = nn.Conv3d(3, 16, 1), nn.Conv3d(3, 24, 3, padding=1)
        self.norm, self.depthwise = nn.BatchNorm3d(40), nn.Conv3d(40, 40, 3, padding=1, groups=40)
        self.grouped = nn.Sequential(nn.Conv3d(40, 48, 1), nn.Conv3d(48, 96, 1, groups=4))
        self.lock = nn.Conv3d(1, 1, 1) if code == "name" else None
        self.fc = nn.Linear(96 * 4, 5)

    def forward(self, x):
        y = self.norm(torch.cat([self.first(x), self.second(x)], dim=1)).relu()
        y = nn.functional.adaptive_avg_pool3d(self.grouped(self.depthwise(y)), (1, 2, 2))
        return self.fc(y.view(-1, 384) if self.code == "number" else y.flatten(1))


def test_concatenated_channels_are_normalised_and_flattened():
    torch.manual_seed(1)
    network = Joined().eval()
    randomise(network)
    model = m3.make_slimmable(network, (4, 16))
    configs = [m3.SubnetConfig(width, 16, 4) for width in (0.3, 0.5, 0.9)]
    calibrated(model, configs[0], configs[2])
    model.statistics.interpolation_losses[configs[0].clip_shape] = 0.0
    model.interpolate_statistics(configs[1])
    assert [len(model.statistics[config]["norm"][0]) for config in configs] == [8 + 8, 8 + 16, 16 + 24]
    for config in configs:
        x = clips(model, config)
        with torch.no_grad(), model.active(config):
            expected = model(x)
            assert relative(model.extract(config)(x), expected) < 1e-5
    extracted = model.extract(configs[1])
    with torch.no_grad():
        rows = [*range(8), *range(16, 32)]
        assert torch.equal(extracted.content.norm.weight, network.norm.weight[rows])
        assert torch.equal(extracted.content.depthwise.weight, network.depthwise.weight[rows])
        assert extracted.content.grouped[1].weight.shape == (48, 12, 1, 1, 1)  # two of the four groups
        assert torch.equal(extracted.content.fc.weight, network.fc.weight[:, : 48 * 4])
        before = model(x)
        m3.sort_channels(model)
        assert relative(model(x), before) < 1e-5


@pytest.mark.parametrize(
    ("code", "fixed", "message"),
    [
        (
            "number",
            (),
            r"make fc slimmable: at width 0\.5 it reads 384 channels, 192 were expected\. Is there a number of",
        ),
        ("shape", ["norn"], "fixed: the network has no layer 'norn'; similar names: norm"),
        ("shape", "norm", r"fixed is 'norm'; it must be a list of names, such as \['norm'\]"),
        ("name", (), "the network's part 'lock' has the name of a part of SlimmableOwnNet: rename it"),
    ],
)
def test_a_network_that_cannot_be_converted(code, fixed, message):
    with pytest.raises(ValueError, match=message):
        m3.make_slimmable(Joined(code), (4, 16), fixed=fixed)


class Kept(nn.Module):
    """Layers that have no slimmable form, in a module of their own."""

    def __init__(self, norm=None):
        super().__init__()
        self.conv, self.norm = nn.Conv3d(3, 16, 1), norm or nn.GroupNorm(2, 16)
        self.up, self.fc = nn.ConvTranspose3d(16, 8, 2, stride=2), nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(self.up(self.norm(self.conv(x))).mean((2, 3, 4)))


def test_what_is_fixed_keeps_its_channels_and_is_counted():
    model = m3.make_slimmable(Kept(), (2, 4), fixed=["norm", "up"])
    config = m3.SubnetConfig(0.5, 4, 2)
    # 32 places of a clip: 3 x 16 products each, then 16 x 8 for each of 2 x 2 x 2 places; 8 x 2 of the classifier.
    assert m3.multiply_adds(model, config) == 32 * (3 * 16 + 16 * 8 * 8) + 8 * 2
    assert m3.models.count_parameters(model, config) == sum(value.numel() for value in model.parameters())


def test_statistics_that_sub_networks_would_share():
    class Flat(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x.flatten(3)).unflatten(3, x.shape[3:])

    with pytest.raises(ValueError, match=r"cannot make norm slimmable: .* type Flat has one set of statistics"):
        m3.make_slimmable(Kept(Flat(16)), (2, 4), fixed=["norm", "up"])


def test_a_registered_network_takes_known_arguments():
    with pytest.raises(ValueError, match="a network is registered as 'x3d' already"):
        m3.register_network("x3d")
    with pytest.raises(ValueError, match="network 'odd': its function takes depth; allowed, each with its annotation"):

        @m3.register_network("odd")
        def build(depth: int):
            raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["my_net", "s3d"])
def test_a_config_trains_tests_and_predicts_by_its_name(example, arch, tiny_overrides, tiny_data):
    overrides = tiny_overrides(MODEL__ARCH=arch, SOLVER__MAX_EPOCH=1 if arch == "s3d" else 4)
    cfg = m3.load_cfg("X3D_tiny_mutual.yaml", overrides)
    run_train(cfg)
    table = run_test(cfg)
    assert {str(row.config) for row in table.rows} == {"w1.0-s32-t4", "w0.5-s32-t4", "w1.0-s32-t2", "w0.5-s32-t2"}
    assert table.rows[0].gflops > table.rows[-1].gflops > 0
    path = Path(cfg.OUTPUT_DIR) / "calibrated.pyth"
    predictor = m3.Predictor.load(path, backend="pytorch", threads=1)
    cheap = predictor.predict(str(tiny_data / "val_1.mp4"), gflops=table.rows[-1].gflops)
    assert str(cheap.config) == "w0.5-s32-t2"
    # Weights of another number of classes: the classifier starts afresh.
    recipe = recipe_of(cfg)
    other = build_network(recipe[0], {**recipe[1], "num_classes": 3})
    assert m3.load_weights(other, str(path)).new_classifier
    own, (name,) = other.state_dict(), other.channel_flow.classifiers()
    same = [key for key, value in read_model_file(str(path)).network.weights.items() if torch.equal(value, own[key])]
    assert len(same) == len(own) - 2
    assert f"{name}.weight" not in same
