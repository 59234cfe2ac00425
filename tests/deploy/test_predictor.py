from __future__ import annotations

import copy
import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.deploy import backends as backends_module
from mutualnet3d.deploy import predictor as predictor_module
from mutualnet3d.deploy.backends import OnnxRuntime, OpenVINO, OpenVINOBf16, PyTorch, PyTorchBf16
from mutualnet3d.deploy.build import read_checkpoint
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.export import eager_logits, export
from mutualnet3d.deploy.prediction import best_labels, score_views
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.results.latency import device_name
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.reader import VideoDecodeError
from tests.cli.test_latency import CONFIGS, write_tested
from tests.conftest import SHARED, write_video
from tests.deploy.networks import CLASS_NAMES, FULL, HOW, SMALL, source_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return source_of("x3d", tmp_path_factory.mktemp("source"))


@pytest.fixture
def predictor(source):
    return Predictor(source, backend="pytorch")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    frames = np.random.default_rng(1).integers(0, 256, (30, 72, 96, 3), dtype=np.uint8)
    return str(write_video(tmp_path_factory.mktemp("predicted") / "video.mp4", frames))


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """The folder of a test run, of a release that knows the classes' names."""
    folder = tmp_path_factory.mktemp("tested")
    with torch.random.fork_rng(devices=[]):
        write_tested(folder, class_names=["dark", "bright"])
    return folder


def test_labels_are_those_of_the_eager_sub_network(predictor, source, video):
    got = predictor.predict(video, config=SMALL, views=(2, 3), top=3)
    read = predictor_module.ClipReader(HOW).read(video, source.shapes(SMALL), 2, 3)
    score_K = eager_logits(source, SMALL, [read.clips[shape] for shape in source.shapes(SMALL)]).softmax(1).mean(0)
    order = score_K.argsort(descending=True)[:3].tolist()
    assert [label.index for label in got.labels] == order
    assert [label.name for label in got.labels] == [f"class {index}" for index in order]
    assert [label.score for label in got.labels] == pytest.approx(score_K[order].tolist(), rel=1e-4)
    assert (got.config, got.views, got.backend, got.source) == (SMALL, 6, "pytorch", video)
    assert got.gflops == pytest.approx(m3.multiply_adds(source.network(), SMALL) / 1e9)
    assert got.frames.shape == (SMALL.frames, SMALL.size, SMALL.size, 3)
    assert np.array_equal(got.frames, read.clips[SMALL.clip_shape][0].numpy())
    assert min(got.timing.decode, got.timing.prepare, got.timing.network) > 0
    assert got.timing.total == pytest.approx(got.timing.decode + got.timing.prepare + got.timing.network)
    said = got.to_json()
    assert (said["config"], said["top1"], said["labels"][0]["index"]) == ("w0.5-s48-t2", 89.0, order[0])


def test_a_budget_chooses_the_sub_network(predictor, source, video):
    large, small = (source.gflops(config) for config in (FULL, SMALL))
    assert predictor.predict(video, gflops=large).config == FULL
    assert predictor.predict(video, gflops=0.99 * large).config == SMALL
    assert predictor.predict(video).config == FULL
    assert predictor.predict(video, config="w0.5-s48-t2").config == SMALL
    with pytest.raises(ValueError, match=r"no sub-network fits gflops=.*the cheapest in gflops is w0\.5-s48-t2"):
        predictor.predict(video, gflops=0.5 * small)


def test_milliseconds_are_those_of_here(predictor, video, monkeypatch):
    assert predictor.table.rows[0].milliseconds == 10.0  # the test run's
    points = predictor.points()
    assert predictor.table.context["backend"] == "pytorch"
    assert predictor.table.context["threads"] == torch.get_num_threads()
    assert all(row.milliseconds != 10.0 for row in predictor.table.rows)
    assert points[-1].top1 == 90.0
    assert predictor.predict(video, milliseconds=1e6).config == FULL
    monkeypatch.setattr(predictor_module.Predictor, "_measure", None)  # once is enough
    with pytest.raises(ValueError, match=r"no sub-network fits milliseconds=0\.001"):
        predictor.predict(video, milliseconds=1e-3)


def test_changing_the_budget_costs_under_a_millisecond_and_no_memory(predictor, source):
    clips = {config: random_clips(source.shapes(config), 1) for config in (FULL, SMALL)}
    weights = {name: value.data_ptr() for name, value in source.network().state_dict().items()}
    runner = {config: predictor._chosen_backend(config, None).runner(config) for config in clips}
    for config in (FULL, SMALL, FULL, SMALL):
        runner[config](clips[config])
    budgets = [source.gflops(FULL), source.gflops(SMALL)] * 50
    started = time.perf_counter()
    for budget in budgets:
        config, _ = predictor.choose(gflops=budget)
        with source.network().active(config):
            pass
    assert (time.perf_counter() - started) / len(budgets) < 1e-3
    assert {name: value.data_ptr() for name, value in source.network().state_dict().items()} == weights


def test_compiled_sub_networks_are_made_once(source, video):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [deploy])")
    predictor = Predictor(source, backend="onnxruntime", threads=1)
    predictor.prepare([SMALL])
    made = predictor._backend.runner(SMALL)
    assert predictor.predict(video, config=SMALL).backend == "onnxruntime"
    assert predictor._backend.runner(SMALL) is made


def test_calls_from_several_threads_do_not_meet(predictor, video):
    wanted = {config: predictor.predict(video, config=config).labels for config in (FULL, SMALL)}
    got = []

    def run(config):
        got.extend((config, predictor.predict(video, config=config).labels) for _ in range(4))

    threads = [threading.Thread(target=run, args=(config,)) for config in (FULL, SMALL, FULL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 12
    assert all(labels == wanted[config] for config, labels in got)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_back_ends_agree(backend, source, video):
    pytest.importorskip(backend, reason=f"{backend} is not installed (extra [deploy])")
    eager, compiled = (Predictor(source, backend=name, threads=1) for name in ("pytorch", backend))
    wanted, got = (each.predict(video, config=SMALL, views=2) for each in (eager, compiled))
    assert (got.backend, got.views) == (backend, 2)
    assert [label.index for label in got.labels] == [label.index for label in wanted.labels]
    assert [label.score for label in got.labels] == pytest.approx([label.score for label in wanted.labels], rel=1e-4)


def test_auto_computes_in_float32_alone():
    exact = set(backends_module.CHOICES["auto"])
    assert exact == {"openvino", "onnxruntime", "pytorch", "pt2"}
    assert set(backends_module.CHOICES["fast"]) - exact == {"openvino-bf16", "openvino-int8", "pytorch-bf16"}


def test_bf16_is_near(source, monkeypatch):
    monkeypatch.setattr(backends_module, "_cpu_has_bf16", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)  # see test_train_network.py: oneDNN's bf16 on this CPU
    clips = random_clips(source.shapes(SMALL), 2)
    wanted = eager_logits(source, SMALL, clips)
    got = PyTorchBf16(source, CPU, None).runner(SMALL)(clips)
    difference = float((got - wanted).abs().max() / wanted.abs().max())
    assert 1e-5 < difference < 0.05


@pytest.mark.parametrize("config", [FULL, SMALL])
def test_openvinos_bf16_is_near_and_its_logits_are_float32(config, source):
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    problem = OpenVINOBf16.why_not(source, config, CPU)
    if problem is not None:
        pytest.skip(problem)
    clips = random_clips(source.shapes(config), 2)
    wanted = eager_logits(source, config, clips)
    got = OpenVINOBf16(source, CPU, 1).runner(config)(clips)
    difference = float((got - wanted).abs().max() / wanted.abs().max())
    assert 1e-5 < difference < 0.05
    assert not torch.equal(got, got.bfloat16().float())


def test_float32_logits_compute_the_same(source):
    """In float32, where both forms of the classifier give the same but for rounding."""
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    clips = random_clips(source.shapes(SMALL), 2)
    in_bf16s_form = OpenVINOBf16(source, CPU, 1)
    in_bf16s_form._precision = "f32"
    wanted, got = (each.runner(SMALL)(clips) for each in (OpenVINO(source, CPU, 1), in_bf16s_form))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_beside_a_gpu_the_other_libraries_run_on_the_cpu(source, monkeypatch):
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    with monkeypatch.context() as has_gpu:
        has_gpu.setattr(torch.cuda, "is_available", lambda: True)
        assert PyTorch.default_device() == torch.device("cuda")
        assert OnnxRuntime.why_not(source, SMALL, None) is None
        predictor = Predictor(source, backend="openvino", threads=1)
        with pytest.raises(ValueError, match=r"back end openvino: openvino does not run on cuda, but on cpu$"):
            Predictor(source, backend="openvino", device="cuda")
    clip = np.zeros((8, 72, 96, 3), np.uint8)
    assert predictor.predict(clip, config=SMALL).backend == "openvino"
    assert predictor.measure().context["device"] == device_name(CPU)


def test_without_a_converter_pytorch_runs(source, monkeypatch, video):
    monkeypatch.setattr(backends_module, "installed", lambda module: module != "onnxscript")
    predictor = Predictor(source)
    assert predictor.predict(video, config=SMALL).backend == "pytorch"
    assert predictor.rejected["openvino"] == "onnxscript is not installed: pip install 'mutualnet3d[deploy]'"


def test_threads_are_said_where_they_are_known(source):
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    assert "threads" not in Predictor(source, backend="openvino").measure().context
    assert Predictor(source, backend="openvino", threads=1).measure().context["threads"] == 1


def test_what_is_wrong_with_a_budget_is_said_before_anything_is_measured(predictor, monkeypatch):
    monkeypatch.setattr(predictor_module.Predictor, "_measure", None)
    for budget in (float("nan"), 0, -1.0, "9"):
        with pytest.raises(ValueError, match=r"milliseconds is .*; a budget must be a number above 0"):
            predictor.choose(milliseconds=budget)


def test_sub_networks_are_prepared_by_their_keys(source):
    predictor = Predictor(source, backend="pytorch")
    predictor.prepare(["w0.5-s48-t2"])
    assert set(predictor._backend._runners) == {SMALL}
    with pytest.raises(ValueError, match=r"has no sub-network w0\.7-s48-t2 that can be run; it has w1\.0-s64-t4, "):
        predictor.prepare(["w0.7-s48-t2"])
    with pytest.raises(ValueError, match=r"configs is 'w0\.5-s48-t2'; it must be a list"):
        predictor.prepare("w0.5-s48-t2")


def test_predictions_can_be_compared(predictor, video):
    prediction = predictor.predict(video, config=SMALL)
    assert copy.deepcopy(prediction) == prediction
    assert hash(copy.deepcopy(prediction)) == hash(prediction)
    assert dataclasses.replace(prediction, views=2) != prediction


def test_a_path_may_be_a_path(tested, video):
    predictor = Predictor.load(tested / "calibrated.pyth", tested / "query_table.json", backend="pytorch")
    wanted = Predictor.load(str(tested / "calibrated.pyth"), backend="pytorch").predict(video).labels
    assert predictor.predict(Path(video)).labels == wanted


def test_missing_extras_are_one_line(source, monkeypatch, video, caplog):
    hidden = {"openvino", "onnxruntime"}
    monkeypatch.setattr(backends_module, "installed", lambda module: module not in hidden)
    with pytest.raises(ModuleNotFoundError, match=r"^openvino is not installed: pip install 'mutualnet3d\[deploy\]'$"):
        Predictor(source, backend="openvino")
    predictor = Predictor(source)
    assert predictor.predict(video, config=SMALL).backend == "pytorch"
    assert set(predictor.rejected) == {"openvino", "onnxruntime", "pt2"}
    assert "openvino is not installed: pip install 'mutualnet3d[deploy]'" in caplog.text


def test_openvino_sends_no_statistics(tmp_path):
    """It would when it is imported, and by `openvino.convert_model`, which is not called; it makes files for that."""
    pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")
    script = (
        "import sys; from mutualnet3d.deploy.networks import openvino_core; openvino_core();"
        "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env={**os.environ, "HOME": str(tmp_path)}, check=True
    )
    assert list(tmp_path.iterdir()) == []


# ---- loading ---------------------------------------------------------------------------------------------------------


def test_a_test_run_can_be_loaded(tested, video):
    predictor = Predictor.load(str(tested / "calibrated.pyth"), backend="pytorch")
    assert predictor.class_names == ("dark", "bright")
    assert predictor.configs == CONFIGS
    assert predictor.predict(video, gflops=0.5).config == CONFIGS[1]


def test_a_bundle_predicts_as_its_checkpoint(tested, tmp_path, video):
    checkpoint = str(tested / "calibrated.pyth")
    export(read_checkpoint(checkpoint), str(tmp_path / "bundle"), formats=["pt2", "pytorch"])
    wanted = Predictor.load(checkpoint, backend="pytorch").predict(video, gflops=0.5)
    for backend in ("pytorch", "pt2"):
        got = Predictor.load(str(tmp_path / "bundle"), backend=backend).predict(video, gflops=0.5)
        assert (got.config, got.labels[0].name, got.row) == (wanted.config, wanted.labels[0].name, wanted.row)
        assert got.labels[0].score == pytest.approx(wanted.labels[0].score, rel=1e-4)
    with pytest.raises(ValueError, match="is a bundle and has a table of its own"):
        Predictor.load(str(tmp_path / "bundle"), table="query_table.json")
    with pytest.raises(ValueError, match=r"back end onnxruntime: .*bundle has no onnx network of w1\.0-s32-t4"):
        Predictor.load(str(tmp_path / "bundle"), backend="onnxruntime")


def test_a_table_of_another_checkpoint_is_refused(tested, tmp_path):
    table = QueryTable.load(str(tested / "query_table.json"))
    QueryTable(table.rows, {**table.context, "checkpoint": "0123456789abcdef"}).save(str(tmp_path / "other.json"))
    with pytest.raises(ValueError, match="the table is of checkpoint 0123456789abcdef"):
        Predictor.load(str(tested / "calibrated.pyth"), table=str(tmp_path / "other.json"))


def test_without_a_table_there_are_no_budgets(tmp_path, video):
    write_tested(tmp_path, class_names=["dark", "bright"])
    (tmp_path / "query_table.json").unlink()
    predictor = Predictor.load(str(tmp_path / "calibrated.pyth"), backend="pytorch")
    assert predictor.predict(video, config=CONFIGS[1]).row is None
    for budget in ({"gflops": 1.0}, {"milliseconds": 1.0}):
        with pytest.raises(ValueError, match="no query table beside it; a budget needs the query_table"):
            predictor.predict(video, **budget)


def test_an_older_checkpoint_gives_numbers_for_names(tmp_path, caplog):
    write_tested(tmp_path)
    assert Predictor.load(str(tmp_path / "calibrated.pyth"), backend="pytorch").class_names == ("0", "1")
    assert "has no names of classes" in caplog.text


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*nothing"):
        Predictor.load(str(tmp_path / "nothing.pyth"))
    with pytest.raises(FileNotFoundError, match="not a bundle"):
        Predictor.load(str(tmp_path))


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"gflops": 1.0, "config": SMALL}, r"give a budget \(gflops, milliseconds\) or a sub-network \(config\)"),
        ({"config": SubnetConfig(0.7, 64, 4)}, r"has no sub-network w0\.7-s64-t4 .*it has w1\.0-s64-t4, w0\.5-s48-t2"),
        ({"config": "w1"}, "not a sub-network's key: 'w1'"),
        ({"gflops": -1}, "gflops is -1; a budget must be a number above 0"),
        ({"views": 0}, r"views is 0; allowed: clips over the video, 1 or more, or \(clips, crops\), crops 1 or 3"),
        ({"views": (1, 2)}, r"views is \(1, 2\)"),
        ({"top": 0}, "top is 0; it must be an integer of at least 1"),
        ({"fps": 24.0}, "fps is of frames; a file tells its own"),
    ],
)
def test_other_arguments_are_refused(arguments, said, predictor, video):
    with pytest.raises(ValueError, match=said):
        predictor.predict(video, **arguments)


def test_other_frames_are_refused(predictor):
    with pytest.raises(ValueError, match=r"frames are uint8 \(T, H, W, 3\), RGB, .*got float64 \(4, 64, 64, 3\)"):
        predictor.predict(np.zeros((4, 64, 64, 3)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backend": "tensorflow"}, "unknown back end 'tensorflow'; allowed: auto, fast, openvino"),
        ({"device": "tpu"}, "device is 'tpu'; allowed: cpu, cuda"),
        ({"threads": 0}, "threads is 0; it must be an integer of at least 1"),
        ({"backend": "openvino-int8"}, "back end openvino-int8: .*has no openvino-int8 network of w1"),
    ],
)
def test_other_settings_are_refused(settings, said, source):
    with pytest.raises(ValueError, match=said):
        Predictor(source, **settings)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("derived__text_named.mp4", "cannot be decoded"),
        ("exo__full_blocks.mkv", "no video stream"),
        ("derived__garbage.mp4", "cannot be decoded"),
    ],
)
def test_broken_videos_are_refused(name, said, predictor):
    path = SHARED / "videos" / "diverse" / name
    if not path.exists():
        pytest.skip(f"no {path}")
    with pytest.raises(VideoDecodeError, match=f"{name}.*{said}"):
        predictor.predict(path)


@pytest.mark.parametrize("ensemble", ["sum", "logits", "max"])
def test_views_are_put_together_as_testing_does(ensemble):
    from mutualnet3d.results.view_scores import ViewScores

    logits_VK = torch.randn(3, len(CLASS_NAMES))
    scores = ViewScores([0], len(CLASS_NAMES), ensemble)
    scores.add(torch.zeros(3, dtype=torch.long), logits_VK, torch.zeros(3, dtype=torch.long))
    order = scores.score_VK[0].argsort(descending=True).tolist()
    assert [each.index for each in best_labels(score_views(logits_VK, ensemble), CLASS_NAMES, 7)] == order
