from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import pytest

from mutualnet3d.data.shared_work import SharedWork
from mutualnet3d.data.work_status import StatusReader, WorkStatus
from mutualnet3d.files.claims import Claims

NAMES = [f"{number}.mp4" for number in range(11)]


def result_of(item):
    return {"kind": "failed" if item % 4 == 0 else "encoded"}


def test_a_work_from_its_start_to_its_end(tmp_path):
    folder = str(tmp_path / "work")
    reader = StatusReader(folder)
    with pytest.raises(FileNotFoundError, match=f"no shared work at {re.escape(folder)}; --shared begins one"):
        reader.read()
    with Claims(folder) as claims, Claims(folder):
        assert str(reader.read()) == "being planned: nobody has looked at all videos yet"
        work = SharedWork(claims, {"block": 3}, NAMES)
        work.join(lambda: (None, 9, 2))
        assert str(reader.read()) == "11 videos: 2 there already, 0 in work, 9 left\n  2 more wait"

        def work_on(items):
            for number, item in enumerate(items):
                if number == 4:
                    text = str(reader.read())
                    assert re.fullmatch(
                        r"11 videos: 3 encoded, 1 failed, 2 there already, 2 in work, 3 left\n"
                        rf"  process {os.getpid()} on \S+: sign of life \d s ago\n  1 more wait",
                        text.replace("2 encoded, 2 failed", "3 encoded, 1 failed"),  # the blocks come in any order
                    )
                yield item, result_of(item)

        work.run(work_on)
        expected = WorkStatus(9, 2, {"encoded": 6, "failed": 3}, 0, {}, 2)
        assert reader.read() == StatusReader(folder).read() == expected
        work.finish(lambda records: {"sum": len(records)})
        assert reader.read().result == {"sum": 9}
        assert str(reader.read()) == "finished"


def test_a_dead_process_is_named(tmp_path):
    with Claims(str(tmp_path)) as claims:
        SharedWork(claims, {"block": 3}, NAMES).join(lambda: (None, 11, 0))
        dead = replace(claims.own, host="node2", pid=7, token="f" * 32)
        (tmp_path / "000003.claim").write_text(json.dumps(dead.__dict__))
        assert str(StatusReader(str(tmp_path)).read()) == (
            "11 videos: 2 in work, 9 left\n  process 7 on node2: no sign of life\n  1 more wait"
        )
        (tmp_path / f"{dead.token}.beat").touch()
        os.utime(tmp_path / f"{dead.token}.beat", (claims.disk_time() - 500, claims.disk_time() - 500))
        assert "process 7 on node2: sign of life 500 s ago" in str(StatusReader(str(tmp_path)).read())
