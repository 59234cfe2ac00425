from __future__ import annotations

import pytest

from mutualnet3d.engine.stored_run import stored_run


def test_a_folder_keeps_its_run(tmp_path):
    folder = tmp_path / "wandb"
    assert stored_run(str(folder), lambda: "first") == ("first", False)
    assert stored_run(str(folder), lambda: "second") == ("first", True)
    (tmp_path / "run_id.txt").mkdir()
    with pytest.raises(ValueError, match="the identity of a run must be a file; this is a folder"):
        stored_run(str(tmp_path), lambda: "third")
