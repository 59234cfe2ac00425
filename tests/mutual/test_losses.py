from __future__ import annotations

import math

import pytest
import torch

from mutualnet3d.mutual import distillation_loss, label_loss
from mutualnet3d.mutual.losses import subnet_loss


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
    assert torch.equal(subnet_loss(logits_BK, teacher_BK, labels), distilled)
    assert torch.equal(subnet_loss(logits_BK, teacher_BK, labels, 1.0), labelled)
    mixed = subnet_loss(logits_BK, teacher_BK, labels, 0.25)
    assert mixed.item() == pytest.approx(0.75 * distilled.item() + 0.25 * labelled.item(), rel=1e-5)


@pytest.mark.parametrize("labels", [torch.tensor([0, 2, 2, 1]), torch.eye(3)[[0, 2, 2, 1]]])
def test_weights_of_classes(labels):
    logits_BK, teacher_BK, weight_K = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([4.0, 0.0, 0.5])
    losses_B = -logits_BK.log_softmax(1)[range(4), [0, 2, 2, 1]]
    expected = (4 * losses_B[0] + 0.5 * losses_B[1] + 0.5 * losses_B[2]) / 4
    torch.testing.assert_close(label_loss(logits_BK, labels, weight_K), expected)
    mixed = subnet_loss(logits_BK, teacher_BK, labels, 0.25, weight_K)
    torch.testing.assert_close(mixed, 0.75 * distillation_loss(logits_BK, teacher_BK) + 0.25 * expected)
    torch.testing.assert_close(label_loss(logits_BK, labels, torch.ones(3)), label_loss(logits_BK, labels))
