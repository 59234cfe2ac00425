from __future__ import annotations

import errno
import os

import pytest

from mutualnet3d.files.journal import Journal, JournalInUse


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "results.journal")


def write(path, *numbers, num_items=4):
    with Journal(path, num_items) as journal:
        for number in numbers:
            journal.add(number, {"value": f"of {number}"})


def test_results_come_in_the_order_of_their_numbers(path):
    write(path, 2, 0)
    with Journal(path, 4) as journal:
        assert (journal.num_done, [journal.has(number) for number in range(4)]) == (2, [True, False, True, False])
        with pytest.raises(ValueError, match=r"results\.journal: item 1 of 4 is not done"):
            list(journal.records())
        journal.add(3, {"value": float("nan")})
        journal.add(1, {"value": os.fsdecode(b"\xff")})
        assert [record["value"] for record in journal.records()] == ["of 0", "\udcff", "of 2", None]
        journal.clear()
        assert (journal.num_done, os.path.getsize(path)) == (0, 0)


def test_a_line_that_was_cut_off_is_dropped(path):
    write(path, 0, 1)
    with open(path, "rb+") as file:
        file.truncate(os.path.getsize(path) - 3)
    write(path, 2, 1)
    with Journal(path, 3) as journal:
        assert [record["value"] for record in journal.records()] == ["of 0", "of 1", "of 2"]


@pytest.mark.parametrize(
    "line",
    [
        b"\0" * 30,
        b"{}",
        b"[1]",
        b'{"number": 7, "value": 1}',
        b'{"number": -1}',
        b'{"number": true}',
        b"\xff",
        b"[" * 9999,
    ],
)
def test_damaged_lines_are_passed_over(path, line):
    write(path, 0)
    with open(path, "ab") as file:
        file.write(line + b"\n")
    write(path, 1)
    with Journal(path, 2) as journal:
        assert [record["value"] for record in journal.records()] == ["of 0", "of 1"]


def test_of_two_results_of_an_item_the_first_counts(path):
    write(path, 0)
    with open(path, "ab") as file:
        file.write(b'{"number": 0, "value": "second"}\n')
    with Journal(path, 1) as journal:
        assert (journal.num_done, [record["value"] for record in journal.records()]) == (1, ["of 0"])


def test_one_process_at_a_time(path):
    with Journal(path, 1), pytest.raises(JournalInUse, match=r"results\.journal is being written by another run"):
        Journal(path, 1).__enter__()
    write(path, 0)


def test_a_full_disk_leaves_no_part_of_a_line(path, monkeypatch):
    write(path, 0)
    size, write_bytes = os.path.getsize(path), os.write
    with Journal(path, 2) as journal:
        room = [10, 0]

        def full(descriptor, data):
            left = room.pop(0)
            if not left:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write_bytes(descriptor, data[:left])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(OSError, match=r"No space left on device; it has the 1 of 2 results before") as caught:
                journal.add(1, {"value": 1})
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, path)
        assert os.path.getsize(path) == size
        journal.add(1, {"value": "again"})
        assert [record["value"] for record in journal.records()] == ["of 0", "again"]
