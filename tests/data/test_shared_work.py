from __future__ import annotations

import json
import logging
import os
import signal
import time
from contextlib import contextmanager

import pytest

from mutualnet3d.data.shared_work import OtherWork, SharedWork, Sharing, refuse_unfinished
from mutualnet3d.files.claims import Claims
from tests.copies import SERVER

NAMES = [f"{number}.mp4" for number in range(12)]
SETTINGS = {"crf": 23, "block": 3}


def plan():
    return {"greeting": "hello"}, len(NAMES), 2


@contextmanager
def taking_part(folder, settings=SETTINGS, names=NAMES):
    with Claims(str(folder)) as claims:
        work = SharedWork(claims, settings, names)
        work.join(plan)
        yield work


def work_on(items, done=None):
    for item in items:
        if done is not None:
            done.append(item)
        yield item, {"kind": "ok", "square": item * item}


def squares(records):
    return [record["square"] for record in records]


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_process_alone_does_all(tmp_path):
    done = []
    with taking_part(tmp_path) as work:
        assert work.join(plan) == {"greeting": "hello"}
        work.run(lambda items: work_on(items, done))
        assert sorted(done) == list(range(12))
        assert [name for name in files_in(tmp_path) if name.endswith(".done")] == [
            *(f"00000{block}.done" for block in range(4)),
            "plan.done",
        ]
        assert work.finish(squares) == [number**2 for number in range(12)]
    assert files_in(tmp_path) == ["finish.done"]
    with taking_part(tmp_path) as late:
        late.run(lambda items: pytest.fail("nothing is left"))
        assert late.finish(lambda records: pytest.fail("it is written")) == [number**2 for number in range(12)]
    assert files_in(tmp_path) == ["finish.done"]


def test_two_take_turns(tmp_path):
    """The second joins while the first is in the middle of a block, and does what is free."""
    first_done, second_done = [], []
    with taking_part(tmp_path) as first, taking_part(tmp_path) as second:

        def until_all_others_are_done(items):
            for number, pair in enumerate(work_on(items, first_done)):
                if number == 1:
                    second._wait = lambda: None  # or it would wait for the first, which waits for it
                    taken = second._take(lambda item, record: True)
                    for item, record in work_on(taken, second_done):
                        second._add(item, record)
                yield pair

        first.run(until_all_others_are_done)
        assert len({item // 3 for item in first_done}) == 1
        assert len({item // 3 for item in second_done}) == 3
        assert sorted(first_done + second_done) == list(range(12))
        assert first.finish(squares) == second.finish(squares) == [number**2 for number in range(12)]


def test_a_block_is_gone_on_with_after_the_death_of_its_process(tmp_path, caplog):
    """Its results are kept, but for a line that is cut off and what is not there."""
    with taking_part(tmp_path) as dead:
        taken = dead._take(lambda item, record: True)
        items = [next(taken), next(taken)]
        dead._add(items[0], {"kind": "ok", "square": -1})
        dead._add(items[1], {"kind": "ok", "square": -2})
        first = items[0]
        kept = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".claim", ".part")}
    (part,) = (name for name in kept if name.endswith(".part"))
    (claim,) = (name for name in kept if name.endswith(".claim"))
    holder = json.loads(kept[claim]) | {"pid": 2**22 + 1}
    (tmp_path / claim).write_text(json.dumps(holder))
    (tmp_path / part).write_bytes(kept[part] + b'[2, {"kind": "o')
    done = []
    with caplog.at_level(logging.WARNING), taking_part(tmp_path) as work:
        work.run(lambda items: work_on(items, done), is_there=lambda item, record: record["square"] != -2)
        assert sorted(done) == [number for number in range(12) if number != first]
        assert work.finish(squares) == [-1 if number == first else number**2 for number in range(12)]
    assert f"{claim[:6]}: taken over from process {2**22 + 1} on " in caplog.text
    assert files_in(tmp_path) == ["finish.done"]


def slow_work(folder, log):
    def work_slowly(items):
        for item, record in work_on(items):
            time.sleep(0.02)
            with open(log, "a") as file:
                file.write(f"{item}\n")
            if item == 4 and os.path.exists(f"{log}.kill"):
                os.remove(f"{log}.kill")
                os.kill(os.getpid(), signal.SIGKILL)
            yield item, record

    with taking_part(folder) as work:
        work.run(work_slowly)
        work.finish(squares)


def test_one_of_three_is_killed(tmp_path):
    """In the middle of a block, after one of its items was done and not reported."""
    log = tmp_path / "log"
    (tmp_path / "log.kill").touch()
    processes = [SERVER.Process(target=slow_work, args=(tmp_path / "work", log)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert sorted(process.exitcode for process in processes) == [-9, 0, 0]
    done = sorted(map(int, log.read_text().split()))
    assert done == sorted([*range(12), 4])  # nothing else was done twice
    with taking_part(tmp_path / "work") as work:
        assert work.finish(squares) == [number**2 for number in range(12)]
    assert [name for name in files_in(tmp_path / "work") if not name.endswith(".beat")] == ["finish.done"]


def test_a_process_that_fails_gives_its_blocks_back(tmp_path):
    def fail(items):
        yield from work_on([next(items)])
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"), taking_part(tmp_path) as work:
        work.run(fail)
    assert [name for name in files_in(tmp_path) if not name.endswith(".part")] == ["plan.done"]
    done = []
    with taking_part(tmp_path) as work:
        work.run(lambda items: work_on(items, done))
        assert len(done) == 11
        work.finish(squares)


def test_a_plan_that_fails_is_made_by_another(tmp_path):
    def fail():
        raise ValueError("a list that cannot be read")

    with Claims(str(tmp_path)) as claims, pytest.raises(ValueError, match="cannot be read"):
        SharedWork(claims, SETTINGS, NAMES).join(fail)
    with taking_part(tmp_path) as work:
        assert work.num_items == 12


def test_another_list_and_other_settings_are_refused(tmp_path):
    with taking_part(tmp_path):
        pass
    start = f"{tmp_path} is of a work on another list or with other settings: "
    with pytest.raises(OtherWork) as refused, taking_part(tmp_path, {**SETTINGS, "crf": 18, "a.csv": "x"}):
        pass
    assert str(refused.value).startswith(f"{start}it has crf 23, not 18, a.csv none, not x. Take part with the list")
    with pytest.raises(OtherWork) as refused, taking_part(tmp_path, names=[*NAMES[1:], "new.mp4", "newer.mp4"]):
        pass
    assert str(refused.value).startswith(f"{start}2 videos are new (new.mp4), 1 are gone (0.mp4). Take")
    with pytest.raises(OtherWork, match="its videos have another order"), taking_part(tmp_path, names=NAMES[::-1]):
        pass
    with taking_part(tmp_path) as work:
        work.run(work_on)
        work.finish(squares)
    with pytest.raises(OtherWork, match="crf 23, not 18"), taking_part(tmp_path, {**SETTINGS, "crf": 18}):
        pass
    with pytest.raises(OtherWork, match="it has other videos now; this work is fini"), taking_part(tmp_path, names=[]):
        pass


def test_work_alone_is_refused_while_others_share_it(tmp_path):
    folder = tmp_path / "work"
    refuse_unfinished(str(folder))
    with taking_part(folder) as work:
        with pytest.raises(ValueError, match=r"work is of a work that several processes share, and it is not finished"):
            refuse_unfinished(str(folder))
        work.run(work_on)
        work.finish(squares)
    refuse_unfinished(str(folder))
    assert not folder.exists()


def test_bad_numbers():
    with pytest.raises(ValueError, match="block is 0 files; allowed: 1 or more"):
        Sharing(block=0)
    with pytest.raises(ValueError, match="lease is -1 seconds; allowed: more than 0"):
        Sharing(lease_seconds=-1)
