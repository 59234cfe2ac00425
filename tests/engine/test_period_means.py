from __future__ import annotations

import pytest
import torch

from mutualnet3d.engine.period_means import PeriodMeans, short_key
from mutualnet3d.engine.step_metrics import StepMetrics

FULL, SMALL, LOW = "w1.0-s32-t4", "w0.5-s32-t4", "w0.5-s32-t2"


def metrics(step, losses, top1):
    return StepMetrics(step, list(losses), torch.tensor([*losses.values(), *top1], dtype=torch.float64), 1)


def test_means_by_sub_network_and_by_place():
    means = PeriodMeans()
    means.add(metrics(0, {FULL: 1.0, SMALL: 0.1, "w0.71-s32-t4": 0.3, "w0.9-s32-t2": 0.5}, [0.5, 0.5, 0.25, 0.75]))
    means.add(metrics(1, {FULL: 3.0, LOW: 0.3, "w0.81-s32-t4": 0.1, "w0.6-s32-t2": 0.1}, [1.0, 0.0, 0.5, 0.5]))
    assert means.num_steps == 2
    assert means.losses == {
        FULL: 2.0, SMALL: 0.1, LOW: 0.3, "w0.71-s32-t4": 0.3, "w0.9-s32-t2": 0.5, "w0.81-s32-t4": 0.1,
        "w0.6-s32-t2": 0.1,
    }  # fmt: skip
    assert (means.top1[FULL], means.top1[LOW]) == (75.0, 0.0)
    by_place = means.by_place
    assert by_place["cross_entropy"] == {"full": 2.0}
    assert by_place["kl"] == pytest.approx({"narrowest": 0.2, "random": 0.25})
    assert by_place["accuracy"] == {"full": 75.0, "narrowest": 25.0, "random": 50.0}
    assert means.text() == (
        "cross-entropy w1.00-s32-t4  2.000; KL w0.50  0.2000, random widths  0.2500; "
        "top-1 w1.00-s32-t4  75.0 %, w0.50  25.0 %, random widths  50.0 %"
    )


def test_the_loss_of_sub_networks_that_learn_labels_has_another_name():
    means = PeriodMeans(learns_labels=True)
    means.add(metrics(0, {FULL: 1.0, SMALL: 0.5}, [0.5, 0.5]))
    assert means.by_place["kl_and_label"] == {"narrowest": 0.5}
    assert means.text().startswith("cross-entropy w1.00-s32-t4  1.000; KL and label w0.50  0.5000; top-1")


def test_one_network_has_no_kl():
    means = PeriodMeans()
    means.add(metrics(0, {LOW: 0.25}, [0.5]))
    assert means.by_place == {"cross_entropy": {"full": 0.25}, "accuracy": {"full": 50.0}}
    assert means.text() == "cross-entropy w0.50-s32-t2  0.250; top-1 w0.50-s32-t2  50.0 %"


def test_the_last_step_is_looked_at_when_its_numbers_are_asked_for():
    """On a GPU it may be running still."""

    class Running:
        @property
        def losses(self):
            raise AssertionError("looked at")

    means = PeriodMeans()
    means.add(Running())
    with pytest.raises(AssertionError, match="looked at"):
        means.add(metrics(1, {FULL: 1.0}, [1.0]))


def test_short_keys():
    assert short_key("w0.9972-s32-t2") == "w1.00-s32-t2"
