from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from mutualnet3d.data.clip_reader import ClipReader
from mutualnet3d.data.file_reader import UnreadFile
from mutualnet3d.deploy import Predictor
from mutualnet3d.deploy.file_predictor import record_of
from tests.conftest import numbered_frames, write_video
from tests.deploy.networks import FULL, HOW, SMALL, source_of


class DyingReader(ClipReader):
    """Reader whose process is killed by some files; by those of "once" only the first time."""

    def __reduce__(self):
        return DyingReader, (self.preprocessing,)

    def read(self, source, *args, **settings):
        name = os.path.basename(source)
        is_first = name == "once.mp4" and not os.path.exists(f"{source}.died")
        if is_first:
            open(f"{source}.died", "w").close()
        if is_first or name == "crash.mp4":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(source, *args, **settings)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        networks = source_of("x3d", tmp_path_factory.mktemp("network"))
    return Predictor(networks, "pytorch", "cpu", threads=1, reader=DyingReader(HOW))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for name in ("a", "once", "crash"):
        write_video(folder / f"{name}.mp4", rng.integers(0, 256, (20, 48, 64, 3), dtype=np.uint8))
    write_video(folder / "b.mp4", numbered_frames(20))
    (folder / "broken.mp4").write_text("no video")
    return [str(folder / f"{name}.mp4") for name in ("a", "broken", "once", "crash", "gone", "b")]


def test_files_are_predicted_as_one_by_one_whatever_happens_to_processes(predictor, videos):
    plan = predictor.plan(config=SMALL)
    results = dict(predictor.predict_files(videos, plan, top=2, batch_size=2, workers=2, timeout=60.0))
    assert sorted(results) == list(range(6))
    records = [record_of(path, results[number]) for number, path in enumerate(videos)]
    assert [record["status"] for record in records] == ["ok", "bad", "ok", "bad", "missing", "ok"]
    assert [record["source"] for record in records] == videos
    assert results[3] == UnreadFile("bad", f"{videos[3]}: the process that worked on it died (SIGKILL)")
    for number in (0, 2, 5):
        alone = predictor.predict(videos[number], config=SMALL, top=2)
        assert (results[number].config, results[number].views, results[number].row) == (SMALL, 1, alone.row)
        assert [label.index for label in results[number].labels] == [label.index for label in alone.labels]
        for label, other in zip(results[number].labels, alone.labels, strict=True):
            assert label.score == pytest.approx(other.score, abs=1e-5)


def test_without_a_plan_the_most_expensive_runs(predictor, videos, monkeypatch):
    called = []

    def run(paths, work):
        called.append((paths, [stage.config for stage in work.stages], work.workers))
        return iter(())

    monkeypatch.setattr("mutualnet3d.deploy.file_predictor.run_files", run)
    assert list(predictor.predict_files(videos, workers=3)) == []
    assert called == [(videos, [FULL], 3)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top": 0}, "top is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"workers": 0}, "workers is 0; it must be an integer of at least 1"),
        ({"timeout": 0}, "timeout is 0 seconds; it must be more than 0"),
    ],
)
def test_wrong_numbers_are_errors_at_once(predictor, settings, message):
    with pytest.raises(ValueError, match=message):
        predictor.predict_files([], **settings)
