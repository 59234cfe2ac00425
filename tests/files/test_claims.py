from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace

import pytest

from mutualnet3d.files import claims as claims_module
from mutualnet3d.files.claims import Claimant, Claims, beat_ages, holders, list_claims
from tests.copies import SERVER


def names_in(folder):
    """Return the names of the files, without those of beats."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".beat")


@pytest.fixture
def claims(tmp_path):
    with Claims(str(tmp_path)) as entered:
        yield entered


@pytest.fixture
def stranger(tmp_path, claims):
    """Write the claim on a part of another process, which differs from this one by `changes`; its last sign of life
    is `seconds_ago`, None: it has no beat."""

    def write(name, seconds_ago=0.0, **changes):
        holder = replace(claims.own, token="f" * 32, **changes)
        (tmp_path / f"{name}.claim").write_text(json.dumps(asdict(holder)))
        if seconds_ago is not None:
            beat = tmp_path / f"{holder.token}.beat"
            beat.touch()
            touched = claims.disk_time() - seconds_ago
            os.utime(beat, (touched, touched))
        return holder

    return write


def test_a_part_is_of_one_process_and_its_result_stays(tmp_path, claims):
    with Claims(str(tmp_path)) as other:
        assert claims.claim("000001")
        assert not other.claim("000001")
        assert list_claims(str(tmp_path)).claimed == {"000001"}
        assert holders(str(tmp_path), ["000001", "000002"]) == {"000001": claims.own}
        assert claims.commit("000001", b"first")
        assert other.is_done("000001")
        assert not other.commit("000001", b"second")
        assert other.result("000001") == b"first"
        assert names_in(tmp_path) == ["000001.done"]
        assert other.claim("000002")
        claims.release("000002")  # not its own
        assert not claims.claim("000002")
    assert names_in(tmp_path) == ["000001.done"]
    with pytest.raises(FileNotFoundError):
        claims.result("000003")


def test_nothing_is_left_by_an_error(tmp_path):
    with pytest.raises(AssertionError), Claims(str(tmp_path / "new")) as claims:
        assert not claims.claim("000001")
    assert list((tmp_path / "new").iterdir()) == []


def commit_all(folder, firsts):
    with Claims(folder) as claims:
        numbers = [number for number in range(50) if claims.claim(f"{number:06d}")]
        firsts.put([number for number in numbers if claims.commit(f"{number:06d}", b"result")])


def test_of_processes_at_once_one_does_each_part(tmp_path):
    firsts = SERVER.SimpleQueue()
    processes = [SERVER.Process(target=commit_all, args=(str(tmp_path), firsts)) for _ in range(3)]
    for process in processes:
        process.start()
    numbers = [number for _ in processes for number in firsts.get()]
    for process in processes:
        process.join(600)
        assert process.exitcode == 0
    assert sorted(numbers) == list(range(50))
    assert names_in(tmp_path) == [f"{number:06d}.done" for number in range(50)]


def test_a_process_that_is_gone_holds_nothing(tmp_path, claims, stranger):
    process = SERVER.Process(target=int)
    process.start()
    process.join()
    stranger("000001", pid=process.pid, started=1)
    assert claims.free_dead(["000001", "000002"]) == [
        f"000001: taken over from process {process.pid} on {claims.own.host}: its process is gone"
    ]
    assert claims.claim("000001")
    assert claims.free_dead(["000001"]) == []  # its own


@pytest.mark.parametrize("changes", [{"host": "node2"}, {"boot": "another"}, {"namespace": "pid:[1]"}])
def test_a_process_that_is_not_seen_here_has_its_lease(tmp_path, claims, stranger, monkeypatch, changes):
    """Its number says nothing here, since it may be of another machine, or of a container."""
    clock = 1000.0
    monkeypatch.setattr(claims_module.time, "monotonic", lambda: clock)
    stranger("000001", seconds_ago=170.0, pid=2**22 + 1, **changes)
    assert claims.free_dead(["000001"]) == []
    clock += 31.0  # it rests for two beats: by the disk's times it lives still
    assert claims.free_dead(["000001"]) == []
    stranger("000001", seconds_ago=190.0, pid=2**22 + 1, **changes)
    assert claims.free_dead(["000001"]) == []  # another time than before: watched anew
    clock += 31.0
    (notice,) = claims.free_dead(["000001"])
    assert notice.endswith("no sign of life for 190 s")
    assert names_in(tmp_path) == []


def test_clocks_may_differ(tmp_path, claims, stranger, monkeypatch):
    """On a disk that takes times from its machines: a beat that changes is alive however old it says it is, and one
    that rests for a lease is dead however new."""
    clock = 1000.0
    monkeypatch.setattr(claims_module.time, "monotonic", lambda: clock)
    monkeypatch.setattr(claims_module.time, "time", lambda: clock - 1e6)  # of this machine: not asked
    for beat in range(20):
        stranger("000001", seconds_ago=5000.0 - 15.0 * beat, host="node2")
        assert claims.free_dead(["000001"]) == []
        clock += 15.0
    stranger("000001", seconds_ago=-5000.0, host="node2")
    assert claims.free_dead(["000001"]) == []
    clock += 179.0
    assert claims.free_dead(["000001"]) == []
    clock += 1.0
    (notice,) = claims.free_dead(["000001"])
    assert notice == f"000001: taken over from process {os.getpid()} on node2: no sign of life for 180 s"


def test_a_claim_without_a_beat_or_a_name(tmp_path, claims, stranger, monkeypatch):
    clock = 1000.0
    monkeypatch.setattr(claims_module.time, "monotonic", lambda: clock)
    stranger("000001", seconds_ago=None, host="node2")
    (tmp_path / "000002.claim").write_text("")
    assert claims.free_dead(["000001", "000002"]) == []
    clock += 31.0
    (notice,) = claims.free_dead(["000001", "000002"])
    assert notice.endswith("on node2: it has left")
    clock += 150.0
    (notice,) = claims.free_dead(["000002"])
    assert notice == "000002: taken over from a process that left no name: no sign of life for 181 s"


def test_of_two_that_take_over_one_succeeds(tmp_path, claims, stranger, monkeypatch):
    """The other one removes the new claim, sees that it is another one, and gives it back."""
    stranger("000001", pid=2**22 + 1)
    with Claims(str(tmp_path)) as other:
        why_dead = claims._why_dead

        def slow(holder, path):
            reason = why_dead(holder, path)
            assert len(other.free_dead(["000001"])) == 1
            assert other.claim("000001")
            return reason

        monkeypatch.setattr(claims, "_why_dead", slow)
        assert claims.free_dead(["000001"]) == []
        assert holders(str(tmp_path), ["000001"]) == {"000001": other.own}
        assert names_in(tmp_path) == ["000001.claim"]


def test_the_beat_goes_on(tmp_path):
    with Claims(str(tmp_path), lease_seconds=0.12) as claims:
        (beat,) = tmp_path.glob("*.beat")
        os.utime(beat, (1.0, 1.0))
        deadline = time.monotonic() + 20.0
        while beat.stat().st_mtime == 1.0:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert beat_ages(str(tmp_path), [claims.own.token, "gone"]).keys() == {claims.own.token}
        assert beat_ages(str(tmp_path), [claims.own.token])[claims.own.token] < 20.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", [OSError("no links here"), "the answer is lost"])
def test_disks_without_links_and_answers_that_get_lost(tmp_path, claims, monkeypatch, fails):
    link = os.link

    def broken(source, target):
        if isinstance(fails, OSError):
            raise fails
        link(source, target)
        raise FileExistsError

    monkeypatch.setattr(os, "link", broken)
    assert claims.claim("000001")
    with Claims(str(tmp_path)) as other:
        monkeypatch.setattr(os, "link", broken if isinstance(fails, OSError) else link)
        assert not other.claim("000001")
    assert claims.commit("000001", b"result")
    assert claims.result("000001") == b"result"
    assert names_in(tmp_path) == ["000001.done"]


def test_bad_values():
    with pytest.raises(ValueError, match="lease is 0 seconds; allowed: more than 0"):
        Claims("folder", lease_seconds=0)
    assert str(Claimant("node1", "", "", 7, 1, "abc")) == "process 7 on node1"
