from __future__ import annotations

import math

import pytest
import torch

from mutualnet3d.mutual import distillation_loss, label_loss


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
