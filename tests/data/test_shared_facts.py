from __future__ import annotations

import multiprocessing
import os

import numpy as np
import pytest

from mutualnet3d.data.shared_facts import SharedFacts
from mutualnet3d.video import file_facts
from mutualnet3d.video.file_facts import NOTHING_KNOWN, FileFacts, FileState, facts_of, remember

FOUND = FileFacts(from_start=True, num_frames=59)


def test_what_one_process_finds_out_another_knows(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"12")
    facts, state = SharedFacts(3), FileState.of(str(path))
    facts.note(1, str(path))  # nothing is known
    facts.recall(1, str(path))
    assert facts_of(state) == NOTHING_KNOWN
    for file_fact in (FileFacts(from_start=True), FOUND):
        remember(state, file_fact)
        facts.note(1, str(path))
        file_facts._facts.clear()  # another process
        facts.recall(0, str(path))
        assert facts_of(state) == NOTHING_KNOWN
        facts.recall(1, str(path))
        assert facts_of(state) == file_fact


def test_facts_about_a_file_that_has_changed_are_of_no_use(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"12")
    facts = SharedFacts(1)
    remember(FileState.of(str(path)), FOUND)
    facts.note(0, str(path))
    os.utime(path, ns=(5, 5))
    facts.recall(0, str(path))
    assert facts_of(FileState.of(str(path))) == NOTHING_KNOWN
    with pytest.raises(FileNotFoundError):
        facts.recall(0, str(tmp_path / "none"))


def found_by(facts: SharedFacts, path: str) -> None:
    remember(FileState.of(path), FOUND)
    facts.note(1, path)


@pytest.mark.slow
def test_the_memory_is_that_of_all_processes(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"12")
    facts = SharedFacts(2)
    worker = multiprocessing.get_context("forkserver").Process(target=found_by, args=(facts, str(path)))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    facts.recall(1, str(path))
    assert facts_of(FileState.of(str(path))) == FOUND
    assert np.count_nonzero(facts._rows) == 2
