from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from mutualnet3d.mutual import distillation_loss, label_loss
from mutualnet3d.mutual.losses import (
    ONE_LABEL,
    SEVERAL_LABELS,
    Losses,
    binary_distillation_loss,
    binary_label_loss,
)


def test_labels_may_be_classes_or_their_probabilities():
    logits_BK = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert label_loss(logits_BK, torch.tensor([0, 0])).item() == pytest.approx(by_hand)
    assert label_loss(logits_BK, torch.tensor([[1.0, 0.0], [1.0, 0.0]])).item() == pytest.approx(by_hand)


def test_distillation_is_the_divergence_of_the_teacher_from_the_student():
    teacher_BK, logits_BK = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    loss = distillation_loss(logits_BK, teacher_BK)
    p, q = teacher_BK.softmax(1), logits_BK.softmax(1)
    assert loss.item() == pytest.approx((p * (p / q).log()).sum().item() / 3, rel=1e-5)  # over classes; mean of clips
    assert distillation_loss(teacher_BK, teacher_BK).item() == pytest.approx(0.0, abs=1e-6)
    loss.backward()
    assert teacher_BK.grad is None
    torch.testing.assert_close(logits_BK.grad, ((q - p) / 3).detach())


@pytest.mark.parametrize("labels", [torch.tensor([0, 4, 2]), torch.eye(5)[:3] * 0.7 + 0.06])
def test_a_sub_networks_loss_is_a_mixture(labels):
    teacher_BK, logits_BK = torch.randn(3, 5), torch.randn(3, 5)
    distilled, labelled = distillation_loss(logits_BK, teacher_BK), label_loss(logits_BK, labels)
    assert torch.equal(ONE_LABEL.of_subnet(logits_BK, teacher_BK, labels), distilled)
    assert torch.equal(ONE_LABEL.of_subnet(logits_BK, teacher_BK, labels, 1.0), labelled)
    mixed = ONE_LABEL.of_subnet(logits_BK, teacher_BK, labels, 0.25)
    assert mixed.item() == pytest.approx(0.75 * distilled.item() + 0.25 * labelled.item(), rel=1e-5)


@pytest.mark.parametrize("labels", [torch.tensor([0, 2, 2, 1]), torch.eye(3)[[0, 2, 2, 1]]])
def test_weights_of_classes(labels):
    logits_BK, teacher_BK, weight_K = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([4.0, 0.0, 0.5])
    losses_B = -logits_BK.log_softmax(1)[range(4), [0, 2, 2, 1]]
    expected = (4 * losses_B[0] + 0.5 * losses_B[1] + 0.5 * losses_B[2]) / 4
    torch.testing.assert_close(label_loss(logits_BK, labels, weight_K), expected)
    weighted = Losses(partial(label_loss, class_weight_K=weight_K))
    mixed = weighted.of_subnet(logits_BK, teacher_BK, labels, 0.25)
    torch.testing.assert_close(mixed, 0.75 * distillation_loss(logits_BK, teacher_BK) + 0.25 * expected)
    torch.testing.assert_close(label_loss(logits_BK, labels, torch.ones(3)), label_loss(logits_BK, labels))


def test_losses_of_several_labels_are_binary_cross_entropies():
    logits_BK, teacher_BK = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    label_BK = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    p = logits_BK.sigmoid()

    def by_hand(q):
        return -(q * p.log() + (1 - q) * (1 - p).log()).mean()

    torch.testing.assert_close(binary_label_loss(logits_BK, label_BK), by_hand(label_BK))
    loss = binary_distillation_loss(logits_BK, teacher_BK)
    torch.testing.assert_close(loss, by_hand(teacher_BK.detach().sigmoid()))
    mixed = SEVERAL_LABELS.of_subnet(logits_BK, teacher_BK, label_BK, 0.25)
    torch.testing.assert_close(mixed, 0.75 * loss + 0.25 * by_hand(label_BK))
    loss.backward()
    assert teacher_BK.grad is None
    torch.testing.assert_close(logits_BK.grad, ((p - teacher_BK.sigmoid()) / 12).detach())


def test_clips_that_are_right():
    logits_BK = torch.tensor([[3.0, 1, 2], [0, 5, 1], [1, 2, 9]])
    assert ONE_LABEL.hits(logits_BK, torch.tensor([0, 0, 2])).tolist() == [True, False, True]
    mixed = torch.tensor([[0.7, 0.3, 0], [0.6, 0.4, 0], [0, 0, 1]])
    assert ONE_LABEL.hits(logits_BK, mixed).tolist() == [True, False, True]
    several = torch.tensor([[1.0, 1, 0], [1, 0, 1], [0, 0, 0]])
    assert SEVERAL_LABELS.hits(logits_BK, several).tolist() == [True, False, False]
