from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mutualnet3d as m3
from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.export import eager_logits, export
from mutualnet3d.deploy.load import load_checkpoint_networks
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.errors import VideoDecodeError
from tests.cli.test_latency import CONFIGS, write_tested
from tests.conftest import SHARED
from tests.copies import SERVER
from tests.deploy.networks import FULL, HOW, SMALL, source_of

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def predictor(networks):
    return Predictor(networks, backend="pytorch")


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """The folder of a test run, of a release that knows the classes' names."""
    folder = tmp_path_factory.mktemp("tested")
    with torch.random.fork_rng(devices=[]):
        write_tested(folder, class_names=["dark", "bright"])
    return folder


def test_labels_are_those_of_the_eager_sub_network(predictor, networks, video):
    got = predictor.predict(video, config=SMALL, views=(2, 3), top=3)
    read = ClipReader(HOW).read(video, networks.shapes(SMALL), 2, 3)
    score_K = eager_logits(networks, SMALL, [read.clips[shape] for shape in networks.shapes(SMALL)]).softmax(1).mean(0)
    order = score_K.argsort(descending=True)[:3].tolist()
    assert [label.index for label in got.labels] == order
    assert [label.name for label in got.labels] == [f"class {index}" for index in order]
    assert [label.score for label in got.labels] == pytest.approx(score_K[order].tolist(), rel=1e-4)
    assert (got.config, got.views, got.backend, got.source) == (SMALL, 6, "pytorch", video)
    assert got.gflops == pytest.approx(m3.multiply_adds(networks.network(), SMALL) / 1e9)
    assert got.frames.shape == (SMALL.frames, SMALL.size, SMALL.size, 3)
    assert np.array_equal(got.frames, read.clips[SMALL.clip_shape][0].numpy())
    assert min(got.timing.decode, got.timing.prepare, got.timing.network) > 0
    assert got.timing.total == pytest.approx(got.timing.decode + got.timing.prepare + got.timing.network)
    values = got.to_json()
    # The table knows the accuracy of one view alone.
    assert (values["config"], values["top1"], values["labels"][0]["index"]) == ("w0.5-s48-t2", None, order[0])
    assert predictor.predict(video, config=SMALL).to_json()["top1"] == 89.0


def test_changing_the_budget_costs_under_a_millisecond_and_no_memory(predictor, networks):
    clips = {config: random_clips(networks.shapes(config), 1) for config in (FULL, SMALL)}
    weights = {name: value.data_ptr() for name, value in networks.network().state_dict().items()}
    for config in (FULL, SMALL, FULL, SMALL):
        predictor._backend(config, clips[config])
    budgets = [networks.gflops(FULL), networks.gflops(SMALL)] * 50
    started = time.perf_counter()
    for budget in budgets:
        config, _ = predictor.choose(gflops=budget)
        with networks.network().active(config):
            pass
    assert (time.perf_counter() - started) / len(budgets) < 1e-3
    assert {name: value.data_ptr() for name, value in networks.network().state_dict().items()} == weights


def test_compiled_sub_networks_are_made_once(networks, video):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [deploy])")
    predictor = Predictor(networks, backend="onnxruntime", threads=1)
    predictor.prepare([SMALL])
    made = predictor._backend.forward(SMALL)
    assert predictor.predict(video, config=SMALL).backend == "onnxruntime"
    assert predictor._backend.forward(SMALL) is made


def test_calls_from_several_threads_do_not_meet(predictor, video):
    expected = {config: predictor.predict(video, config=config).labels for config in (FULL, SMALL)}
    got = []

    def run(config):
        got.extend((config, predictor.predict(video, config=config).labels) for _ in range(4))

    threads = [threading.Thread(target=run, args=(config,)) for config in (FULL, SMALL, FULL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 12
    assert all(labels == expected[config] for config, labels in got)


@pytest.mark.parametrize("backend", ["pytorch", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def test_predictors_of_one_model_do_not_meet(backend, networks):
    """The width of a slimmable network is state of the model."""
    if backend != "pytorch":
        pytest.importorskip(backend, reason=f"{backend} is not installed (extra [deploy])")
    predictors = [Predictor(networks, backend=backend, threads=1) for _ in range(2 if backend != "pytorch" else 4)]
    frames = np.random.default_rng(3).integers(0, 256, (30, 72, 96, 3), dtype=np.uint8)
    expected = {config: predictors[0].predict(frames, config=config).labels for config in (FULL, SMALL)}

    def run(number):
        config = (FULL, SMALL)[number % 2]
        return [(config, predictors[number].predict(frames, config=config).labels) for _ in range(20)]

    with ThreadPoolExecutor(len(predictors)) as threads:
        got = [pair for pairs in threads.map(run, range(len(predictors))) for pair in pairs]
    assert len(got) == 20 * len(predictors)
    assert all(labels == expected[config] for config, labels in got)


def test_a_thread_that_switches_the_model_meets_no_predictor(predictor, networks, video):
    model, expected = networks.network(), predictor.predict(video, config=FULL).labels
    clips = random_clips(networks.shapes(SMALL), 1)
    device = next(model.parameters()).device
    normalized = [clip.permute(0, 4, 1, 2, 3).float().to(device) / 255 for clip in clips]

    def logits():
        with torch.no_grad(), model.active(SMALL):
            return model(normalized)

    alone = logits()
    with ThreadPoolExecutor(1) as thread:
        others = thread.submit(lambda: [logits() for _ in range(20)])
        assert all(predictor.predict(video, config=FULL).labels == expected for _ in range(20))
        assert all(torch.equal(logits_BK, alone) for logits_BK in others.result())


def test_reading_waits_for_no_network(predictor, networks, video):
    with ThreadPoolExecutor(1) as thread, networks.network().lock:
        waiting = thread.submit(predictor.read, video, config=None)
        time.sleep(0.1)
    assert waiting.result().config == FULL


FORKS = """
import os, signal, sys
import torch
from tests.deploy.test_predictor import FULL, SMALL, Predictor, np, source_of
from pathlib import Path
torch.set_num_threads(2)
networks = source_of("x3d", Path(sys.argv[1]))
frames = np.random.default_rng(0).integers(0, 256, (30, 72, 96, 3), dtype=np.uint8)
predictor = Predictor(networks, backend="pytorch", threads=2)
expected = [predictor.predict(frames, config=config).labels for config in (FULL, SMALL)]
torch.randn(1 << 20).add(1).exp()  # surely by two threads
pid = os.fork()
if not pid:
    signal.alarm(60)
    got = [predictor.predict(frames, config=config).labels for config in (FULL, SMALL)]
    got += [Predictor(networks, backend="pytorch", threads=2).predict(frames, config=FULL).labels]
    first, second = (
        [[(a.index, round(a.score, 4)) for a in labels] for labels in part] for part in (got, [*expected, expected[0]])
    )
    os._exit(0 if first == second else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_a_forked_process_predicts(tmp_path):
    """The threads among which PyTorch divides its work do not survive a fork."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", FORKS, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "PyTorch runs in one thread here" in done.stderr


def labels_of(pickled, frames, config):
    """Return the labels of a pickled predictor, in another process."""
    return pickle.loads(pickled).predict(frames, config=config).labels


@pytest.mark.parametrize("of_file", [True, False])
def test_a_predictor_pickles(of_file, networks, tested):
    predictor = (
        Predictor.load(tested / "calibrated.pyth", backend="pytorch", threads=1)
        if of_file
        else Predictor(networks, backend="pytorch", threads=1)
    )
    frames = np.random.default_rng(0).integers(0, 256, (30, 72, 96, 3), dtype=np.uint8)
    config = predictor.configs[-1]
    pickled = pickle.dumps(predictor)
    with SERVER.Pool(1) as pool:
        assert pool.apply(labels_of, (pickled, frames, config)) == predictor.predict(frames, config=config).labels
    copy = pickle.loads(pickled)
    assert (copy.backend, copy.configs, copy.class_names) == ("pytorch", predictor.configs, predictor.class_names)
    assert pickle.loads(pickle.dumps(copy)).predict(frames, config=config).labels == labels_of(pickled, frames, config)
    assert len(pickled) < 10_000 or not of_file


def test_networks_that_do_not_pickle_are_told(networks, tmp_path):
    networks = source_of("x3d", tmp_path)
    networks.network().hook = lambda: None
    with pytest.raises(pickle.PicklingError, match=r"the networks of .*pyth do not pickle \(.*; a predictor"):
        pickle.dumps(Predictor(networks, backend="pytorch"))


def test_sub_networks_are_prepared_by_their_keys(networks):
    predictor = Predictor(networks, backend="pytorch")
    predictor.prepare(["w0.5-s48-t2"])
    assert set(predictor._backend._forwards) == {(SMALL, False)}
    with pytest.raises(ValueError, match=r"has no sub-network w0\.7-s48-t2 that can be run; it has w1\.0-s64-t4, "):
        predictor.prepare(["w0.7-s48-t2"])
    with pytest.raises(ValueError, match=r"configs is 'w0\.5-s48-t2'; it must be a list"):
        predictor.prepare("w0.5-s48-t2")


def test_a_path_may_be_a_path(tested, video):
    predictor = Predictor.load(tested / "calibrated.pyth", tested / "query_table.json", backend="pytorch")
    expected = Predictor.load(str(tested / "calibrated.pyth"), backend="pytorch").predict(video).labels
    assert predictor.predict(Path(video)).labels == expected


# ---- loading ---------------------------------------------------------------------------------------------------------


def test_a_test_run_can_be_loaded(tested, video):
    predictor = Predictor.load(str(tested / "calibrated.pyth"), backend="pytorch")
    assert predictor.class_names == ("dark", "bright")
    assert predictor.configs == CONFIGS
    assert predictor.predict(video, gflops=0.5).config == CONFIGS[1]


def test_a_bundle_predicts_as_its_checkpoint(tested, tmp_path, video):
    checkpoint = str(tested / "calibrated.pyth")
    export(load_checkpoint_networks(checkpoint), str(tmp_path / "bundle"), formats=["pt2", "pytorch"])
    expected = Predictor.load(checkpoint, backend="pytorch").predict(video, gflops=0.5)
    for backend in ("pytorch", "pt2"):
        got = Predictor.load(str(tmp_path / "bundle"), backend=backend).predict(video, gflops=0.5)
        assert (got.config, got.labels[0].name, got.row) == (expected.config, expected.labels[0].name, expected.row)
        assert got.labels[0].score == pytest.approx(expected.labels[0].score, rel=1e-4)
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


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*nothing"):
        Predictor.load(str(tmp_path / "nothing.pyth"))
    with pytest.raises(FileNotFoundError, match="not a bundle"):
        Predictor.load(str(tmp_path))


def test_a_folder_of_pictures_is_a_video_whose_rate_the_caller_may_know(predictor, tmp_path):
    frames = np.random.default_rng(2).integers(0, 256, (30, 72, 96, 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    for fps in (None, 12.0):
        of_folder = predictor.predict(tmp_path, config=SMALL, fps=fps)
        in_memory = predictor.predict(frames, config=SMALL, fps=fps)
        assert of_folder.source == str(tmp_path)
        assert of_folder.labels == in_memory.labels
        assert np.array_equal(of_folder.frames, in_memory.frames)
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoDecodeError, match="empty: the folder has no picture; looked for"):
        predictor.predict(str(tmp_path / "empty"))


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gflops": 1.0, "config": SMALL}, r"give a budget \(gflops, milliseconds\) or a sub-network \(config\)"),
        ({"config": SubnetConfig(0.7, 64, 4)}, r"has no sub-network w0\.7-s64-t4 .*it has w1\.0-s64-t4, w0\.5-s48-t2"),
        ({"config": "w1"}, "not a sub-network's key: 'w1'"),
        ({"gflops": -1}, "gflops is -1; a budget must be a number above 0"),
        ({"views": 0}, r"views is 0; allowed: clips over the video, 1 or more, or \(clips, crops\), crops 1 or 3"),
        ({"views": (1, 2)}, r"views is \(1, 2\)"),
        ({"top": 0}, "top is 0; it must be an integer of at least 1"),
        ({"fps": 24.0}, "fps is of frames and of folders of pictures; a file tells its own"),
    ],
)
def test_other_arguments_are_refused(arguments, message, predictor, video):
    with pytest.raises(ValueError, match=message):
        predictor.predict(video, **arguments)


def test_other_frames_are_refused(predictor):
    with pytest.raises(ValueError, match=r"frames are uint8 \(T, H, W, 3\), RGB, .*got float64 \(4, 64, 64, 3\)"):
        predictor.predict(np.zeros((4, 64, 64, 3)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "tensorflow"}, "unknown back end 'tensorflow'; allowed: auto, fast, openvino"),
        ({"device": "tpu"}, "device is 'tpu'; allowed: cpu, cuda"),
        ({"threads": 0}, "threads is 0; it must be an integer of at least 1"),
        ({"backend": "openvino-int8"}, "back end openvino-int8: .*has no openvino-int8 network of w1"),
    ],
)
def test_other_settings_are_refused(settings, message, networks):
    with pytest.raises(ValueError, match=message):
        Predictor(networks, **settings)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("derived__text_named.mp4", "cannot be decoded"),
        ("exo__full_blocks.mkv", "no video stream"),
        ("derived__garbage.mp4", "cannot be decoded"),
    ],
)
def test_broken_videos_are_refused(name, message, predictor):
    path = SHARED / "videos" / "diverse" / name
    if not path.exists():
        pytest.skip(f"no {path}")
    with pytest.raises(VideoDecodeError, match=f"{name}.*{message}"):
        predictor.predict(path)
