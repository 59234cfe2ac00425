"""Sub-networks of a test run in int8, tested as the run tested them."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from mutualnet3d.data.bad_videos import BadVideoFile
from mutualnet3d.data.build_loaders import build_calibration_loader
from mutualnet3d.data.build_split import read_split
from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.deploy.bundle import Bundle
from mutualnet3d.deploy.load import load_checkpoint_networks
from mutualnet3d.deploy.networks import openvino_core
from mutualnet3d.extras import installed
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.models import read_model_file, write_model_file
from mutualnet3d.results.latency import device_name
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.runner import quantizing
from mutualnet3d.runner.quantizing import quantize_tested
from mutualnet3d.shapes import Shard, SubnetConfig
from tests.cli.test_latency import CONFIGS, write_tested
from tests.deploy.first_release import write_as_first_release

pytest.importorskip("onnx", reason="onnx is not installed (extra [deploy])")
pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
pytestmark = pytest.mark.skipif(not installed("nncf"), reason="nncf is not installed (extra [deploy])")

TOOL = "tools/export.py"
FULL, SMALL = CONFIGS
# Two clips of each video, so that how they are put together matters.
VIEWS = ["TEST.NUM_ENSEMBLE_VIEWS", 2]


@pytest.fixture(scope="module")
def data(tiny_data, tmp_path_factory):
    """The tiny data with a seventh test video that cannot be decoded and an eighth that is not there."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    shutil.copytree(tiny_data, folder)
    (folder / "bad.mp4").write_bytes(b"no video")
    with (folder / "test.csv").open("a") as file:
        file.write("bad.mp4 0\nmissing.mp4 1\n")
    return folder


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """The checkpoint of a test run."""
    folder = tmp_path_factory.mktemp("tested")
    with torch.random.fork_rng(devices=[]):
        write_tested(folder, class_names=["dark", "bright"])
    checkpoint = str(folder / "calibrated.pyth")
    rows = tuple(
        Row(config, 1.0 / number, 1000, 10.0, 90.0, 100.0, views=Views(2, 1))
        for number, config in enumerate(CONFIGS, start=1)
    )
    table = QueryTable(
        rows,
        {
            "views": "2 x 1",
            "num_videos": 6,
            "num_found": 7,
            "num_listed": 8,
            "num_in_list": 8,
            "checkpoint": file_hash(checkpoint),
        },
    )
    table.save(str(folder / "query_table.json"))
    return load_checkpoint_networks(checkpoint)


def with_context(source, **changes):
    context = {**source.table.context, **changes}
    table = replace(source.table, context={name: value for name, value in context.items() if value is not None})
    return replaced(source, table)


def replaced(source, table):
    return type(source)(source.path, source.network(), source.preprocessing, source.class_names, table)


def top1_by_hand(model, source, config, data):
    """Videos read by another reader, one view after the other through a model that is compiled here."""
    model.reshape([1, config.frames, config.size, config.size, 3])
    run = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    reader, right = ClipReader(source.preprocessing), []
    for line in (data / "test.csv").read_text().splitlines()[:6]:
        name, label = line.split()
        views = reader.read(str(data / name), source.shapes(config), num_spans=2).clips[config.clip_shape]
        scores = [torch.from_numpy(run(view[None].numpy())[0])[0].softmax(0) for view in views]
        right.append(int(torch.stack(scores).mean(0).argmax()) == int(label))
    return 100.0 * sum(right) / len(right)


@pytest.mark.slow
def test_the_tool_writes_a_bundle_with_the_accuracy_of_int8(tested, data, tmp_path, run_tool):
    output = tmp_path / "bundle"
    words = ["--checkpoint", tested.path, "--output", output, "--formats", "pytorch", "--subnet", FULL, SMALL]
    status, out, err = run_tool(TOOL, *words, "--int8", "DATA.PATH_TO_DATA_DIR", data, *VIEWS)
    assert (status, err) == (0, "")
    bundle = Bundle.load(str(output))
    assert bundle.table.default_rows == tested.table.rows
    int8 = bundle.table.select(backend="openvino-int8")
    assert [row.config for row in int8.rows] == list(CONFIGS)
    views = {row.views for row in bundle.table.rows if row.backend == "openvino-int8"}
    assert views == {Views(1, 1), Views(2, 1)}  # of single views too, for predictions of one
    for row in int8.rows:
        assert row.top1 == top1_by_hand(bundle.openvino(row.config, int8=True), tested, row.config, data)
        assert (row.top5, row.views) == (100.0, Views(2, 1))
        assert 0 < row.milliseconds < 1000
        assert set(bundle.networks[row.config].files) == {"openvino-int8"}
        assert f"{row.config!s:<16} {90.0:>10.2f} {row.top1:>7.2f} {90.0 - row.top1:>6.2f}" in out
    assert len({row.top1 for row in int8.rows} | {0.0, 100.0}) > 2  # not the same whatever is done
    # Two batches of four training clips.
    facts = {"device": device_name(torch.device("cpu")), "batch_size": 1, "calibration_clips": 8}
    assert bundle.table.context == {**tested.table.context, "backend": "pytorch", "backends": {"openvino-int8": facts}}
    assert "top-1 % over 6 videos, 2 x 1 views" in out
    with open(f"{tested.path.removesuffix('calibrated.pyth')}bad_videos.csv") as file:
        assert [line.split(",")[1].rpartition("/")[2] for line in file][1:] == ["missing.mp4", "bad.mp4"]


def test_the_clips_are_those_of_calibration_up_to_a_number(tested, tiny_data, tmp_path, monkeypatch):
    cfg = quantizing._config(tested, ["DATA.PATH_TO_DATA_DIR", str(tiny_data)])
    split = read_split(cfg, "train", BadVideoFile(str(tmp_path / "bad_videos.csv")))
    shapes = tested.shapes(SMALL)
    clips = [batch.clips[shapes[0]] for batch in build_calibration_loader(cfg, split, shapes, Shard())]
    expected = torch.cat(clips).permute(0, 1, 3, 4, 2)
    assert len(expected) == 8
    for most, number in ((300, 8), (8, 8), (5, 5), (3, 3)):
        monkeypatch.setattr(quantizing, "_MAX_CLIPS", most)
        (got,) = zip(*quantizing._calibration_clips(cfg, split, shapes), strict=True)
        assert torch.equal(torch.cat(got), expected[:number])


@pytest.mark.parametrize(
    ("context", "views", "message"),
    [
        ({}, 3, r"views: 3 x 1 here, 2 x 1 in the table's test; say where its data are"),
        ({"num_in_list": 9}, 2, r"videos in the list: 8 here, 9 in the table's test"),
        ({"num_listed": 7}, 2, r"videos of the list taken: 8 here, 7 in the table's test"),
        ({"num_found": 6}, 2, r"videos that are there: 7 here, 6 in the table's test"),
        ({"num_videos": 7}, 2, r"videos that could be decoded: 6 here, 7 in the table's test"),
        ({"num_videos": None}, 2, r"the query table does not say of which test it is: its context has no 'num_videos'"),
        ({"views": None}, 2, r"the query table does not say of which test it is: its context has no 'views'"),
    ],
)
def test_another_test_than_the_table_s_is_refused(tested, data, monkeypatch, context, views, message):
    monkeypatch.setattr(quantizing, "_quantize", lambda *args: ({}, 8))
    monkeypatch.setattr(quantizing, "_evaluate", lambda *args: SimpleNamespace(video_V=range(6)))
    words = ["DATA.PATH_TO_DATA_DIR", str(data), "TEST.NUM_ENSEMBLE_VIEWS", views]
    with pytest.raises(ValueError, match=message):
        quantize_tested(with_context(tested, **context), CONFIGS, words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["MODEL.NUM_CLASSES", "3"],
            r"MODEL\.NUM_CLASSES is not of int8's data or test; allowed: keys of DATA, DATA_L.*, BN",
        ),
        (
            ["DATA.MEAN", "[0, 0, 0]"],
            r"overrides change what .*calibrated\.pyth is given: mean \(0, 0, 0\), not \(0\.45",
        ),
        (
            ["DATA.ENSEMBLE_METHOD", "max"],
            r"overrides change what .*calibrated\.pyth is given: ensemble 'max', not 'sum'",
        ),
        (["DATA.WATTS", "3"], r"override: unknown key DATA\.WATTS"),
        (["DATA.PATH_PREFIX"], r"overrides are pairs KEY VALUE, got 1 words"),
    ],
)
def test_overrides_that_cannot_be(tested, words, message):
    with pytest.raises(ValueError, match=message):
        quantize_tested(tested, CONFIGS, words)


def test_the_config_of_a_first_release_may_have_keys_of_its_own(tested, tmp_path, caplog):
    path = str(shutil.copy(tested.path, tmp_path / "calibrated.pyth"))
    write_as_first_release(path, **{"TRAIN.OLD_KEY": 1})
    cfg = quantizing._config(load_checkpoint_networks(path), ["TEST.BATCH_SIZE", 3])
    assert cfg.TEST.BATCH_SIZE == 3
    assert "its config: keys that this release does not know are ignored: TRAIN.OLD_KEY" in caplog.text


def test_a_model_file_of_no_run_says_nothing_of_data(tested, tmp_path):
    path = str(tmp_path / "calibrated.pyth")
    write_model_file(path, replace(read_model_file(tested.path), config=""))
    with pytest.raises(ValueError, match=r"no config in it, so it is not known where its data are; give the calib"):
        quantizing._config(load_checkpoint_networks(path), [])


def test_sub_networks_that_the_table_does_not_have(tested):
    with pytest.raises(
        ValueError, match=r"its query table has no row of w0\.75-s32-t4, so there is nothing to compare"
    ):
        quantize_tested(tested, [FULL, SubnetConfig(0.75, 32, 4)])
    with pytest.raises(ValueError, match=r"calibrated\.pyth: no query table beside it"):
        quantize_tested(replaced(tested, None), [FULL])


def test_the_tool_names_what_is_wrong(tested, tmp_path, run_tool, monkeypatch):
    def error_of(*words):
        status, out, err = run_tool(TOOL, "--checkpoint", tested.path, "--subnet", FULL, *words)
        assert (status, out) == (2, "")
        return err.splitlines()[-1]

    present, absent = tmp_path / "there", tmp_path / "absent"
    present.mkdir()
    assert error_of("--output", "") == "error: --output is empty; expected a folder that is not there yet"
    message = error_of("--output", present, "--int8")
    assert message == f"error: --output: {present} is there already; expected a new folder"
    message = error_of("--output", absent, "--int8", "DATA.PATH_TO_DATA_DIR", tmp_path / "none")
    assert message.startswith("error: ")
    assert str(tmp_path / "none") in message
    monkeypatch.setitem(sys.modules, "nncf", None)
    assert error_of("--output", absent, "--int8") == "error: nncf is not installed: pip install 'mutualnet3d[deploy]'"
    assert not absent.exists()
