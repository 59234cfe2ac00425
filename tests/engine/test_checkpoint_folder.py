from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mutualnet3d.engine.checkpoint import load_checkpoint
from mutualnet3d.engine.checkpoint_folder import CheckpointFolder


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
    monkeypatch.setattr("mutualnet3d.engine.checkpoint_folder.logger.propagate", True)
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


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    """A process that writes checkpoints without end is killed; what it leaves can be read."""
    script = (
        "import torch, sys\n"
        "from mutualnet3d.engine.checkpoint_folder import CheckpointFolder\n"
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
