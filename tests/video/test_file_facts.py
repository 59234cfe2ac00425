from __future__ import annotations

import os

from mutualnet3d.video import file_facts
from mutualnet3d.video.file_facts import NOTHING_KNOWN, FileFacts, FileState, facts_of, remember


def test_facts_are_of_a_file_as_it_is(tmp_path):
    path = tmp_path / "video"
    path.write_bytes(b"12")
    state = FileState.of(str(path))
    assert facts_of(state) == NOTHING_KNOWN == FileFacts(from_start=False, num_frames=None)
    remember(state, FileFacts(from_start=True, num_frames=59))
    assert facts_of(FileState.of(str(path))) == FileFacts(from_start=True, num_frames=59)
    os.utime(path, ns=(1, 1))
    assert facts_of(FileState.of(str(path))) == NOTHING_KNOWN
    path.write_bytes(b"123")
    assert facts_of(FileState.of(str(path))) == NOTHING_KNOWN


def test_the_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(file_facts, "MAX_FILES", 3)
    states = [FileState(str(number), 1, 1) for number in range(5)]
    for number, state in enumerate(states):
        remember(state, FileFacts(True, number))
    assert [facts_of(state).num_frames for state in states] == [None, None, 2, 3, 4]
