"""Files of features: what is written is what was taken, bad files with their reasons."""

from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.results import feature_files
from mutualnet3d.results.feature_files import FeatureLayout, check_format, write_features

ABOUT = {"config": "w0.5-s48-t2", "backend": "pytorch", "layer": ""}
VALUES = np.arange(18, dtype=np.float32).reshape(3, 6)


def records_of(shape=(6,), labels=(4, 5, 6)):
    """Return records of two vectors, of a bad file, and of one vector before those of the first."""
    first = {"source": "a.mp4", "status": "ok", "place": 24, "shape": [2, *shape], "starts": [0.0, 1.0]}
    last = {"source": "\udcffc.mp4", "status": "ok", "place": 0, "shape": [1, *shape], "starts": [0.5]}
    ends = {"ends": [1.0, 2.0]}, {"ends": [1.5]}
    bad = {"source": "b.mp4", "status": "bad", "error": "b.mp4: no video"}
    records = [{**first, **ends[0]}, bad, {**last, **ends[1]}]
    return [{**record, "label": label} for record, label in zip(records, labels, strict=True)]


@pytest.fixture
def write(tmp_path):
    (tmp_path / "vectors").write_bytes(np.concatenate([VALUES[2:], VALUES[:2]]).tobytes())

    def run(name, records):
        layout = FeatureLayout.of(records)
        write_features(str(tmp_path / name), records, layout, str(tmp_path / "vectors"), ABOUT)
        return str(tmp_path / name)

    return run


@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_npz(write, monkeypatch, chunk):
    monkeypatch.setattr(feature_files, "_CHUNK_BYTES", chunk)
    with np.load(write("a.npz", records_of())) as file:
        assert file["features"].dtype == np.float32
        assert file["features"].tolist() == VALUES.tolist()
        assert file["video"].tolist() == ["a.mp4", "a.mp4", "\\udcffc.mp4"]
        assert (file["start"].tolist(), file["end"].tolist()) == ([0.0, 1.0, 0.5], [1.0, 2.0, 1.5])
        assert file["labels"].tolist() == [4, 4, 6]
        assert (file["unread"].tolist(), file["reason"].tolist()) == (["b.mp4"], ["b.mp4: no video"])
        assert {name: str(file[name]) for name in ABOUT} == ABOUT
    with np.load(write("maps.npz", records_of((3, 2), ("1,2", 3, "-")))) as file:
        assert file["features"].shape == (3, 3, 2)
        assert file["labels"].tolist() == ["1,2", "1,2", "-"]
    with np.load(write("bad.npz", records_of(labels=(1, 2, None))[1:2])) as file:
        assert file["features"].shape == (0, 0)
    with np.load(write("unlabelled.npz", records_of(labels=(1, 2, None)))) as file:
        assert "labels" not in file


@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_parquet(write, monkeypatch, chunk):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra [parquet])")
    monkeypatch.setattr(feature_files, "_CHUNK_BYTES", chunk)
    table = parquet.read_table(write("a.parquet", records_of((3, 2))))
    assert str(table.schema.field("features").type) == "list<element: float>"
    assert table.schema.field("features").metadata[b"shape"] == b"3 2"
    rows = table.to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok", "bad", "ok"]
    assert [row["features"] for row in rows] == [*VALUES[:2].tolist(), None, VALUES[2].tolist()]
    assert [row["label"] for row in rows] == [4, 4, 5, 6]
    assert [row["config"] for row in rows] == ["w0.5-s48-t2", "w0.5-s48-t2", None, "w0.5-s48-t2"]
    assert (rows[3]["path"], rows[3]["start"], rows[3]["end"]) == ("\\udcffc.mp4", 0.5, 1.5)
    assert rows[2]["reason"] == "b.mp4: no video"
    alone = parquet.read_table(write("bad.parquet", records_of(labels=("3,4", "5", None))[1:2])).to_pylist()
    assert [(row["features"], row["label"]) for row in alone] == [(None, "5")]


def test_a_format_that_is_not_known():
    with pytest.raises(ValueError, match=r"--output: a\.csv: the extension says the format; allowed: \.npz, \.parquet"):
        check_format("a.csv", "--output")
