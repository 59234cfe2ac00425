from __future__ import annotations

import pytest
import torch

from mutualnet3d.engine.averaged import AveragedWeights
from mutualnet3d.engine.optim import build_sgd
from mutualnet3d.engine.optimizer_step import OptimizerStep
from mutualnet3d.engine.train_network import TrainNetwork
from mutualnet3d.engine.train_step import TrainStep
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.mutual import SubnetConfig, SubnetSpace, mutual_step
from mutualnet3d.shapes import ClipBatch, ClipShape

SPACE = SubnetSpace((0.5, 1.0), (32, 24), (4, 2))
SOLVER = {"base_lr": 0.1, "momentum": 0.9, "dampening": 0.0, "nesterov": True, "weight_decay": 1e-4}
DEVICE = torch.device("cpu")


def make_model():
    torch.manual_seed(0)
    return build_x3d(
        full_clip=ClipShape(4, 32), num_classes=3, width_factor=1.0, depth_factor=0.3, dim_c5=32, dropout_rate=0.0
    ).train()


@pytest.fixture(scope="module")
def batch():
    clips = {
        ClipShape(frames, size): torch.randint(0, 256, (4, frames, 3, size, size), dtype=torch.uint8)
        for size in SPACE.sizes
        for frames in SPACE.frames
    }
    return ClipBatch(clips, torch.tensor([0, 1, 2, 0]), torch.arange(4))


def prepare(batch, config):
    return [batch.clips[config.clip_shape].transpose(1, 2) / 255]


def make_step(model, configs_at=lambda step: SPACE.at_step(0, step), **settings):
    optimizer_step = OptimizerStep(build_sgd(model, **SOLVER))
    return TrainStep(TrainNetwork(model), optimizer_step, configs_at, prepare, DEVICE, **settings)


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal_weights(model, expected, **tolerances):
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], **tolerances, msg=lambda text, name=name: name)


def test_steps_are_mutual_steps_followed_by_the_optimizer(batch):
    model, reference = make_model(), make_model()
    run_step = make_step(model)
    optimizer = build_sgd(reference, **SOLVER)
    for step in range(2):
        metrics = run_step(step, batch)
        full, *subnets = SPACE.at_step(0, step)
        optimizer.zero_grad()
        result = mutual_step(reference, lambda config: prepare(batch, config), batch.label_B, full, subnets)
        optimizer.step()
        assert metrics.step == step
        assert metrics.losses == {key: loss.item() for key, loss in result.losses.items()}
        assert metrics.top1 == {key: fraction.item() for key, fraction in result.top1.items()}
    assert_equal_weights(model, state_of(reference), rtol=0, atol=0)


def test_parts_have_the_mean_gradients_of_their_own_steps(batch):
    """Batch norm sees one part at a time, so that the reference runs each part alone."""
    model, reference = make_model(), make_model()
    make_step(model, num_parts=2)(0, batch)
    optimizer = build_sgd(reference, **SOLVER)
    full, *subnets = SPACE.at_step(0, 0)
    for part in batch.parts(2):
        clips_for = lambda config, part=part: prepare(part, config)  # noqa: E731
        mutual_step(reference, clips_for, part.label_B, full, subnets, backward=lambda loss: (loss / 2).backward())
    optimizer.step()
    assert_equal_weights(model, state_of(reference), rtol=1e-6, atol=1e-7)


def test_a_mixture_mixes_clips_and_labels_of_every_network(batch):
    class Swap:
        """Mixture that turns the batch around."""

        def clips(self, clip_BCTHW):
            return clip_BCTHW.flip(0)

        def targets(self, label_B):
            return torch.nn.functional.one_hot(label_B.flip(0), 3).float()

    model, reference = make_model(), make_model()
    mixup_steps = []
    make_step(model, mixture_at=lambda step: mixup_steps.append(step) or Swap())(5, batch)
    flipped = ClipBatch(
        {shape: clip.flip(0) for shape, clip in batch.clips.items()}, batch.label_B.flip(0), batch.video_B
    )
    make_step(reference)(5, flipped)
    assert mixup_steps == [5]
    assert_equal_weights(model, state_of(reference), rtol=1e-5, atol=1e-6)


def test_averages_are_updated_after_the_step_and_may_be_the_teacher(batch):
    losses = {}
    for is_teacher in (False, True):
        model = make_model()
        averaged = AveragedWeights(model, decay=0.99)
        run_step = make_step(model, averaged=averaged, is_teacher=is_teacher)
        losses[is_teacher] = [list(run_step(step, batch).losses.values()) for step in range(2)]
        assert averaged.num_steps == 2
    first, second = zip(losses[False], losses[True], strict=True)
    assert first[0] == pytest.approx(first[1], rel=1e-5)  # from the same weights
    assert second[0][0] == second[1][0]
    assert second[0][1] != pytest.approx(second[1][1], rel=1e-3)  # the average changes more slowly


def test_a_single_subnet_is_trained_with_the_labels(batch):
    narrow = SubnetConfig(0.5, 24, 2)
    model, reference = make_model(), make_model()
    metrics = make_step(model, lambda step: (narrow,), single_subnet=narrow)(0, batch)
    assert list(metrics.losses) == [str(narrow)]
    optimizer = build_sgd(reference, **SOLVER)
    with reference.active(narrow):
        loss = torch.nn.functional.cross_entropy(reference(prepare(batch, narrow)), batch.label_B)
        loss.backward()
    optimizer.step()
    assert metrics.losses[str(narrow)] == loss.item()
    assert_equal_weights(model, state_of(reference), rtol=0, atol=0)


def test_a_loss_that_is_not_finite_leaves_the_weights(batch):
    model = make_model()
    run_step = make_step(model)
    run_step(0, batch)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    run_step.prepare = lambda batch, config: [clip * float("nan") for clip in prepare(batch, config)]
    metrics = run_step(1, batch)
    with pytest.raises(FloatingPointError, match="step 2: the loss of"):
        metrics.check_finite()
    assert_equal_weights(model, before, rtol=0, atol=0)
