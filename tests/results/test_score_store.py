from __future__ import annotations

import errno
import os

import pytest
import torch

from mutualnet3d.files.atomic import WriteError
from mutualnet3d.results.score_store import ComputedScores, MappedScores, ScoreFile


def test_mapped_scores_are_in_their_file(tmp_path):
    path = str(tmp_path / "new" / "a.scores")
    first = MappedScores(path, (2, 3, 4))
    assert first.is_new
    assert torch.equal(first.tensor, torch.zeros(2, 3, 4))
    first.tensor[1, 2] = torch.arange(4.0)
    first.release()
    assert first.tensor[1, 2].tolist() == [0.0, 1.0, 2.0, 3.0]
    first.sync()
    assert os.path.getsize(path) == 4 * 24
    again = MappedScores(path, (4, 3, 2))
    assert not again.is_new
    assert torch.equal(again.tensor.flatten(), first.tensor.flatten())


def test_a_file_of_another_size_is_begun_anew(tmp_path):
    path = tmp_path / "a.scores"
    path.write_bytes(b"\xff" * 17)
    scores = MappedScores(str(path), (2, 2))
    assert scores.is_new
    assert scores.tensor.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_full_disk_is_told_before_the_test(tmp_path, monkeypatch):
    """The place on the disk is taken at once, and given back."""
    calls = []

    def allocate(descriptor, start, num_bytes):
        calls.append((start, num_bytes))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    path = tmp_path / "a.scores"
    with pytest.raises(WriteError, match=r"a\.scores cannot be written: No space left on device"):
        MappedScores(str(path), (2, 5))
    assert calls == [(0, 40)]
    assert not path.exists()


def test_scores_in_a_file_are_read_one_at_a_time(tmp_path):
    scores = {"a": torch.rand(3, 5), "b": torch.rand(2, 5).T, "empty": torch.zeros(0, 5)}
    stored = ScoreFile(str(tmp_path))
    for key, score_VK in scores.items():
        stored[key] = score_VK
    assert list(stored) == ["a", "b", "empty"]
    assert len(stored) == 3
    for key in ("b", "a", "empty", "b"):
        assert torch.equal(stored[key], scores[key])
    assert list(tmp_path.iterdir()) == []  # without a name: nothing is left, whatever ends the process
    with pytest.raises(KeyError):
        stored["c"]
    with pytest.raises(AssertionError, match="written once"):
        stored["a"] = scores["a"]
    assert torch.equal(stored["a"], scores["a"])


def test_a_disk_that_fills_names_the_folder(tmp_path):
    stored = ScoreFile(str(tmp_path))
    stored._file.close()

    class Full:
        def seek(self, *place):
            return 0

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    stored._file = Full()
    with pytest.raises(WriteError, match=rf"{tmp_path}/scores cannot be written: No space left on device"):
        stored["a"] = torch.zeros(1, 1)


def test_computed_scores_are_computed_when_asked_for():
    asked = []
    scores = ComputedScores([2, 1, 2], lambda key: asked.append(key) or torch.full((1, 1), float(key)))
    assert list(scores) == [2, 1]
    assert len(scores) == 2
    assert asked == []
    assert [float(score_VK) for score_VK in scores.values()] == [2.0, 1.0]
    assert asked == [2, 1]
    with pytest.raises(KeyError):
        scores[3]
    assert asked == [2, 1]
