from __future__ import annotations

import numpy as np
import pytest
import torch

from mutualnet3d.deploy import Predictor
from mutualnet3d.deploy.shard_predictor import ShardPredictor, begin_run, part_name, shards_of
from tests.cli.test_latency import write_tested
from tests.conftest import write_video

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra [parquet])")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    with torch.random.fork_rng(devices=[]):
        write_tested(folder, class_names=["dark", "bright"])
    rng = np.random.default_rng(0)
    write_video(folder / "a.mp4", rng.integers(0, 256, (12, 48, 64, 3), dtype=np.uint8))
    (folder / "broken.mp4").write_text("no video")
    return folder


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_shard_is_predicted_once(folder, tmp_path, monkeypatch, scheme):
    from pyarrow import parquet

    output = f"{scheme}{tmp_path}/results"
    begin_run(output, {"the list": "3 files"})
    predictor = ShardPredictor(str(folder / "calibrated.pyth"), output, config="w0.5-s32-t2", threads=1, top=1)
    paths = [str(folder / name) for name in ("a.mp4", "broken.mp4", "gone.mp4")]
    (shard,) = shards_of(paths, 3)
    monkeypatch.setattr(Predictor, "predict_files", one_by_one)  # processes: tests/deploy/test_file_predictor.py
    counts = {"shard": 0, "ok": 1, "bad": 1, "missing": 1}
    assert predictor(shard) == counts
    rows = parquet.read_table(f"{tmp_path}/results").to_pylist()
    assert [(row["path"], row["status"]) for row in rows] == list(zip(paths, ("ok", "bad", "missing"), strict=True))
    assert rows[0]["subnet"] == "w0.5-s32-t2"
    monkeypatch.setattr(Predictor, "predict_files", None)
    assert predictor(shard) == counts  # the second time its part is there
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["_run.json", "part-000000.parquet"]


def one_by_one(self, paths, plan, top, **settings):
    from mutualnet3d.data.file_reader import UnreadFile

    yield 2, UnreadFile("missing", "gone")
    yield 0, next(self._predict(paths[:1], plan, None, top, 1))
    yield 1, UnreadFile("bad", "broken")


def test_a_failure_leaves_no_part(folder, tmp_path, monkeypatch):
    predictor = ShardPredictor(str(folder / "calibrated.pyth"), str(tmp_path), config="w0.5-s32-t2", threads=1)
    monkeypatch.setattr("mutualnet3d.deploy.shard_predictor.write_parquet", fails)
    monkeypatch.setattr(Predictor, "predict_files", lambda *words, **settings: iter(()))
    with pytest.raises(OSError, match="the disk is full"):
        predictor({"shard": 1, "paths": []})
    assert list(tmp_path.iterdir()) == []


def fails(file, records, top):
    file.write(b"half")
    raise OSError("the disk is full")


def test_another_run_is_refused(tmp_path):
    begin_run(str(tmp_path / "new" / "results"), {"--gflops": "1.0"})
    begin_run(str(tmp_path / "new" / "results"), {"--gflops": "1.0"})
    with pytest.raises(ValueError, match=r"results was begun with --gflops 1\.0, not 2\.0; choose another folder"):
        begin_run(str(tmp_path / "new" / "results"), {"--gflops": "2.0"})


def test_shards_are_parts_of_the_list(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shards = shards_of(["a", "/b", "s3://c/d"], 2)
    assert shards == [{"shard": 0, "paths": [f"{tmp_path}/a", "/b"]}, {"shard": 1, "paths": ["s3://c/d"]}]
    assert part_name(1) == "part-000001.parquet"
    with pytest.raises(ValueError, match="the size of a shard is 0; it must be at least 1"):
        shards_of(["a"], 0)
