"""SlowFast as the paper has it: Slow slims, Fast does not, adaptive fusion between them."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from pytorchvideo.models.slowfast import create_slowfast

from mutualnet3d.engine.evaluate import evaluate, evaluation_forward
from mutualnet3d.models.slowfast import build_slowfast
from mutualnet3d.mutual import calibrate, mutual_step
from mutualnet3d.ops import round_channels
from mutualnet3d.shapes import ClipBatch, ClipShape, SubnetConfig
from tests.models.families import FULL_CLIP, calibrated, clips, randomise, tiny

SUBNET = SubnetConfig(width=0.6, size=48, frames=3)


@pytest.fixture
def model():
    return tiny("slowfast")


def pytorchvideos():
    return create_slowfast(
        slowfast_fusion_conv_kernel_size=(5, 1, 1),
        slowfast_fusion_conv_stride=(4, 1, 1),
        model_num_class=7,
        stem_dim_outs=(16, 2),
        head_pool_kernel_sizes=((4, 2, 2), (16, 2, 2)),
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "memory_format", [pytest.param(torch.contiguous_format, marks=pytest.mark.slow), torch.channels_last_3d]
)
def test_full_network_has_pytorchvideos_bits(model, memory_format, training):
    original = pytorchvideos()
    randomise(original)
    model.load_state_dict(original.state_dict())
    x = [clip.to(memory_format=memory_format) for clip in clips(model, model.full)]
    outputs = []
    for network in (original, model):
        network.train(training).to(memory_format=memory_format)
        torch.manual_seed(3)  # dropout
        outputs.append(network(list(x)))
    assert torch.equal(*outputs)
    assert list(model.state_dict()) == list(original.state_dict())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in original.state_dict().items())


def test_slow_slims_and_fast_and_laterals_do_not(model):
    keeps = {name for name, layer in model.named_modules() if getattr(layer, "slim_output", True) is False}
    convolutions = {name for name, layer in model.named_modules() if hasattr(layer, "slim_output")}
    assert keeps == {
        name for name in convolutions if "multipathway_blocks.1" in name or "fusion" in name or name == "blocks.6.proj"
    }
    assert len(convolutions - keeps) == 53  # a ResNet-50's, without the classifier
    parts = {name: layer.in_parts for name, layer in model.named_modules() if len(getattr(layer, "in_parts", ())) > 1}
    first = "multipathway_blocks.0.res_blocks.0"
    assert parts == {
        **{f"blocks.1.{first}.{conv}": (16, 4) for conv in ("branch1_conv", "branch2.conv_a")},
        **{f"blocks.2.{first}.{conv}": (64, 16) for conv in ("branch1_conv", "branch2.conv_a")},
        **{f"blocks.3.{first}.{conv}": (128, 32) for conv in ("branch1_conv", "branch2.conv_a")},
        **{f"blocks.4.{first}.{conv}": (256, 64) for conv in ("branch1_conv", "branch2.conv_a")},
        "blocks.6.proj": (512, 64),
    }


def by_hand(model, config, slow, fast):
    """The sub-network written out with functional layers and weights cut by hand: every slice and every column from
    SlowFast's own arithmetic of channels, nothing from the slimmable layers."""
    state, statistics = model.state_dict(), model.statistics[config]

    def cut(count):
        return round_channels(config.width, count)

    def norm(name, x):
        mean, variance = statistics[name]
        weight, bias = state[f"{name}.weight"][: x.shape[1]], state[f"{name}.bias"][: x.shape[1]]
        return F.batch_norm(x, mean, variance, weight, bias)

    def conv(name, x, rows, columns, stride=(1, 1, 1), padding=(0, 0, 0)):
        return F.conv3d(x, state[f"{name}.weight"][:rows][:, columns], None, stride, padding)

    def block(name, x, columns, inner, out, temporal, stride):
        y = conv(f"{name}.branch2.conv_a", x, inner, columns, padding=(temporal // 2, 0, 0))
        y = F.relu(norm(f"{name}.branch2.norm_a", y))
        y = conv(f"{name}.branch2.conv_b", y, inner, range(inner), (1, stride, stride), (0, 1, 1))
        y = F.relu(norm(f"{name}.branch2.norm_b", y))
        y = norm(f"{name}.branch2.norm_c", conv(f"{name}.branch2.conv_c", y, out, range(inner)))
        if f"{name}.branch1_conv.weight" in state:
            x = norm(f"{name}.branch1_norm", conv(f"{name}.branch1_conv", x, out, columns, (1, stride, stride)))
        return F.relu(x + y)

    def fuse(stage, slow, fast, full_slow):
        lateral = conv(
            f"blocks.{stage}.multipathway_fusion.conv_fast_to_slow", fast, None, slice(None), (4, 1, 1), (2, 0, 0)
        )
        lateral = F.relu(norm(f"blocks.{stage}.multipathway_fusion.norm", lateral))
        frames, height, width = slow.shape[2:]
        at = torch.linspace(0, lateral.shape[2] - 1, frames)
        rows = [
            (1 - (t - t.floor())) * lateral[:, :, int(t.floor())] + (t - t.floor()) * lateral[:, :, int(t.ceil())]
            for t in at
        ]
        rows = [F.interpolate(row, (height, width), mode="bilinear") for row in rows]
        columns = [*range(slow.shape[1]), *range(full_slow, full_slow + lateral.shape[1])]
        return torch.cat([slow, torch.stack(rows, 2)], 1), columns

    stems = []
    for pathway, (x, temporal) in enumerate(((slow, 1), (fast, 5))):
        name = f"blocks.0.multipathway_blocks.{pathway}"
        rows = cut(16) if pathway == 0 else 2
        x = conv(f"{name}.conv", x, rows, range(3), (1, 2, 2), (temporal // 2, 3, 3))
        stems.append(F.max_pool3d(F.relu(norm(f"{name}.norm", x)), (1, 3, 3), (1, 2, 2), (0, 1, 1)))
    slow, fast = stems
    slow, columns = fuse(0, slow, fast, 16)
    for stage, depth in enumerate((3, 4, 6, 3), start=1):
        out, stride = 32 * 2**stage, 1 if stage == 1 else 2
        for index in range(depth):
            name = f"blocks.{stage}.multipathway_blocks.{{}}.res_blocks.{index}"
            step = stride if index == 0 else 1
            reads = columns if index == 0 else range(slow.shape[1])
            slow = block(name.format(0), slow, reads, cut(out // 4), cut(out), 3 if stage > 2 else 1, step)
            fast = block(name.format(1), fast, range(fast.shape[1]), out // 32, out // 8, 3, step)
        if stage < 4:
            slow, columns = fuse(stage, slow, fast, out)
    features = torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1)
    columns = [*range(slow.shape[1]), *range(512, 512 + 64)]
    return F.linear(features, state["blocks.6.proj.weight"][:, columns], state["blocks.6.proj.bias"])


@pytest.mark.parametrize("config", [SUBNET, SubnetConfig(0.83, 64, 2), SubnetConfig(1.0, 40, 4)], ids=str)
def test_slimmed_slowfast_equals_a_small_one_by_hand(model, config):
    calibrated(model, config).double()
    slow, fast = (clip.double() for clip in clips(model, config))
    with torch.no_grad(), model.active(config):
        logits = model([slow, fast])
    with torch.no_grad():
        expected = by_hand(model, config, slow, fast)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)


def test_fast_features_are_the_same_in_every_subnet(model):
    model.train()
    _, fast = clips(model, model.full)
    with torch.no_grad():
        expected = model.fast_features(fast)
        for config in (SUBNET, SubnetConfig(0.9, 64, 2)):
            with model.active(config):
                assert all(torch.equal(*pair) for pair in zip(model.fast_features(fast), expected, strict=True))


def test_sharing_fast_features_gives_the_papers_gradients(model):
    """The paper's scheme runs the Fast pathway in every sub-network; shared, the sums come in another order."""
    torch.manual_seed(4)
    model.double().train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    slow, fast = clips(model, model.full)
    subnets = [SubnetConfig(0.6, 48, 2), SubnetConfig(0.7, 64, 3), SubnetConfig(0.9, 48, 4)]

    def clips_for(config):
        chosen = slow[:, :, torch.linspace(0, 3, config.frames).long()]
        sized = F.interpolate(chosen, (config.frames, config.size, config.size))
        return [sized.double(), fast.double()]

    label_B, gradients, tracked, calls = torch.tensor([1, 5]), [], [], []
    original = model.state_dict()
    original = {name: value.clone() for name, value in original.items()}
    stem = model.blocks[0].multipathway_blocks[1].conv
    for shared in (True, False):
        model.load_state_dict(original)
        model.zero_grad()
        count = []
        hook = stem.register_forward_hook(lambda *_, count=count: count.append(1))
        losses = mutual_step(model if shared else _NotShared(model), clips_for, label_B, model.full, subnets).losses
        hook.remove()
        assert len(losses) == 4
        calls.append(len(count))
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
        tracked.append({name: value.clone() for name, value in model.state_dict().items() if "running" in name})
    assert calls == [1, 4]
    for name, gradient in gradients[1].items():
        scale = gradient.abs().max()
        assert scale > 0, name
        assert (gradients[0][name] - gradient).abs().max() / scale < 1e-9, name
    assert all(torch.equal(value, tracked[0][name]) for name, value in tracked[1].items())


class _NotShared:
    """SlowFast without what a batch's networks have in common: the paper's scheme, literally."""

    def __init__(self, model):
        self.model = model

    def __call__(self, clips):
        return self.model(clips)

    def active(self, config):
        return self.model.active(config)

    def shared_fast_features(self):
        return torch.enable_grad()  # a context that does nothing here


@contextmanager
def counted(model):
    """Inside the block, how often the Fast pathway runs."""
    count = []
    hook = model.blocks[0].multipathway_blocks[1].conv.register_forward_hook(lambda *_: count.append(1))
    yield count
    hook.remove()


SUBNETS = (SUBNET, SubnetConfig(0.8, 64, 2), SubnetConfig(1.0, 48, 4))


def batches_for(model, configs, number):
    torch.manual_seed(5)
    shapes = {shape for config in configs for shape in model.input_shapes(config)}
    return [
        ClipBatch(
            {shape: torch.randn(2, 3, shape.frames, shape.size, shape.size) for shape in shapes},
            torch.zeros(2, dtype=torch.int64),
            torch.tensor([2 * index, 2 * index + 1]),
        )
        for index in range(number)
    ]


def prepare(model):
    return lambda batch, config: [batch.clips[shape].clone() for shape in model.input_shapes(config)]


def test_calibration_runs_fast_once_for_each_of_its_clips(model):
    configs = [model.full, *SUBNETS, SubnetConfig(0.8, 80, 2)]  # the last one's Fast clip is larger
    batches = batches_for(model, configs, 2)
    with counted(model) as count:
        calibrate(model, configs, batches, prepare(model))
    assert len(count) == 2 * 2
    shared = dict(model.statistics)
    for config in configs:
        calibrate(model, [config], batches, prepare(model))
        for name, (mean, variance) in model.statistics[config].items():
            assert torch.equal(mean, shared[config][name][0])
            assert torch.equal(variance, shared[config][name][1])


def evaluated(model, configs, batches):
    settings = {"videos": range(4), "num_videos": 4, "num_views": 1, "num_classes": 7, "keep_scores": True}
    with evaluation_forward(model) as forward:
        return evaluate(
            forward,
            configs,
            batches,
            prepare(model),
            torch.device("cpu"),
            batch_context=model.shared_fast_features,
            **settings,
        )


def test_evaluation_runs_fast_once_where_its_statistics_agree(model):
    configs = [model.full, *SUBNETS]
    batches = batches_for(model, configs, 2)
    calibrate(model, configs, batches, prepare(model))
    with counted(model) as count:
        together = evaluated(model, configs, batches)
    assert len(count) == 2
    for config in configs:
        alone = evaluated(model, [config], batches)
        assert torch.equal(alone.scores[config], together.scores[config])


def test_the_full_network_by_its_tracked_statistics_shares_with_none(model):
    """They are others than those that its sub-networks were calibrated with."""
    batches = batches_for(model, [model.full, *SUBNETS], 2)
    calibrate(model, SUBNETS, batches, prepare(model))
    with counted(model) as count:
        evaluated(model, [model.full, *SUBNETS], batches)
    assert len(count) == 2 * 2  # the full network's own, and one for all others


def test_statistics_of_fast_that_differ_are_not_shared(model):
    """Sub-networks that were calibrated on clips of their own."""
    configs = [SUBNET, SubnetConfig(0.8, 64, 2)]
    for config in configs:
        calibrated(model, config)  # on other clips each
    slow_fast = {config: clips(model, config) for config in configs}
    expected = {}
    for config in configs:
        with torch.no_grad(), model.active(config):
            expected[config] = model(slow_fast[config])
    with torch.no_grad(), model.shared_fast_features():
        for config in configs:
            with model.active(config):
                assert torch.equal(model(slow_fast[config]), expected[config])


def test_shapes_of_the_pathways(model):
    assert model.fast == ClipShape(16, 64)
    assert model.input_shapes(SUBNET) == (ClipShape(3, 48), ClipShape(16, 64))
    # Tested at a larger size than trained, Fast's clip grows too, as in the paper's first row.
    assert model.input_shapes(SubnetConfig(1.0, 96, 4)) == (ClipShape(4, 96), ClipShape(16, 96))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(4, 64)], r"a list of 2 clip tensors \(B, C, T, H, W\), got 1 of them"),
        ([(4, 64), (16, 64), (16, 64)], "a list of 2 clip tensors .* got 3 of them"),
        ([(4, 64), (8, 64)], "4 frames for each of Slow's: 4 and 16, got 4 and 8; sub-networks with fewer"),
        ([(3, 64), (16, 64)], "4 frames for each of Slow's: 3 and 12, got 3 and 16"),
    ],
)
def test_pathways_of_the_wrong_number_or_length(model, shapes, message):
    with pytest.raises(ValueError, match=message):
        model([torch.zeros(1, 3, frames, size, size) for frames, size in shapes])


def test_pathways_that_do_not_belong_together(model):
    with pytest.raises(ValueError, match="the pathways' clips are of 2 and 1 videos"):
        model([torch.zeros(2, 3, 4, 64, 64), torch.zeros(1, 3, 16, 64, 64)])
    calibrated(model, SUBNET)
    message = r"takes clips of \(T, H, W\) \(16, 64, 64\) on pathway 1, got \(12, 64, 64\)"
    with pytest.raises(ValueError, match=message), model.active(SUBNET):
        model([torch.zeros(1, 3, 3, 48, 48), torch.zeros(1, 3, 12, 64, 64)])


def test_channels_that_do_not_divide():
    with pytest.raises(ValueError, match=r"8 \(beta_inv\) does not divide 12 \(width_per_group\)"):
        build_slowfast(full_clip=FULL_CLIP, alpha=4, num_classes=2, width_per_group=12)
