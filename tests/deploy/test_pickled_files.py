from __future__ import annotations

import pytest

from mutualnet3d.deploy.pickled_files import PickledFiles
from mutualnet3d.files.hashes import sha256_of


def test_files_are_absolute_and_have_sums(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model.pyth", "table.json"):
        (tmp_path / name).write_text(name)
    files = PickledFiles.of("model.pyth", "table.json")
    paths = [str(tmp_path / name) for name in ("model.pyth", "table.json")]
    assert [files.path, files.table] == paths
    assert files.sums == tuple((path, sha256_of(path)) for path in paths)
    files.check()
    (tmp_path / "table.json").write_text("another")
    with pytest.raises(ValueError, match=r"table\.json was changed since the predictor that was pickled had loaded it"):
        files.check()


def test_a_bundle_is_known_by_its_sums(tmp_path):
    (tmp_path / "SHA256SUMS").write_text("0")
    assert PickledFiles.of(str(tmp_path), None).sums[0][0] == str(tmp_path / "SHA256SUMS")
