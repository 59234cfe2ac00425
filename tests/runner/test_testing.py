"""Test runs: which sub-networks at which sizes, where their statistics come from, and what is written."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.data.build_loaders import read_class_names
from mutualnet3d.engine.checkpoint import load_checkpoint, save_checkpoint
from mutualnet3d.models import build_model
from mutualnet3d.results.query_table import Views
from mutualnet3d.runner import build_test_space, configs_to_test
from mutualnet3d.runner import test as run_test
from mutualnet3d.runner import train as run_train
from tests.conftest import TINY, as_overrides, log_as_found

CFG = "X3D_tiny_mutual.yaml"


def keys(cfg):
    return [str(config) for config in configs_to_test(cfg)]


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    """A mutual training of a few steps; gives a maker of configs that test it into a folder of their own."""
    folder = tmp_path_factory.mktemp("trained")
    common = {**TINY, "DATA.PATH_TO_DATA_DIR": str(tiny_data), "TEST.SAVE_RESULTS_PATH": ""}
    settings = {**common, "OUTPUT_DIR": str(folder / "train"), "SOLVER.MAX_EPOCH": 1}
    with log_as_found(), torch.random.fork_rng(devices=[]):  # this is not within any test
        path = run_train(m3.load_cfg(CFG, as_overrides(settings)))

    def make(name, **changes):
        places = {"OUTPUT_DIR": str(folder / name), "TEST.CHECKPOINT_FILE_PATH": path}
        named = {key.replace("__", "."): value for key, value in changes.items()}
        return m3.load_cfg(CFG, as_overrides({**common, **places, **named}))

    return make


@pytest.mark.parametrize(
    ("name", "overrides", "full", "size"),
    [
        ("SLOW_8x8_R50.yaml", [], "w1.0-s256-t8", 256),  # as PySlowFast tests it
        ("SLOW_8x8_R50_mutual.yaml", [], "w1.0-s256-t8", 144),
        ("SLOWFAST_4x16_R50_mutual.yaml", [], "w1.0-s256-t4", 144),
        ("X3D_M.yaml", [], "w1.0-s224-t16", 224),
        ("X3D_M_mutual.yaml", [], "w1.0-s224-t16", 144),
        ("X3D_tiny_mutual.yaml", [], "w1.0-s48-t8", 32),
        ("X3D_tiny_mutual.yaml", ["DATA.TRAIN_JITTER_SCALES", [60, 64], "DATA.TEST_CROP_SIZE", 60], "w1.0-s60-t8", 40),
        ("X3D_tiny_mutual.yaml", ["TEST.SIZES", [56, 44, 36]], "w1.0-s56-t8", 36),
    ],
)
def test_sizes_of_testing(name, overrides, full, size):
    cfg = m3.load_cfg(name, overrides)
    space = build_test_space(cfg)
    assert str(space.full) == full
    assert min(space.sizes) == size
    assert keys(cfg)[0] == full


def test_a_size_for_each_that_is_trained():
    for sizes in ([56, 44], [56, 44, 44], [56, 44, 30.5]):
        with pytest.raises(
            ValueError, match=r"TEST\.SIZES is .*; it must be a size in pixels for each of MUTUAL\.SIZES, \[48"
        ):
            m3.load_cfg(CFG, ["TEST.SIZES", sizes])


@pytest.mark.parametrize(
    ("name", "number", "first", "last"),
    [
        ("X3D_M_mutual.yaml", 11, "w1.0-s224-t16", "w0.63-s144-t6"),
        ("SLOW_8x8_R50_mutual.yaml", 9, "w1.0-s256-t8", "w0.63-s144-t3"),
        ("SLOWFAST_4x16_R50_mutual.yaml", 10, "w1.0-s256-t4", "w0.63-s144-t2"),
    ],
)
def test_the_papers_subnets(name, number, first, last):
    configs = keys(m3.load_cfg(name, ["TEST.SUBNETS", ["paper"]]))
    assert (len(configs), configs[0], configs[-1]) == (number, first, last)


def test_the_paper_has_not_all_networks():
    with pytest.raises(ValueError, match=r"the paper has no results of this network \(x3d, 8 frames.*x3d_m, slow_8x8"):
        configs_to_test(m3.load_cfg(CFG, ["TEST.SUBNETS", ["paper"]]))


def test_keys_may_have_sizes_of_training_and_of_testing():
    both = ["w0.63-s224-t8", "w0.63-s160-t8", "w0.63-s182-t8"]
    assert keys(m3.load_cfg("SLOW_8x8_R50_mutual.yaml", ["TEST.SUBNETS", both])) == both
    with pytest.raises(ValueError, match=r"size 200 is none of the space's 256, 224, 182, 144, 192, 160, 128"):
        configs_to_test(m3.load_cfg("SLOW_8x8_R50_mutual.yaml", ["TEST.SUBNETS", ["w0.63-s200-t8"]]))


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
    statistics = load_checkpoint(f"{cfg.OUTPUT_DIR}/calibrated.pyth")["statistics"]
    assert load_checkpoint(f"{cfg.OUTPUT_DIR}/calibrated.pyth")["class_names"] == ["0", "1"]
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
    again = load_checkpoint(f"{precise.OUTPUT_DIR}/calibrated.pyth")["statistics"]
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
            assert single.top1 in [100 * right / 12 for right in range(13)]
            assert (single.gflops, single.milliseconds) == (row.gflops, row.milliseconds)  # of one clip
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


def test_class_names_of_something_something_and_of_a_label_file(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"Pushing something": "0", "Pulling something": "1"}))
    words = ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "MODEL.NUM_CLASSES", 3]
    ssv2 = m3.load_cfg("SLOW_8x8_R50_ssv2.yaml", words)
    assert read_class_names(ssv2) == ["Pushing something", "Pulling something", "2"]
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    assert read_class_names(m3.load_cfg(CFG, [*words, "DATA.LABEL_FILE", str(tmp_path / "names.txt")])) == [
        "a",
        "b",
        "c",
    ]
    assert read_class_names(m3.load_cfg(CFG, words)) == ["Pushing something", "Pulling something", "2"]
    (tmp_path / "labels.json").unlink()
    assert read_class_names(m3.load_cfg(CFG, words)) == ["0", "1", "2"]


def test_interpolated_statistics_are_measured_used_and_refused(trained, tmp_path):
    widths = {"MUTUAL__TEST_WIDTHS": [1.0, 0.75, 0.5]}
    cfg = trained("measured", TEST__MEASURE_INTERPOLATION=True, **widths)
    run_test(cfg)
    path = f"{cfg.OUTPUT_DIR}/calibrated.pyth"
    content = load_checkpoint(path)
    losses = {(frames, size): loss for frames, size, loss in content["interpolation_losses"]}
    assert set(losses) == {(4, 32), (2, 32)}
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    assert f"interpolated statistics cost w0.75-s32-t2 {losses[2, 32]:.2f} points of top-1" in log
    # Measuring leaves the calibrated ones in place.
    plain = trained("plain", **widths)
    run_test(plain)
    calibrated = load_checkpoint(f"{plain.OUTPUT_DIR}/calibrated.pyth")["statistics"]
    for name, (mean, _) in content["statistics"]["w0.75-s32-t2"].items():
        assert torch.equal(mean, calibrated["w0.75-s32-t2"][name][0])

    # A width of nobody's, without training clips.
    content["interpolation_losses"] = [[4, 32, 0.2], [2, 32, 0.7]]
    told = str(tmp_path / "told.pyth")
    save_checkpoint(told, content)
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
    save_checkpoint(told, content)
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
    mean, _ = load_checkpoint(f"{cfg.OUTPUT_DIR}/calibrated.pyth")["statistics"][key]["blocks.0.norm"]
    assert state["blocks.0.norm.running_mean"].abs().max() == 0
    assert mean.abs().max() > 0.01
