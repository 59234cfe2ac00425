from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import SubnetSpace, distillation_loss, mutual_step
from mutualnet3d.ops import SlimConv3d, SlimLinear, round_channels
from mutualnet3d.shapes import ClipShape

SPACE = SubnetSpace(width_range=(0.4, 1.0), sizes=(48, 32), frames=(4, 2))


@pytest.fixture
def model():
    model = build_x3d(
        full_clip=ClipShape(4, 48), num_classes=5, width_factor=1.0, depth_factor=0.5, dim_c5=32, dropout_rate=0.0
    )
    for module in model.modules():  # not zero, as a new network's are: nothing must be hidden by zeros
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.train()


def make_clips(batch: int = 3):
    clip = torch.randn(batch, 3, 4, 48, 48)

    def clips_for(config):
        chosen = clip[:, :, torch.linspace(0, 3, config.frames).long()].flatten(0, 1)
        resized = F.interpolate(chosen, (config.size, config.size))
        return [resized.unflatten(0, (batch, 3))]

    return clips_for, torch.randint(0, 5, (batch,))


def naive_step(model, clips_for, label_B, configs):
    """The paper's algorithm 1 with all graphs alive at once, and every layer set by hand."""
    losses, teacher = [], None
    for config in configs:
        for layer in model.modules():
            if isinstance(layer, SlimConv3d | SlimLinear) and layer.slim_output:
                layer.out_width = round_channels(config.width, layer.weight.shape[0])
            if isinstance(layer, torch.nn.BatchNorm3d):
                layer.in_subnet = teacher is not None
        logits = torch.nn.Sequential(*model.blocks)(clips_for(config)[0])
        if teacher is None:
            teacher = logits.detach().softmax(1)
            losses.append(F.cross_entropy(logits, label_B))
        else:
            losses.append((teacher * (teacher.log() - logits.log_softmax(1))).sum(1).mean())
    sum(losses).backward()
    return [loss.item() for loss in losses]


def test_step_equals_the_naive_one(model):
    clips_for, label_B = make_clips()
    naive = copy.deepcopy(model)
    configs = SPACE.at_step(seed=0, step=1)
    losses = mutual_step(model, clips_for, label_B, full=configs[0], subnets=configs[1:]).losses
    expected = naive_step(naive, clips_for, label_B, configs)
    assert list(losses) == [str(config) for config in configs]
    assert [loss.item() for loss in losses.values()] == pytest.approx(expected, rel=1e-5, abs=1e-7)
    for (name, value), expected_value in zip(model.named_parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(
            value.grad, expected_value.grad, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    for value, expected_value in zip(model.buffers(), naive.buffers(), strict=True):
        torch.testing.assert_close(value, expected_value)  # tracked by the full network alone, once


def test_a_network_that_is_drawn_again_keeps_its_first_loss(model):
    """Of a space of one width the full network may be drawn as a sub-network too; its two losses differ."""
    clips_for, label_B = make_clips()
    result = mutual_step(model, clips_for, label_B, full=SPACE.full, subnets=[SPACE.full, SPACE.full])
    key = str(SPACE.full)
    assert list(result.losses) == list(result.top1) == [key, f"{key} (2)", f"{key} (3)"]
    assert result.losses[key] > 0.5
    assert result.losses[f"{key} (2)"] == result.losses[f"{key} (3)"] < 1e-4


def test_without_subnets_it_is_ordinary_training(model):
    clips_for, label_B = make_clips()
    other = copy.deepcopy(model)
    losses = mutual_step(model, clips_for, label_B, full=SPACE.full, subnets=[]).losses
    loss = F.cross_entropy(other(clips_for(SPACE.full)), label_B)
    loss.backward()
    assert list(losses) == [str(SPACE.full)]
    assert torch.equal(losses[str(SPACE.full)], loss.detach())
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_labels_reach_the_full_network_alone(model):
    """With the teacher's output fixed, a sub-network's gradient does not depend on the labels."""
    clips_for, label_B = make_clips()
    grads = []
    for labels in (label_B, (label_B + 1) % 5):
        alone, joint = copy.deepcopy(model), copy.deepcopy(model)
        mutual_step(alone, clips_for, labels, SPACE.full, [])
        mutual_step(joint, clips_for, labels, SPACE.full, [SPACE.smallest])
        grads.append([b.grad - a.grad for a, b in zip(alone.parameters(), joint.parameters(), strict=True)])
    for first, second in zip(*grads, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-6)
    assert max(grad.abs().max() for grad in grads[0]) > 1e-3


def test_distillation_loss_by_hand_and_no_gradient_to_the_teacher():
    student = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]], requires_grad=True)
    teacher = torch.tensor([[2.0, 1.0, 0.0], [1.0, 1.0, 1.0]], requires_grad=True)
    p, q = teacher.softmax(1), student.softmax(1)
    by_hand = sum(p[b, k] * (p[b, k] / q[b, k]).log() for b in range(2) for k in range(3)) / 2
    loss = distillation_loss(student, teacher)
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
    loss.backward()
    assert teacher.grad is None
    torch.testing.assert_close(student.grad, (q - p).detach() / 2)


def test_one_graph_is_alive_at_a_time(model):
    """Before each network's forward, no activation of an earlier one is kept by autograd."""
    clips_for, label_B = make_clips()
    alive, at_forward = 0, []

    def pack(tensor):
        nonlocal alive
        alive += 1
        return _Counted(tensor)

    class _Counted:
        def __init__(self, tensor):
            self.tensor = tensor

        def __del__(self):
            nonlocal alive
            alive -= 1

    def count_and_get(config):
        at_forward.append(alive)
        return clips_for(config)

    full, *subnets = SPACE.at_step(0, 0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda counted: counted.tensor):
        mutual_step(model, count_and_get, label_B, full, subnets)
    assert at_forward == [0, 0, 0, 0]
    assert alive == 0


def test_sub_networks_may_learn_the_labels_too(model):
    """Gradients of a step are linear in the weight of the labels."""
    clips_for, label_B = make_clips()
    grads = {}
    for weight in (0.0, 0.25, 1.0):
        copied = copy.deepcopy(model)
        result = mutual_step(copied, clips_for, label_B, SPACE.full, [SPACE.smallest], label_weight=weight)
        grads[weight] = [parameter.grad for parameter in copied.parameters()]
    assert result.losses[str(SPACE.smallest)] > 1.0  # a cross-entropy of five classes
    for distilled, mixed, labelled in zip(*grads.values(), strict=True):
        torch.testing.assert_close(mixed, 0.75 * distilled + 0.25 * labelled, rtol=1e-4, atol=1e-6)


def test_dropout_may_be_the_full_networks_own_alone():
    """The teacher's outputs and the sub-networks are those of a network without dropout, the full network's loss is the
    one with it."""
    torch.manual_seed(0)
    sizes = {"full_clip": ClipShape(4, 48), "num_classes": 5, "width_factor": 1.0, "depth_factor": 0.3, "dim_c5": 32}
    model, clean = (build_x3d(**sizes, dropout_rate=rate).double().train() for rate in (0.5, 0.0))
    clean.load_state_dict(model.state_dict())
    clips_for, label_B = make_clips()
    in_double = lambda config: [clip.double() for clip in clips_for(config)]  # noqa: E731
    losses = {}
    for name, network, options in (
        ("paper", model, {}),
        ("own", model, {"subnet_dropout": False}),
        ("none", clean, {}),
    ):
        torch.manual_seed(4)
        losses[name] = mutual_step(network, in_double, label_B, SPACE.full, [SPACE.smallest], **options).losses
    full, small = str(SPACE.full), str(SPACE.smallest)
    assert losses["own"][full].item() == pytest.approx(losses["paper"][full].item(), rel=1e-9)
    assert losses["own"][full].item() != pytest.approx(losses["none"][full].item(), rel=1e-3)
    assert losses["own"][small].item() == pytest.approx(losses["none"][small].item(), rel=1e-9)
    assert losses["own"][small].item() != pytest.approx(losses["paper"][small].item(), rel=1e-3)
