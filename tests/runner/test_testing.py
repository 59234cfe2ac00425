"""Test runs: which sub-networks at which sizes, where their statistics come from, and what is written."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.engine.checkpoint import load_checkpoint
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.files.torch_file import read_torch_file
from mutualnet3d.models import build_model, read_model_file
from mutualnet3d.results.query_table import QueryTable, Views
from mutualnet3d.runner import configs_to_test
from mutualnet3d.runner import test as run_test
from mutualnet3d.runner import train as run_train
from tests.conftest import TINY, as_overrides, restored_log
from tests.runner.runs import CFG, make_cfg


def statistics_in(cfg):
    """The statistics in a test run's model file, by sub-network and batch norm."""
    return read_model_file(f"{cfg.OUTPUT_DIR}/calibrated.pyth").network.statistics["statistics"]


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    """A mutual training of a few steps; gives a maker of configs that test it into a folder of their own."""
    folder = tmp_path_factory.mktemp("trained")
    common = {**TINY, "DATA.PATH_TO_DATA_DIR": str(tiny_data), "TEST.SAVE_RESULTS_PATH": ""}
    settings = {**common, "OUTPUT_DIR": str(folder / "train"), "SOLVER.MAX_EPOCH": 1}
    with restored_log(), torch.random.fork_rng(devices=[]):  # this is not within any test
        path = run_train(m3.load_cfg(CFG, as_overrides(settings)))

    def make(name, **changes):
        places = {"OUTPUT_DIR": str(folder / name), "TEST.CHECKPOINT_FILE_PATH": path}
        named = {key.replace("__", "."): value for key, value in changes.items()}
        return m3.load_cfg(CFG, as_overrides({**common, **places, **named}))

    return make


@pytest.mark.slow
def test_a_front_of_a_subset_is_tested_on_all(trained):
    some = trained("pareto", TEST__NUM_VIDEOS=4)
    first = run_test(some)
    assert (first.context["num_videos"], first.context["num_listed"], first.context["num_in_list"]) == (4, 4, 6)
    assert "over 4 of 4 listed videos (some of 6), 1 x 1 views." in first.legend()
    front = {row.config for cost in ("gflops", "milliseconds") for row in first.pareto(cost)}
    second = run_test(trained("pareto", TEST__SUBNETS=["pareto"]))
    assert {row.config for row in second.rows} == front
    assert second.context["num_videos"] == second.context["num_in_list"] == 6
    elsewhere = trained("else", TEST__SUBNETS=["pareto"], TEST__QUERY_TABLE=f"{some.OUTPUT_DIR}/query_table.json")
    assert set(configs_to_test(elsewhere)) <= front
    with pytest.raises(FileNotFoundError, match=r"no query table at .*nowhere/query_table\.json"):
        configs_to_test(trained("nowhere", TEST__SUBNETS=["pareto"]))


@pytest.mark.slow
def test_a_smaller_test_leaves_the_files_of_a_fuller_one(trained, monkeypatch):
    monkeypatch.setattr("mutualnet3d.runner.reports._picture", lambda *args: None)
    both = ["w1.0-s32-t4", "w0.5-s32-t2"]
    cfg = trained("full", TEST__SUBNETS=both)
    run_test(cfg)
    some = run_test(trained("full", TEST__SUBNETS=both[:1]))
    table = QueryTable.load(f"{cfg.OUTPUT_DIR}/query_table.json")
    assert [str(row.config) for row in table.rows] == both
    assert [str(row.config) for row in some.rows] == both[:1]
    (folder,) = Path(cfg.OUTPUT_DIR).glob("test_*")
    assert folder.name.startswith(f"test_{both[0]}_")
    for place, of_place in ((cfg.OUTPUT_DIR, table), (folder, some)):
        assert file_hash(f"{place}/calibrated.pyth") == of_place.context["checkpoint"]
    assert f"this test's files go to {folder}" in Path(cfg.OUTPUT_DIR, "log.txt").read_text()


def test_the_best_checkpoint_is_tested_where_asked(tiny_overrides, monkeypatch):
    monkeypatch.setattr("mutualnet3d.runner.reports._picture", lambda *args: None)
    words = tiny_overrides(TRAIN__CHECKPOINT_STEPS=2, SOLVER__MAX_EPOCH=1, TEST__SUBNETS=["full"])
    cfg = make_cfg(words)
    newest = run_train(cfg)
    best = make_cfg([*words, "TEST.CHECKPOINT", "best", "TRAIN.ENABLE", False])
    with pytest.raises(
        FileNotFoundError, match=r"no best\.pyth in .*, which TEST\.CHECKPOINT best tests; a training wri"
    ):
        run_test(best)
    folder = Path(cfg.OUTPUT_DIR, "checkpoints")
    os.link(folder / "checkpoint_step_00000002.pyth", folder / "best.pyth")
    run_test(best)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert f"testing 1 sub-networks of {folder}/best.pyth on 6 videos" in log
    assert "these weights have seen 2 steps; they are chosen by TEST.CHECKPOINT best\n" in log
    model_file = f"{cfg.OUTPUT_DIR}/calibrated.pyth"
    assert read_model_file(model_file).network.step == 2
    context = QueryTable.load(f"{cfg.OUTPUT_DIR}/query_table.json").context
    assert (context["weights"], context["step"]) == ("best.pyth", 2)
    run_test(cfg)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert f"testing 1 sub-networks of {newest} on 6 videos" in log
    assert (
        f"chosen by TEST.CHECKPOINT last; the best of the validations is {folder}/best.pyth, which TEST.CHECKPOI" in log
    )
    assert read_model_file(model_file).network.step == 4
    with pytest.raises(ValueError, match=r"best\.pyth: a checkpoint of a training, .*: mutualnet3d test --cfg "):
        m3.deploy.Predictor.load(str(folder / "best.pyth"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["TEST.CHECKPOINT_FILE_PATH", "a.pyth"], r"is 'best'; it must be 'last' with TEST\.CHECKPOINT_FILE_PATH"),
        (
            ["TRAIN.EVAL_PERIOD", 0],
            r"'last' unless the training validates: TRAIN\.EVAL_PERIOD, which is 0, must be from",
        ),
        (["TRAIN.EVAL_PERIOD", 3], r"TRAIN\.EVAL_PERIOD, which is 3, must be from 1 to SOLVER\.MAX_EPOCH"),
    ],
)
def test_there_has_to_be_a_best_checkpoint(tiny_overrides, words, message):
    with pytest.raises(ValueError, match=message):
        make_cfg([*tiny_overrides(TEST__CHECKPOINT="best"), *words])


@pytest.mark.slow
def test_a_larger_crop_is_calibrated_and_tested_at_its_size(trained, monkeypatch):
    """Clips of calibration show as much of the picture as those of testing, relative to their size."""
    from mutualnet3d.data import build_loaders as build

    crops = []
    original = build.RandomCrops
    monkeypatch.setattr(build, "RandomCrops", lambda **given: crops.append(given["crop_size"]) or original(**given))
    cfg = trained("larger", DATA__TEST_CROP_SIZE=40, DATA__TRAIN_JITTER_SCALES=[40, 48])
    table = run_test(cfg)
    assert crops == [40]  # training's are 32
    assert next(str(row.config) for row in table.rows) == "w1.0-s40-t4"
    assert {row.config.size for row in table.rows} == {40}
    statistics = statistics_in(cfg)
    assert read_model_file(f"{cfg.OUTPUT_DIR}/calibrated.pyth").class_names == ("0", "1")
    state = load_checkpoint(cfg.TEST.CHECKPOINT_FILE_PATH)["model_state"]
    # The full network's are those tracked in training, as in PySlowFast, unless precise ones are asked for.
    name = "blocks.0.norm"
    assert torch.equal(statistics["w1.0-s40-t4"][name][0], state[f"{name}.running_mean"])
    path = f"{cfg.OUTPUT_DIR}/calibrated.pyth"
    precise = trained(
        "precise",
        DATA__TEST_CROP_SIZE=40,
        DATA__TRAIN_JITTER_SCALES=[40, 48],
        BN__USE_PRECISE_STATS=True,
        TEST__SUBNETS=["full"],
        TEST__CHECKPOINT_FILE_PATH=path,
    )
    run_test(precise)
    again = statistics_in(precise)
    assert not torch.equal(again["w1.0-s40-t4"][name][0], state[f"{name}.running_mean"])
    assert torch.equal(again["w0.5-s40-t2"][name][0], statistics["w0.5-s40-t2"][name][0])  # those stay


def test_what_is_behind_the_table(trained, tiny_data):
    cfg = trained("files", TEST__SAVE_RESULTS_PATH="scores.npz", TEST__NUM_ENSEMBLE_VIEWS=2)
    table = run_test(cfg)
    folder = Path(cfg.OUTPUT_DIR)
    with np.load(folder / "scores.npz") as file:
        assert [os.path.basename(path) for path in file["paths"]] == [f"val_{number}.mp4" for number in range(6)]
        for row in table.default_rows:
            score_VK = file[str(row.config)]
            assert row.top1 == 100 * (score_VK.argmax(axis=1) == file["labels"]).mean()
            np.testing.assert_allclose(score_VK.sum(axis=1), 1, atol=1e-6)
            single = table.select(views=Views(1, 1)).row(row.config)
            assert single.top1 in [100 * right / 6 for right in range(7)]
            assert (single.gflops, single.milliseconds) == (row.gflops, row.milliseconds)  # of one clip
    # A prediction of one clip has the accuracy of one, and so has a budget of one; two clips have that of the test.
    predictor = Predictor.load(folder / "calibrated.pyth", backend="pytorch")
    with np.load(folder / "scores.npz") as file:
        videos = [(str(path), int(label)) for path, label in zip(file["paths"], file["labels"], strict=True)]
    for config in (table.default_rows[0].config, table.default_rows[-1].config):
        for views in (1, 2):
            row = table.row(config, Views(views, 1))
            predictions = [(predictor.predict(path, config=config, views=views), label) for path, label in videos]
            # What is shown is what comes out, exactly.
            assert row.top1 == 100 * np.mean([prediction.labels[0].index == label for prediction, label in predictions])
            values = predictions[0][0].to_json()
            assert (values["top1"], values["views"]) == (row.top1, views)
            assert values["gflops_of_video"] == pytest.approx(row.gflops_of_video)
    assert "nearby_views" not in table.context  # the middle one of two views is where a single one lies
    assert table.best(gflops=1e9).views == Views(1, 1)
    classes = list(csv.DictReader((folder / "class_accuracy.csv").open()))
    assert [(row["class"], row["name"], row["videos"]) for row in classes] == [("0", "0", "3"), ("1", "1", "3")]
    for row in table.default_rows:
        assert sum(float(line[str(row.config)]) for line in classes) / 2 == pytest.approx(row.top1, abs=0.01)
    (header, *lines) = csv.reader((folder / f"confusion_{table.default_rows[-1].config}.csv").open())
    assert header == ["true class", "0", "1"]
    counts = np.array([[int(cell) for cell in line[1:]] for line in lines])
    assert counts.sum(axis=1).tolist() == [3, 3]
    assert 100 * counts.trace() / 6 == pytest.approx(table.default_rows[-1].top1)
    assert "| ---: |" in (folder / "query_table.md").read_text()


def test_class_names_stand_beside_the_lists(trained, tiny_data, tmp_path):
    for name in ("train.csv", "test.csv"):
        lines = (tiny_data / name).read_text().splitlines()
        (tmp_path / name).write_text("".join(f"{tiny_data}/{line}\n" for line in lines))
    (tmp_path / "classes.json").write_text(json.dumps({"0": "dark room", "1": "bright room"}))
    cfg = trained("names", DATA__PATH_TO_DATA_DIR=str(tmp_path), TEST__SUBNETS=["full"])
    run_test(cfg)
    header = Path(cfg.OUTPUT_DIR, "confusion_w1.0-s32-t4.csv").read_text().splitlines()[0]
    assert header == "true class,dark room,bright room"


@pytest.mark.slow
def test_interpolated_statistics_are_measured_used_and_refused(trained, tmp_path):
    widths = {"MUTUAL__TEST_WIDTHS": [1.0, 0.75, 0.5]}
    cfg = trained("measured", TEST__MEASURE_INTERPOLATION=True, **widths)
    run_test(cfg)
    path = f"{cfg.OUTPUT_DIR}/calibrated.pyth"
    content = read_torch_file(path, "a model file")
    losses = {(frames, size): loss for frames, size, loss in content["interpolation_losses"]}
    assert set(losses) == {(4, 32), (2, 32)}
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert f"interpolated statistics cost w0.75-s32-t2 {losses[2, 32]:.2f} points of top-1" in log
    # Measuring leaves the calibrated ones in place.
    unmeasured = trained("unmeasured", **widths)
    run_test(unmeasured)
    calibrated = statistics_in(unmeasured)
    for name, (mean, _) in content["statistics"]["w0.75-s32-t2"].items():
        assert torch.equal(mean, calibrated["w0.75-s32-t2"][name][0])

    # A width of nobody's, without training clips.
    content["interpolation_losses"] = [[4, 32, 0.2], [2, 32, 0.7]]
    told = str(tmp_path / "told.pyth")
    torch.save(content, told)
    settings = {"TEST__CHECKPOINT_FILE_PATH": told, "TEST__STATISTICS": "interpolate"}
    table = run_test(trained("used", TEST__SUBNETS=["w0.6-s32-t4"], **settings))
    assert [str(row.config) for row in table.rows] == ["w0.6-s32-t4"]
    assert table.context["statistics"] == "interpolated"
    # They count as such wherever the checkpoint goes: a calibration replaces them.
    used = trained("used").OUTPUT_DIR
    again = {"TEST__CHECKPOINT_FILE_PATH": f"{used}/calibrated.pyth", "TEST__SUBNETS": ["w0.6-s32-t4"]}
    calibrated_now = run_test(trained("calibrated", **again))
    assert calibrated_now.context["statistics"] == "calibrated"
    with pytest.raises(ValueError, match=r"cost 0\.70 points of top-1 at size 32 with 2 frames, more than the 0\.5"):
        run_test(trained("refused", TEST__SUBNETS=["w0.6-s32-t2"], **settings))
    run_test(trained("allowed", TEST__SUBNETS=["w0.6-s32-t2"], TEST__MAX_INTERPOLATION_LOSS=0.7, **settings))
    content["interpolation_losses"] = []
    torch.save(content, told)
    with pytest.raises(
        ValueError, match=r"cost has not been measured at size 32 with 4 frames: test with TEST\.MEASURE"
    ):
        run_test(trained("unknown", TEST__SUBNETS=["w0.6-s32-t4"], **settings))
    with pytest.raises(ValueError, match=r"TEST\.MEASURE_INTERPOLATION needs three widths or more"):
        run_test(trained("two", TEST__MEASURE_INTERPOLATION=True))


def test_one_subnet_is_trained_alone(tiny_overrides, tmp_path):
    """The separately trained networks of the paper: its own clips, its own channels, the labels."""
    alone = {"MUTUAL__ENABLE": False, "TRAIN__SUBNET": "w0.5-s32-t2", "TEST__SUBNETS": ["w0.5-s32-t2"]}
    settings = {"X3D__DIM_C1": 16, "SOLVER__WEIGHT_DECAY": 0.0, "TRAIN__EVAL_PERIOD": 2}
    cfg = m3.load_cfg(CFG, tiny_overrides(**alone, **settings))
    torch.manual_seed(cfg.RNG_SEED)
    before = build_model(cfg).state_dict()
    after = load_checkpoint(run_train(cfg))["model_state"]
    kernel = "blocks.1.res_blocks.0.branch2.conv_a.weight"
    changed = (before[kernel] != after[kernel]).flatten(1)
    assert changed.shape == (16, 16)
    assert changed[:8, :8].all()
    assert changed.sum() == 64  # nothing else
    assert torch.equal(before["blocks.0.norm.running_mean"], after["blocks.0.norm.running_mean"])
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert "training w0.5-s32-t2 alone" in log
    assert "epoch 2: w0.5-s32-t2 top-1" in log
    table = run_test(cfg)
    assert [str(row.config) for row in table.rows] == ["w0.5-s32-t2"]
    assert log.count("calibrated 1 sub-networks") == 1  # for the validation
    with pytest.raises(ValueError, match=r"TRAIN\.SUBNET is 'w0\.5-s32-t2'; it must be '' with MUTUAL\.ENABLE"):
        m3.load_cfg(CFG, tiny_overrides(TRAIN__SUBNET="w0.5-s32-t2"))
    with pytest.raises(ValueError, match=r"w0\.4-s32-t2: width 0\.4 is outside the space's 0\.5 to 1\.0"):
        run_train(
            m3.load_cfg(
                CFG, tiny_overrides(**{**alone, "TRAIN__SUBNET": "w0.4-s32-t2"}, OUTPUT_DIR=str(tmp_path / "no"))
            )
        )


def test_a_mistake_in_the_subnets_is_found_before_the_training(tiny_overrides, tmp_path, run_tool):
    words = tiny_overrides(TEST__SUBNETS=["w0.4-s32-t2"])
    status, printed, errors = run_tool("tools/run_net.py", "--cfg", CFG, *words)
    assert status == 2
    assert "w0.4-s32-t2: width 0.4 is outside the space's 0.5 to 1.0" in errors
    assert "step 1/" not in printed
    assert not (tmp_path / "output").exists()


def test_the_full_network_trained_alone_as_a_subnet_is_calibrated(tiny_overrides):
    """It tracks no statistics: those that it was made with would be taken for them."""
    key = "w1.0-s32-t4"
    cfg = m3.load_cfg(CFG, tiny_overrides(MUTUAL__ENABLE=False, TRAIN__SUBNET=key, TEST__SUBNETS=["full"]))
    state = load_checkpoint(run_train(cfg))["model_state"]
    run_test(cfg)
    mean, _ = statistics_in(cfg)[key]["blocks.0.norm"]
    assert state["blocks.0.norm.running_mean"].abs().max() == 0
    assert mean.abs().max() > 0.01


def test_a_calibrated_checkpoint_is_tested_as_it_is(tiny_overrides, tmp_path):
    cfg = make_cfg(tiny_overrides())
    run_train(cfg)
    first = run_test(cfg)
    path = os.path.join(cfg.OUTPUT_DIR, "calibrated.pyth")
    again = make_cfg(tiny_overrides(TEST__CHECKPOINT_FILE_PATH=path, OUTPUT_DIR=str(tmp_path / "again")))
    second = run_test(again)
    assert [(row.config, row.top1) for row in second.rows] == [(row.config, row.top1) for row in first.rows]
    assert "training clips" not in Path(again.OUTPUT_DIR, "log.txt").read_text()  # that it was calibrated on


def test_without_matplotlib_there_is_a_table_and_a_word(tiny_overrides, pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    cfg = make_cfg(tiny_overrides(TEST__SUBNETS=["full"]))
    run_train(cfg)
    run_test(cfg)
    assert "query_table.json" in os.listdir(cfg.OUTPUT_DIR)
    assert "tradeoff.png" not in os.listdir(cfg.OUTPUT_DIR)
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    for name in ("tradeoff.png", "confusion_w1.0-s32-t4.png"):
        assert f"no {name}: matplotlib is not installed: pip install 'mutualnet3d[plot]'" in log


def test_views_are_averaged(tiny_overrides):
    cfg = make_cfg(tiny_overrides(TEST__NUM_ENSEMBLE_VIEWS=2, TEST__NUM_SPATIAL_CROPS=3, TEST__SUBNETS=["full"]))
    run_train(cfg)
    table = run_test(cfg)
    assert table.context["views"] == str(table.views) == "2 x 3"
    assert table.context["num_videos"] == 6


def test_testing_without_a_checkpoint(tiny_overrides):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*output; train first, or set TEST\.CHECKPOINT"):
        run_test(make_cfg(tiny_overrides()))


def test_weights_of_another_number_of_classes(tiny_overrides, tmp_path):
    path = run_train(make_cfg(tiny_overrides(MUTUAL__ENABLE=False, OUTPUT_DIR=str(tmp_path / "static"))))
    five = {"MODEL__NUM_CLASSES": 5, "DATA__ALLOW_UNUSED_CLASSES": True, "SOLVER__MAX_EPOCH": 1}
    more = make_cfg(tiny_overrides(TRAIN__CHECKPOINT_FILE_PATH=path, **five))
    run_train(more)
    assert "classifier of 2 classes left out; that of 5 starts afresh" in Path(more.OUTPUT_DIR, "log.txt").read_text()
    foreign = tiny_overrides(MODEL__NUM_CLASSES=5, TEST__CHECKPOINT_FILE_PATH=path, OUTPUT_DIR=str(tmp_path / "test"))
    with pytest.raises(ValueError, match=r"its classifier has 2 classes, the model 5; MODEL\.NUM_CLASSES must be that"):
        run_test(make_cfg(foreign))


@pytest.mark.slow
def test_foreign_weights_are_tested(tiny_overrides, tmp_path):
    """A state dict without anything around it, as pytorchvideo's users save one."""
    cfg = make_cfg(tiny_overrides(MUTUAL__ENABLE=False))
    state = load_checkpoint(run_train(cfg))["model_state"]
    torch.save({"model_state": {f"model.{name}": value for name, value in state.items()}}, tmp_path / "zoo.pyth")
    first = run_test(cfg)
    path = str(tmp_path / "zoo.pyth")
    again = run_test(make_cfg(tiny_overrides(TEST__CHECKPOINT_FILE_PATH=path, OUTPUT_DIR=str(tmp_path / "again"))))
    assert [(row.config, row.top1) for row in again.rows] == [(row.config, row.top1) for row in first.rows]
    assert read_model_file(str(tmp_path / "again" / "calibrated.pyth")).network.step == 0


def test_foreign_weights_of_the_full_network_need_no_training_clips(tiny_overrides, tiny_data, tmp_path):
    """Test of a model zoo's file by a user: BN.USE_PRECISE_STATS is on in the recipe, and only test.csv is there."""
    cfg = make_cfg(tiny_overrides(MUTUAL__ENABLE=False))
    torch.save({"model_state": load_checkpoint(run_train(cfg))["model_state"]}, tmp_path / "zoo.pyth")
    (tmp_path / "data").mkdir()
    lines = (tiny_data / "test.csv").read_text().splitlines()
    (tmp_path / "data" / "test.csv").write_text("".join(f"{tiny_data}/{line}\n" for line in lines))
    places = {"DATA__PATH_TO_DATA_DIR": str(tmp_path / "data"), "OUTPUT_DIR": str(tmp_path / "test")}
    settings = {"TEST__CHECKPOINT_FILE_PATH": str(tmp_path / "zoo.pyth"), "TEST__SUBNETS": ["full"]}
    table = run_test(make_cfg(tiny_overrides(BN__USE_PRECISE_STATS=True, **places, **settings)))
    assert [str(row.config) for row in table.rows] == ["w1.0-s32-t4"]


def test_testing_averages_that_are_not_there(tiny_overrides):
    run_train(make_cfg(tiny_overrides(SOLVER__MAX_EPOCH=1)))
    with pytest.raises(ValueError, match=r"\.pyth: has no averaged weights; those are of trainings with SOLVER\.EMA"):
        run_test(make_cfg(tiny_overrides(TEST__USE_EMA=True, TRAIN__ENABLE=False)))
