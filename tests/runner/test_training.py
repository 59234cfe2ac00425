"""Whole trainings on small videos, in one process."""

from __future__ import annotations

import csv
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.engine.checkpoint import load_checkpoint
from mutualnet3d.engine.evaluate import Evaluation
from mutualnet3d.models import read_model_file
from mutualnet3d.results.row import Views
from mutualnet3d.results.view_scores import Accuracy
from mutualnet3d.runner import test as run_test
from mutualnet3d.runner import train as run_train
from mutualnet3d.runner.build_training import build_lr_schedule
from mutualnet3d.runner.session import Session
from mutualnet3d.shapes import ClipShape
from tests.runner.runs import CFG, make_cfg, records_of


def test_train_and_test_write_all_they_promise(tiny_overrides, pictures):
    cfg = make_cfg(tiny_overrides(TRAIN__EVAL_PERIOD=3, SOLVER__MAX_EPOCH=6))
    checkpoint = run_train(cfg)
    table = run_test(cfg)
    assert sorted(os.listdir(cfg.OUTPUT_DIR)) == [
        "calibrated.pyth", "checkpoints", "class_accuracy.csv", "config.yaml",
        "confusion_w0.5-s32-t2.csv", "confusion_w0.5-s32-t2.png", "confusion_w1.0-s32-t4.csv",
        "confusion_w1.0-s32-t4.png", "log.jsonl", "log.txt",
        "query_table.csv", "query_table.json", "query_table.md", "scores.npz", "tradeoff.png",
    ]  # fmt: skip
    assert os.path.basename(checkpoint) == "checkpoint_epoch_00006_step_00000024.pyth"
    assert m3.load_cfg(os.path.join(cfg.OUTPUT_DIR, "config.yaml")) == cfg

    records = records_of(cfg.OUTPUT_DIR)
    assert [record["step"] for record in records] == list(range(1, 25))
    space = m3.SubnetSpace((0.5, 1.0), (32,), (4, 2))
    for record in records:
        assert list(record["losses"]) == [str(config) for config in space.at_step(cfg.RNG_SEED, record["step"] - 1)]
        assert record["lr"] == build_lr_schedule(cfg)((record["step"] - 1) / 4)
        assert record["clips_per_second"] > 0
        assert record["data_seconds"] >= 0
        assert record["compute_seconds"] > 0
    assert records[-1]["eta_seconds"] == 0
    # Bright against dark clips: a few steps tell them apart.
    assert records[-1]["losses"]["w1.0-s32-t4"] < 0.5 * records[0]["losses"]["w1.0-s32-t4"]
    assert [set(record["top1"]) for record in records_of(cfg.OUTPUT_DIR, "validation")] == [
        {"w1.0-s32-t4", "w0.5-s32-t2"}
    ] * 2

    assert [str(row.config) for row in table.rows] == ["w1.0-s32-t4", "w0.5-s32-t4", "w1.0-s32-t2", "w0.5-s32-t2"]
    assert table.rows[0].top1 > 80  # of bright against dark, five of six
    assert all(row.milliseconds > 0 and row.params > 0 for row in table.rows)
    assert table.rows[0].gflops > table.rows[-1].gflops > 0
    assert m3.QueryTable.load(os.path.join(cfg.OUTPUT_DIR, "query_table.json")) == table
    with open(os.path.join(cfg.OUTPUT_DIR, "query_table.csv")) as file:
        assert len(list(csv.DictReader(file))) == 4
    stored = set(read_model_file(os.path.join(cfg.OUTPUT_DIR, "calibrated.pyth")).network.statistics["statistics"])
    assert stored == {"w1.0-s32-t4", "w1.0-s32-t2", "w0.5-s32-t4", "w0.5-s32-t2"}


def test_static_training_runs_through_the_same_loop(tiny_overrides):
    cfg = make_cfg(tiny_overrides(MUTUAL__ENABLE=False))
    run_train(cfg)
    assert all(list(record["losses"]) == ["w1.0-s32-t4"] for record in records_of(cfg.OUTPUT_DIR))
    assert len(run_test(cfg).rows) == 4  # the same grid as the mutual network's


@pytest.mark.slow
@pytest.mark.parametrize("way", ["loss", "sampler"])
def test_classes_of_few_videos_count_as_much_as_others(tiny_overrides, tiny_data, tmp_path, way):
    """One dark video in nine: balanced by losses or by clips, with every kind of label loss."""
    lines = (tiny_data / "train.csv").read_text().splitlines()
    chosen = [line for line in lines if line.endswith(" 1") or line.startswith("train_0.")]
    (tmp_path / "train.csv").write_text("\n".join(str(tiny_data / line) for line in chosen) + "\n")
    settings = {"TRAIN__CLASS_BALANCE": way, "MUTUAL__LABEL_WEIGHT": 0.5, "SOLVER__MAX_EPOCH": 2}
    cfg = make_cfg(tiny_overrides(DATA__PATH_TO_DATA_DIR=str(tmp_path), **settings))
    run_train(cfg)
    assert [record["step"] for record in records_of(cfg.OUTPUT_DIR)] == [1, 2, 3, 4]
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert "2 classes have from 1 to 8 videos in the list; they count the same" in log
    assert f"(TRAIN.CLASS_BALANCE {way})" in log


@pytest.mark.slow
def test_several_labels_a_video(tiny_overrides, tiny_data, tmp_path):
    """Bright videos have two labels, dark ones one, one none: trained mutually, tested by mAP, and predicted."""
    text = {"0": "0", "1": "1,2"}
    for split in ("train", "val", "test"):
        lines = [line.split() for line in (tiny_data / f"{split}.csv").read_text().splitlines()]
        labels = [text[label] for _, label in lines]
        labels[0] = "-" if split == "train" else labels[0]
        entries = [f"{tiny_data / name} {label}" for (name, _), label in zip(lines, labels, strict=True)]
        (tmp_path / f"{split}.csv").write_text("\n".join(entries) + "\n")
    cfg = make_cfg(
        tiny_overrides(
            DATA__PATH_TO_DATA_DIR=str(tmp_path),
            DATA__ENSEMBLE_METHOD="max",
            MODEL__NUM_CLASSES=3,
            MODEL__LOSS_FUNC="bce",
            MUTUAL__LABEL_WEIGHT=0.5,
            TRAIN__EVAL_PERIOD=6,
            SOLVER__MAX_EPOCH=6,
        )
    )
    run_train(cfg)
    table = run_test(cfg)
    records, (validated,) = records_of(cfg.OUTPUT_DIR), records_of(cfg.OUTPUT_DIR, "validation")
    assert set(records[0]["binary_cross_entropy"]) == {"narrowest", "random"}
    full = "w1.0-s32-t4"
    assert records[-1]["losses"][full] < 0.7 * records[0]["losses"][full]
    assert set(validated["mean_ap"]) == {full, "w0.5-s32-t2"}
    assert table.rows[0].mean_ap > 90
    assert table.context["ensemble"] == "sigmoid_max"
    assert m3.QueryTable.load(os.path.join(cfg.OUTPUT_DIR, "query_table.json")) == table
    assert not [name for name in os.listdir(cfg.OUTPUT_DIR) if name.startswith("confusion")]
    with open(os.path.join(cfg.OUTPUT_DIR, "class_accuracy.csv")) as file:
        rows = list(csv.DictReader(file))
    assert [row["videos"] for row in rows] == ["3", "3", "3"]
    assert sum(float(row[full]) for row in rows) / 3 == pytest.approx(table.rows[0].mean_ap, abs=0.01)
    scores = np.load(os.path.join(cfg.OUTPUT_DIR, "scores.npz"))
    assert scores["labels"].astype(int).tolist()[:2] == [[1, 0, 0], [0, 1, 1]]

    predictor = m3.Predictor.load(os.path.join(cfg.OUTPUT_DIR, "calibrated.pyth"), backend="pytorch")
    prediction = predictor.predict(str(tiny_data / "val_1.mp4"), config=full)
    assert {label.index for label in prediction.labels[:2]} == {1, 2}
    both = [label.score for label in prediction.labels[:2]]
    assert sum(label.score for label in prediction.labels) != pytest.approx(1.0)
    assert prediction.above(min(both)) == prediction.labels[:2]
    assert prediction.above(1.0) == ()
    assert prediction.to_json()["mean_ap"] == table.rows[0].mean_ap


def test_a_loss_that_is_not_finite_names_the_subnet(tiny_overrides):
    cfg = make_cfg(tiny_overrides(SOLVER__BASE_LR=1e30))
    with pytest.raises(FloatingPointError, match=r"step \d+: the loss of w1\.0-s32-t4.* is nan; the weights are as"):
        run_train(cfg)


SLOWFAST = {
    "MODEL__ARCH": "slowfast",
    "RESNET__WIDTH_PER_GROUP": 8,
    "SLOWFAST__BETA_INV": 4,
    "SLOWFAST__ALPHA": 2,
    "DATA__NUM_FRAMES": 8,
    "DATA__SAMPLING_RATE": 2,
}


@pytest.mark.slow
def test_slowfast_trains_and_tests_as_x3d_does(tiny_overrides):
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=3, **SLOWFAST))
    run_train(cfg)
    table = run_test(cfg)
    assert {str(row.config) for row in table.rows} == {"w1.0-s32-t4", "w0.5-s32-t4", "w1.0-s32-t2", "w0.5-s32-t2"}
    assert table.rows[0].gflops > table.rows[-1].gflops > 0
    assert all(row.milliseconds > 0 for row in table.rows)
    assert [record["step"] for record in records_of(cfg.OUTPUT_DIR)] == list(range(1, 13))
    assert all(math.isfinite(loss) for record in records_of(cfg.OUTPUT_DIR) for loss in record["losses"].values())


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["slow", "i3d"])
def test_resnets_train_and_test_as_x3d_does(tiny_overrides, arch):
    cfg = make_cfg(tiny_overrides(MODEL__ARCH=arch, RESNET__WIDTH_PER_GROUP=8, SOLVER__MAX_EPOCH=1))
    run_train(cfg)
    assert len(run_test(cfg).rows) == 4


@pytest.mark.slow
def test_starting_from_weights_with_sorted_channels(tiny_overrides, tmp_path):
    """A static run's checkpoint as PySlowFast's users have one: loaded, sorted, trained mutually."""
    static = make_cfg(tiny_overrides(MUTUAL__ENABLE=False, OUTPUT_DIR=str(tmp_path / "static")))
    path = run_train(static)
    start = {"TRAIN__CHECKPOINT_FILE_PATH": path, "SOLVER__MAX_EPOCH": 1, "SOLVER__BASE_LR": 1e-6}
    results, weights = {}, {}
    for is_sorted in (False, True):
        folder = str(tmp_path / f"sorted_{is_sorted}")
        cfg = make_cfg(tiny_overrides(MUTUAL__SORT_CHANNELS=is_sorted, OUTPUT_DIR=folder, **start))
        weights[is_sorted] = load_checkpoint(run_train(cfg))["model_state"]
        log = Path(folder, "log.txt").read_text()
        assert f"started from weights of {path} (this project's)" in log
        assert ("sorted the channels of" in log) is is_sorted
        losses = records_of(cfg.OUTPUT_DIR)[0]["losses"]
        results[is_sorted] = losses
        resumed = len(log.splitlines())
        run_train(cfg)  # at its end: it resumes from its own checkpoint, and starts from no weights again
        assert "started from" not in "".join(Path(folder, "log.txt").read_text().splitlines()[resumed:])
    # The full network starts where it was, a narrow one does not.
    assert results[True]["w1.0-s32-t4"] == pytest.approx(results[False]["w1.0-s32-t4"], rel=1e-4)
    name = "blocks.1.res_blocks.0.branch2.conv_a.weight"
    assert not torch.allclose(weights[True][name], weights[False][name], atol=1e-3)
    assert weights[True][name].sum().item() == pytest.approx(weights[False][name].sum().item(), abs=1e-3)


def test_a_staged_training_decodes_and_trains_the_full_network_alone_at_first(tiny_overrides, monkeypatch):
    cfg = make_cfg(
        tiny_overrides(
            MUTUAL__START=0.4, MUTUAL__SORT_CHANNELS=True, MUTUAL__LABEL_WEIGHT=0.5, MUTUAL__SUBNET_DROPOUT=False,
            MODEL__DROPOUT_RATE=0.5, SOLVER__EMA_DECAY=0.9, MIXUP__ENABLE=True,
        )
    )  # fmt: skip
    shapes = {}
    prepare = Session.prepare
    monkeypatch.setattr(Session, "prepare", lambda self, batch, config: _noted(shapes, prepare, self, batch, config))
    run_train(cfg)
    space = m3.SubnetSpace((0.5, 1.0), (32,), (4, 2))
    records = records_of(cfg.OUTPUT_DIR)
    assert len(records) == 8
    for record in records:
        step = record["step"] - 1
        configs = [space.full] if step < 3 else space.at_step(cfg.RNG_SEED, step)  # 0.4 of 8 steps
        assert list(record["losses"]) == [str(config) for config in configs]
        assert ("kl_and_label" in record) is (step >= 3)
    assert min(records[-1]["kl_and_label"].values()) > 0.1  # of two classes in part: ln 2 and below
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert "training the full network alone, mutually from step 3 on" in log
    assert log.count("sorted the channels of") == 1
    assert log.index("step 3/8") < log.index("sorted the channels of") < log.index("step 4/8")
    assert shapes[0] == {ClipShape(4, 32)}
    assert shapes[max(shapes)] == {ClipShape(4, 32), ClipShape(2, 32)}


def _noted(shapes, prepare, session, batch, config):
    shapes[len(shapes)] = set(batch.clips)
    return prepare(session, batch, config)


def test_the_best_checkpoint_is_kept(tiny_overrides, monkeypatch):
    top1 = iter([50.0, 50.0, 90.0, 70.0, 20.0, 20.0])

    def fake(self, model, configs, loader, split, num_views):
        accuracies = {(config, Views(1, 1)): Accuracy(next(top1), 100.0, 6) for config in configs}
        return Evaluation(accuracies, {}, Views(1, 1), torch.zeros(6), torch.arange(6))

    monkeypatch.setattr("mutualnet3d.runner.session.Session.evaluate", fake)
    cfg = make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=3, TRAIN__EVAL_PERIOD=1, TRAIN__CHECKPOINTS_KEPT=1))
    run_train(cfg)
    best = load_checkpoint(os.path.join(cfg.OUTPUT_DIR, "checkpoints", "best.pyth"))
    assert best["step"] == 8
    assert best["validation"] == {"best": 80.0, "best_step": 8}
    assert len(os.listdir(os.path.join(cfg.OUTPUT_DIR, "checkpoints"))) == 2


@pytest.mark.slow
def test_parts_clipping_averages_and_scaled_rates_train_and_test(tiny_overrides):
    cfg = make_cfg(
        tiny_overrides(
            TRAIN__ACCUMULATION_STEPS=2,
            SOLVER__CLIP_GRAD_L2NORM=1.0,
            SOLVER__EMA_DECAY=0.5,
            SOLVER__LR_BATCH_SIZE=8,
            MUTUAL__TEACHER="ema",
            TEST__USE_EMA=True,
            TENSORBOARD__ENABLE=True,
            PROFILE_STEPS=1,
        )
    )
    content = load_checkpoint(run_train(cfg))
    assert records_of(cfg.OUTPUT_DIR)[0]["lr"] == pytest.approx(cfg.SOLVER.BASE_LR / 2)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert "learning rates are multiplied by 0.5: TRAIN.BATCH_SIZE 4 over SOLVER.LR_BATCH_SIZE 8; the peak is" in log
    assert "the training took" in log
    assert "profiled steps 4 to 4" in log
    table = run_test(cfg)
    assert len(table.rows) == 4
    calibrated = read_model_file(os.path.join(cfg.OUTPUT_DIR, "calibrated.pyth")).network.weights
    name = "blocks.1.res_blocks.0.branch2.conv_a.weight"
    assert torch.equal(calibrated[name], content["averaged"]["model_state"][name])
    assert not torch.equal(calibrated[name], content["model_state"][name])

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(os.path.join(cfg.OUTPUT_DIR, "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/cross_entropy/full", "train/kl/narrowest", "train/kl/random"} <= tags
    losses = [record["losses"]["w1.0-s32-t4"] for record in records_of(cfg.OUTPUT_DIR)]
    assert [event.value for event in events.Scalars("train/cross_entropy/full")] == pytest.approx(losses, rel=1e-6)
    assert [event.step for event in events.Scalars("train/lr")] == list(range(1, 9))


def test_a_batch_that_does_not_divide(tiny_overrides):
    with pytest.raises(ValueError, match=r"TRAIN\.BATCH_SIZE is 4, .* a multiple of 3: 1 processes with TRAIN\.ACCUM"):
        run_train(make_cfg(tiny_overrides(TRAIN__ACCUMULATION_STEPS=3)))


def test_without_tensorboard_there_is_a_word(tiny_overrides, monkeypatch, run_tool):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, _, errors = run_tool("tools/run_net.py", "--cfg", CFG, *tiny_overrides(TENSORBOARD__ENABLE=True))
    assert status == 2
    assert "TENSORBOARD.ENABLE needs tensorboard: pip install 'mutualnet3d[tensorboard]'" in errors


def test_a_training_past_its_end_is_complete(tiny_overrides):
    """Run a command twice, then one that asks for fewer epochs; each goes on to the test, with the checkpoint."""
    cfg, fewer = (make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=number, TRAIN__BATCH_SIZE=8)) for number in (2, 1))
    newest = run_train(cfg)
    assert run_train(cfg) == run_train(fewer) == newest
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    for steps in (4, 2):
        assert f"the training is complete: 4 steps are done, and the config asks for {steps} (SOLVER.MAX_EPOCH" in log
    assert log.count("steps 0 to 4") == log.count("clips each") == 1
    assert "the newest checkpoint has seen more steps than the config asks for: 4, not 2" in log
    assert len(records_of(cfg.OUTPUT_DIR, "trained")) == 1


def test_a_head_of_more_classes_is_refused_before_the_training(tiny_overrides):
    with pytest.raises(ValueError, match=r"MODEL\.NUM_CLASSES is 400, but the list of train in"):
        run_train(make_cfg(tiny_overrides(MODEL__NUM_CLASSES=400)))
