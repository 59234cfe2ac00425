"""Claims on the parts of a work that processes of several machines do at once, by files on a disk that they share.

A claim is a file that one process alone can make, since it gets its name by a hard link. Its holder touches a file of
its own, its beat, as long as it lives. The claim of a holder that has died is removed by whoever needs its part; a part
that is done has a file with its result, which gets its name in the same way and is never replaced. So a holder that was
only slow does no harm: its result comes second, and is dropped.

Times are those that the shared disk gives to files, compared with each other; a beat that is seen to change is alive
whatever the times say, since some disks take them from the clocks of the machines. Files are opened before their times
are read: a disk on a network then asks its server, and does not answer from memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from types import TracebackType

from mutualnet3d.files.atomic import disk_errors_named, sync_to_disk
from mutualnet3d.files.folder_lock import boot_id, start_of

LEASE_SECONDS = 180.0  # without a sign of life: then a holder counts as dead
_BEATS_PER_LEASE = 12
_BEATS_WATCHED = 2  # a beat must be seen to rest so long, whatever the times of files say
CLAIM, DONE, BEAT, PART = ".claim", ".done", ".beat", ".part"


@dataclass(frozen=True)
class Claimant:
    """Process that claims parts: content of a claim.

    Args:
        host: name of the machine.
        boot: number of the machine's start.
        namespace: name of the kernel's table of processes, which containers have of their own.
        pid: number of the process.
        started: time when it started, in the kernel's units since the machine's start.
        token: text that no other process has.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: int
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def sees(self, other: Claimant) -> bool:
        """Tell whether the other's number is one of this process's own machine."""
        return (self.host, self.boot, self.namespace) == (other.host, other.boot, other.namespace)


@dataclass(frozen=True)
class Listing:
    """Names of the parts that are claimed, and of those that are done, and the paths of files with parts of results.

    Args:
        claimed: names of parts that somebody holds.
        done: names of parts with a result.
        parts: names of files `NAME.TOKEN.part`, by the names of parts.
        beats: tokens of processes that have a beat.
    """

    claimed: frozenset[str]
    done: frozenset[str]
    parts: dict[str, list[str]]
    beats: frozenset[str]


def list_claims(folder: str) -> Listing:
    """Return the state of a folder of claims.

    Args:
        folder: path of the folder.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    names: dict[str, set[str]] = {CLAIM: set(), DONE: set(), BEAT: set()}
    parts: dict[str, list[str]] = {}
    for file_name in os.listdir(folder):
        stem, suffix = os.path.splitext(file_name)
        if suffix in names and not os.path.splitext(stem)[1]:
            names[suffix].add(stem)
        elif suffix == PART:
            parts.setdefault(stem.partition(".")[0], []).append(file_name)
    return Listing(frozenset(names[CLAIM]), frozenset(names[DONE]), parts, frozenset(names[BEAT]))


class Claims:
    """Context in which this process may claim parts; at its end it holds none.

    Args:
        folder: folder of the claims, on the shared disk; it is made if it is not there.
        lease_seconds: seconds without a sign of life after which a holder counts as dead, the same for all processes.

    Attributes:
        own: this process.
        beat_seconds: seconds between two touches of its beat.

    Raises:
        ValueError: `lease_seconds` is not more than 0.
    """

    def __init__(self, folder: str, lease_seconds: float = LEASE_SECONDS):
        if not lease_seconds > 0:
            raise ValueError(f"lease is {lease_seconds} seconds; allowed: more than 0")
        self.folder, self.lease_seconds = folder, lease_seconds
        self.beat_seconds = lease_seconds / _BEATS_PER_LEASE
        pid = os.getpid()
        token = uuid.uuid4().hex
        self.own = Claimant(socket.gethostname(), boot_id(), _namespace(), pid, start_of(pid) or 0, token)
        self._held: set[str] = set()
        self._watched: dict[str, tuple[float | None, float]] = {}  # token -> time of its beat, and since when it rests
        self._left = threading.Event()

    def __enter__(self) -> Claims:
        os.makedirs(self.folder, exist_ok=True)
        self._left.clear()
        open(self._beat_of(self.own.token), "x").close()
        threading.Thread(target=self._beat, daemon=True, name="claims").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        with contextlib.suppress(OSError):  # of a disk that has gone: the lease ends there too
            for name in list(self._held):
                self.release(name)
            os.remove(self._beat_of(self.own.token))  # last: without it this process counts as dead

    def path(self, file_name: str) -> str:
        """Return the path of a file in the folder."""
        return os.path.join(self.folder, file_name)

    def claim(self, name: str) -> bool:
        """Claim a part; return False if another process holds it.

        A part may have been done since it was looked at: see `is_done` after a claim, when the answer is of the disk.
        """
        assert name.isalnum(), name  # suffixes tell the files apart
        content = json.dumps(asdict(self.own)).encode("utf-8")
        if self._create(self.path(name + CLAIM), content) or self._holds(name):
            self._held.add(name)
            return True
        return False

    def release(self, name: str) -> None:
        """Give a part back."""
        self._held.discard(name)
        if self._holds(name):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.path(name + CLAIM))

    def commit(self, name: str, content: bytes) -> bool:
        """Write the result of a part and give the part back; return False if it has one already, which stays."""
        with disk_errors_named(self.path(name + DONE)):
            is_first = self._create(self.path(name + DONE), content, sync=True)
        self.release(name)
        return is_first

    def is_done(self, name: str) -> bool:
        """Return True if a part has its result."""
        return os.path.exists(self.path(name + DONE))

    def result(self, name: str) -> bytes:
        """Return the result of a part.

        Args:
            name: name of the part.

        Raises:
            FileNotFoundError: it has none.
        """
        with open(self.path(name + DONE), "rb") as file:
            return file.read()

    def free_dead(self, names: Iterable[str]) -> list[str]:
        """Remove the claims of dead processes on some parts; return a line for people for each.

        Other processes can claim these parts then.

        Args:
            names: names of the parts.
        """
        notices = []
        for name in names:
            path = self.path(name + CLAIM)
            content = _read(path)
            if name in self._held or content is None:
                continue
            holder = _claimant(content)
            reason = self._why_dead(holder, path)
            if reason and self._remove(path, content):
                notices.append(f"{name}: taken over from {holder or 'a process that left no name'}: {reason}")
        return notices

    def _create(self, path: str, content: bytes, sync: bool = False) -> bool:
        """Make a file with its content in one step; return False if there is one."""
        temporary = f"{path}.{self.own.token}.new"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
            if sync:
                sync_to_disk(temporary)
            try:
                os.link(temporary, path)
            except FileExistsError:
                # The answer to a link that was made may be lost, and the next try finds its own work.
                return os.stat(temporary).st_nlink == 2
            except OSError:  # a disk without links
                return _create_without_link(path, content)
            return True
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)

    def _holds(self, name: str) -> bool:
        content = _read(self.path(name + CLAIM))
        return content is not None and _claimant(content) == self.own

    def _remove(self, path: str, content: bytes) -> bool:
        """Remove a claim if it has this content still; of several processes one succeeds."""
        aside = f"{path}.{self.own.token}.old"
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return False
        is_same = _read(aside) == content
        if not is_same:  # another process has removed it before, and claimed the part
            with contextlib.suppress(OSError):
                os.link(aside, path)
        with contextlib.suppress(FileNotFoundError):
            os.remove(aside)
        return is_same

    def _why_dead(self, holder: Claimant | None, path: str) -> str | None:
        """Return the reason why a claim's holder counts as dead; None if it may live.

        Args:
            holder: the holder; None for a claim that is not whole, whose own time is looked at.
            path: path of the claim.
        """
        if holder is not None and self.own.sees(holder) and start_of(holder.pid) != holder.started:
            return "its process is gone"
        token = holder.token if holder else path
        beat = _modified(self._beat_of(token) if holder else path)
        now = time.monotonic()
        if token not in self._watched or self._watched[token][0] != beat:
            self._watched[token] = beat, now
        rested = now - self._watched[token][1]
        if rested >= self.lease_seconds:
            return f"no sign of life for {rested:.0f} s"
        if rested < _BEATS_WATCHED * self.beat_seconds:
            return None
        if beat is None:
            return "it has left"
        age = self.disk_time() - beat
        return f"no sign of life for {age:.0f} s" if age >= self.lease_seconds else None

    def disk_time(self) -> float:
        """Return the time of the shared disk, in seconds."""
        path = self._beat_of(self.own.token)
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
        return _modified(path) or 0.0

    def _beat_of(self, token: str) -> str:
        return self.path(token + BEAT)

    def _beat(self) -> None:
        while not self._left.wait(self.beat_seconds):
            with contextlib.suppress(OSError):
                os.utime(self._beat_of(self.own.token))


def holders(folder: str, names: Iterable[str]) -> dict[str, Claimant | None]:
    """Return the holders of some parts, by their names; None for a claim that is not whole.

    Parts that are free by now are left out.
    """
    contents = {name: _read(os.path.join(folder, name + CLAIM)) for name in names}
    return {name: _claimant(content) for name, content in contents.items() if content is not None}


def beat_ages(folder: str, tokens: Iterable[str]) -> dict[str, float]:
    """Return the seconds since the last sign of life of processes, by their tokens.

    The time is that of the shared disk.
    """
    probe = os.path.join(folder, f".{uuid.uuid4().hex}.new")
    try:
        open(probe, "x").close()
        now = _modified(probe) or 0.0
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(probe)
    beats = {token: _modified(os.path.join(folder, token + BEAT)) for token in tokens}
    return {token: max(now - beat, 0.0) for token, beat in beats.items() if beat is not None}


def _create_without_link(path: str, content: bytes) -> bool:
    try:
        with open(path, "xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _claimant(content: bytes) -> Claimant | None:
    try:
        return Claimant(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _modified(path: str) -> float | None:
    """Return the time of a file's last change; None if there is none."""
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
