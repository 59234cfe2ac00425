"""Models of the first release: what a test makes of today's, and the files that the release itself wrote."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.deploy import bundle as bundle_module
from mutualnet3d.deploy.load import load_model_file
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.extras import installed
from mutualnet3d.files.torch_file import CHECKPOINT, read_torch_file, write_torch_file
from mutualnet3d.models import read_model_file
from mutualnet3d.results.query_table import QueryTable, Views
from mutualnet3d.runner import test as run_test
from mutualnet3d.runner import train as run_train
from tests.cli.test_latency import write_tested
from tests.conftest import as_overrides
from tests.deploy.first_release import write_as_first_release

ARCHIVE = Path(__file__).resolve().parents[1] / "old_files" / "format_1.tar.xz"
OLD_KEY = "keys that this release does not know are ignored: TRAIN.OLD_KEY"


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder of files that the first release wrote; not to be changed."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected(old):
    return json.loads((old / "expected.json").read_text())


def frames(expected) -> np.ndarray:
    generator = np.random.default_rng(expected["frames_seed"])
    return generator.integers(0, 256, (24, 48, 64, 3), dtype=np.uint8)


def scores(predictor: Predictor, expected, key: str) -> dict[str, float]:
    return {label.name: label.score for label in predictor.predict(frames(expected), config=key).labels}


def with_old_key(path: Path) -> None:
    """A key that this release does not know, in the config of a checkpoint that was written by the first."""
    content = read_torch_file(str(path), "a checkpoint")
    assert content.pop("format") == CHECKPOINT
    content["cfg"] = content["cfg"].replace("TRAIN:\n", "TRAIN:\n  OLD_KEY: 1\n")
    write_torch_file(str(path), CHECKPOINT, {name: value for name, value in content.items() if name != "version"})


# ---- what the first release wrote ------------------------------------------------------------------------------------


def test_a_model_predicts_as_it_did(old, expected):
    predictor = Predictor.load(old / "run" / "calibrated.pyth", backend="pytorch")
    assert len(expected["checkpoint"]) == 6
    for key, by_name in expected["checkpoint"].items():
        assert scores(predictor, expected, key) == pytest.approx(by_name, abs=1e-4)
    table = QueryTable.load(str(old / "run" / "query_table.json"))
    assert {str(row.config) for row in table.rows} == set(expected["checkpoint"])
    assert len(table.rows) == 2 * 6  # 2 x 1 views, and one view from the same scores
    assert predictor.table.rows == table.query_rows
    assert {row.views for row in predictor.table.rows} == {Views(), Views(2, 1)}
    single = table.select(views=Views())  # of a clip, as it was chosen then
    assert str(single.best(gflops=1.0).config) == expected["best"]


@pytest.mark.parametrize("backend", ["pytorch", "openvino", "openvino-int8"])
def test_a_bundle_predicts_as_it_did(backend, old, expected):
    if backend != "pytorch" and not installed("openvino"):
        pytest.skip("openvino is not installed (extra [deploy])")
    predictor = Predictor.load(old / "bundle", backend=backend)
    assert scores(predictor, expected, "w0.5-s32-t2") == pytest.approx(expected["bundle"][backend], abs=1e-4)


def test_an_unknown_key_in_the_config_is_a_warning(old, expected, tmp_path, caplog):
    shutil.copytree(old / "bundle", tmp_path / "bundle")
    for folder, name in (("run", "calibrated.pyth"), ("bundle", "checkpoint.pyth")):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(old / folder / name, path)
        with_old_key(path)
    (tmp_path / "bundle" / "SHA256SUMS").unlink()
    bundle_module.write_sums(str(tmp_path / "bundle"))
    key = "w0.5-s32-t2"
    for path, by_name in (
        (tmp_path / "run" / "calibrated.pyth", expected["checkpoint"][key]),
        (tmp_path / "bundle", expected["bundle"]["pytorch"]),
    ):
        caplog.clear()
        assert scores(Predictor.load(path, backend="pytorch"), expected, key) == pytest.approx(by_name, abs=1e-4)
        assert [record.getMessage() for record in caplog.records if OLD_KEY in record.getMessage()]


def test_a_training_goes_on_from_its_checkpoint_and_is_tested(old, tiny_data, tmp_path):
    """With a key in the stored config that this release does not know."""
    shutil.copytree(old / "run", tmp_path / "run")
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("*.pyth")
    with_old_key(checkpoint)
    config, settings = str(old / "run" / "config.yaml"), {"DATA.PATH_TO_DATA_DIR": str(tiny_data)}
    going_on = {**settings, "OUTPUT_DIR": str(tmp_path / "run"), "SOLVER.MAX_EPOCH": 2}
    path = run_train(m3.load_cfg(config, as_overrides(going_on)))
    assert path.endswith("checkpoint_epoch_00002_step_00000008.pyth")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert f"resumed from {checkpoint}, 4 steps done" in log
    assert "TRAIN.OLD_KEY: 1 -> 'not there'" in log
    tested = {
        **settings,
        "OUTPUT_DIR": str(tmp_path / "test"),
        "TEST.CHECKPOINT_FILE_PATH": str(checkpoint),
        "TEST.SUBNETS": ["full"],
        "TEST.MEASURE_INTERPOLATION": False,
    }
    table = run_test(m3.load_cfg(config, as_overrides(tested)))
    assert [str(row.views) for row in table.rows] == ["2 x 1", "1 x 1"]
    assert read_model_file(str(tmp_path / "test" / "calibrated.pyth")).builder == "x3d"


# ---- its format, in other hands --------------------------------------------------------------------------------------


def test_a_config_describes_what_todays_file_says(tmp_path):
    _, path, _, _ = write_tested(tmp_path, class_names=["dark", "bright"])
    today = read_model_file(path)
    write_as_first_release(path, class_names=["dark", "bright"])
    upgraded = load_model_file(path)
    for name in ("builder", "class_names", "space", "channels_last", "arguments"):
        assert getattr(upgraded, name) == getattr(today, name), name
    assert {name: today.preprocessing[name] for name in ("crop_size", "scale", "ensemble")} == {
        name: upgraded.preprocessing[name] for name in ("crop_size", "scale", "ensemble")
    }
    assert set(upgraded.preprocessing) == set(today.preprocessing)
    assert upgraded.network.step == today.network.step
    assert set(upgraded.network.statistics["statistics"]) == set(today.network.statistics["statistics"])
    assert all(torch.equal(value, today.network.weights[name]) for name, value in upgraded.network.weights.items())


def test_without_names_of_classes_numbers_are_given(tmp_path, caplog):
    _, path, _, _ = write_tested(tmp_path, class_names=["dark", "bright"])
    write_as_first_release(path)
    assert load_model_file(path).class_names == ("0", "1")
    assert "has no names of classes" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no config in it; give the calibrated\.pyth that a test run wrote beside its query table"),
        ("[\n", "its config:2: not a YAML file"),
        ("MODEL:\n  ARCH: vit\n", r"unknown model: MODEL\.ARCH is 'vit'"),
        ("TRAIN:\n  BATCH_SIZE: many\n", r"its config: TRAIN\.BATCH_SIZE: "),
    ],
)
def test_configs_that_describe_nothing_are_refused(text, message, tmp_path):
    _, path, _, _ = write_tested(tmp_path)
    write_as_first_release(path, text=text)
    with pytest.raises(ValueError, match=message):
        load_model_file(path)
