from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mutualnet3d.engine.checkpoint import (
    CheckpointFolder,
    load_checkpoint,
    load_model_state,
    save_checkpoint,
)
from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.models.x3d import build_x3d
from mutualnet3d.shapes import ClipShape


def test_what_is_saved_comes_back(tmp_path):
    path = str(tmp_path / "a.pyth")
    save_checkpoint(path, {"step": 7, "model_state": {"w": torch.ones(2)}})
    content = load_checkpoint(path)
    assert content["step"] == 7
    assert torch.equal(content["model_state"]["w"], torch.ones(2))


def test_missing_truncated_damaged_and_foreign_checkpoints_are_refused_by_name(tmp_path):
    path = tmp_path / "a.pyth"
    with pytest.raises(FileNotFoundError, match=r"no file at .*a\.pyth, which should be a checkpoint"):
        load_checkpoint(str(path))
    save_checkpoint(str(path), {"model_state": {"w": torch.randn(1000)}})
    whole = path.read_bytes()
    for keep in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"a\.pyth: cannot be read as a checkpoint, it may be trunc"):
            load_checkpoint(str(path))
    torch.save({"model_state": {}}, path)
    with pytest.raises(ValueError, match=r"a\.pyth: not a checkpoint of mutualnet3d"):
        load_checkpoint(str(path))
    torch.save({"format": "mutualnet3d.checkpoint", "version": 99}, path)
    with pytest.raises(ValueError, match=r"a\.pyth: checkpoint version 99; this release reads up to 1"):
        load_checkpoint(str(path))


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_checkpoint_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "mutualnet3d.checkpoint", "version": 1, "cfg": _Evil()}, "a.pyth")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        load_checkpoint("a.pyth")
    assert not os.path.exists("evil")


def test_another_models_checkpoint_is_refused_with_what_differs():
    settings = {"full_clip": ClipShape(4, 32), "num_classes": 5, "width_factor": 1.0, "depth_factor": 0.3, "dim_c5": 32}
    model = build_x3d(**settings)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wider = build_x3d(**{**settings, "num_classes": 7}).state_dict()
    with pytest.raises(ValueError, match=r"x\.pyth: .* of another model: blocks\.5\.proj\.weight is \(7, 32\), here"):
        load_model_state(model, wider, "x.pyth")
    deeper = build_x3d(**{**settings, "depth_factor": 1.0}).state_dict()
    with pytest.raises(ValueError, match=r"blocks\.\S+ is unknown here; .* and \d+ more"):
        load_model_state(model, deeper, "x.pyth")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_folder_finds_the_newest_and_drops_what_is_superseded(tmp_path):
    folder = CheckpointFolder(str(tmp_path), num_kept=2)
    assert folder.newest() is None
    names = lambda: sorted(os.listdir(folder.folder))  # noqa: E731
    of_step = "checkpoint_step_{:08d}.pyth".format
    of_epoch = lambda epoch: f"checkpoint_epoch_{epoch:05d}_step_{10 * epoch:08d}.pyth"  # noqa: E731
    for step in (5, 7, 9):
        folder.save({}, step=step, epoch=None)
    assert names() == [of_step(7), of_step(9)]
    folder.save({"step": 10}, step=10, epoch=1, is_best=True)
    assert names() == ["best.pyth", of_epoch(1), of_step(9)]
    for step in (15, 17, 19):
        folder.save({}, step=step, epoch=None)
    assert names() == ["best.pyth", of_epoch(1), of_step(17), of_step(19)]
    assert folder.newest() == os.path.join(folder.folder, of_step(19))
    for epoch in (2, 3, 4):
        folder.save({"step": 10 * epoch}, step=10 * epoch, epoch=epoch, is_best=epoch == 3)
    assert names() == ["best.pyth", of_epoch(3), of_epoch(4)]
    folder.save({}, step=50, epoch=5)
    folder.save({}, step=60, epoch=6)
    assert load_checkpoint(os.path.join(folder.folder, "best.pyth"))["step"] == 30  # though epoch 3's own is gone
    (tmp_path / "checkpoints" / "notes.txt").touch()
    (tmp_path / "checkpoints" / ".checkpoint_step_00000061.pyth.123.tmp").touch()
    assert folder.newest() == os.path.join(folder.folder, of_epoch(6))
    folder.remove_unfinished()
    assert names() == ["best.pyth", of_epoch(5), of_epoch(6), "notes.txt"]


def test_the_best_is_a_copy_where_the_disk_knows_no_links(tmp_path, monkeypatch):
    def refuse(path, link):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder = CheckpointFolder(str(tmp_path))
    folder.save({"step": 3}, step=3, epoch=1, is_best=True)
    assert load_checkpoint(os.path.join(folder.folder, "best.pyth"))["step"] == 3


def test_the_newest_usable_one_is_taken_with_a_word_about_the_others(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("mutualnet3d.engine.checkpoint.logger.propagate", True)
    folder = CheckpointFolder(str(tmp_path))
    paths = [folder.save({"step": step, "w": torch.ones(1000)}, step, None) for step in (1, 2, 3)]
    assert folder.newest_usable(load_checkpoint)["step"] == 3
    whole = Path(paths[2]).read_bytes()
    place = whole.index(torch.ones(4).numpy().tobytes())
    Path(paths[2]).write_bytes(whole[:place] + b"\x01" + whole[place + 1 :])  # one byte of a weight
    torch.save({"model_state": {}}, paths[1])
    caplog.clear()
    assert folder.newest_usable(load_checkpoint)["step"] == 1
    assert (
        "step_00000003.pyth: cannot be read as a checkpoint, it may be truncated or damaged: the check" in caplog.text
    )
    assert "step_00000002.pyth: not a checkpoint of mutualnet3d" in caplog.text
    assert f"using the one before: {paths[0]}" in caplog.text
    Path(paths[0]).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"step_00000003\.pyth: cannot be read"):  # the newest one's own reason
        folder.newest_usable(load_checkpoint)
    assert CheckpointFolder(str(tmp_path / "empty")).newest_usable(load_checkpoint) is None


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half of the ne")
        raise OSError("disk full, on purpose")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(str(path), fail)
    assert os.listdir(tmp_path) == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    """A process that writes checkpoints without end is killed; what it leaves can be read."""
    script = (
        "import torch, sys\n"
        "from mutualnet3d.engine.checkpoint import CheckpointFolder\n"
        "folder = CheckpointFolder(sys.argv[1])\n"
        "for step in range(1, 10**6):\n"
        "    folder.save({'step': step, 'w': torch.full((50_000,), float(step))}, step, None)\n"
    )
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script, str(tmp_path)])
    folder = CheckpointFolder(str(tmp_path))
    deadline = time.monotonic() + 60
    while folder.newest() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    process.wait()
    newest = folder.newest()
    assert newest is not None
    content = load_checkpoint(newest)
    assert torch.equal(content["w"], torch.full((50_000,), float(content["step"])))
