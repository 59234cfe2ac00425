"""Lock of a folder for one run at a time, on disks that several machines share."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from types import TracebackType

NAME = "run.lock"
# The holder touches the file so often; a file that nobody has touched for so long is of a run that has ended. The
# attributes of a file on a shared disk may be a minute old.
BEAT_SECONDS, STALE_SECONDS = 15.0, 180.0


class FolderInUse(ValueError):
    """Error for a folder that another run holds."""


@dataclass(frozen=True)
class Holder:
    """Content of the lock file.

    Args:
        host: name of the machine.
        boot: number of the machine's start.
        pid: number of the process.
        started: time when the process started, in the kernel's units since the machine's start.
        job: name of the job that a scheduler or torchrun gave; "" for none.
        attempt: number of starts of that job before this one.
        since: date for people.
        token: text that no other holder has.
    """

    host: str
    boot: str
    pid: int
    started: int
    job: str
    attempt: int
    since: str
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}{f' of {self.job}' if self.job else ''}, since {self.since}"


class FolderLock:
    """Context that holds a folder for this run, by the file `run.lock` in it; the folder is made if it is not there.

    A lock of a run that was killed is taken over: on this machine if its process is gone, of another start of the same
    job at once, and of another machine when its file has not been touched for `STALE_SECONDS`.

    Args:
        folder: folder of the run.
        job: name of the job; "" for none.
        attempt: number of starts of the job before this one.

    Attributes:
        notices: lines for people on locks that were taken over.

    Raises:
        FolderInUse: another run holds the folder; the message says which and what to do.
    """

    def __init__(self, folder: str, job: str = "", attempt: int = 0):
        self.folder, self.path = folder, os.path.join(folder, NAME)
        self.notices: list[str] = []
        pid = os.getpid()
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        self.own = Holder(
            socket.gethostname(), boot_id(), pid, start_of(pid) or 0, job, attempt, since, uuid.uuid4().hex
        )
        self._left = threading.Event()

    def __enter__(self) -> FolderLock:
        os.makedirs(self.folder, exist_ok=True)
        while not self._create():
            self._remove_stale()
        self._left.clear()
        threading.Thread(target=self._beat, daemon=True, name="lock").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self.is_held():
            os.remove(self.path)

    def is_held(self) -> bool:
        """Return True if the file is this run's still."""
        return self._read() == self.own

    def check(self) -> None:
        """Refuse to go on if another run has taken the folder over, while this one was stopped for example.

        Raises:
            FolderInUse: it has.
        """
        holder = self._read()
        if holder != self.own:
            raise FolderInUse(
                f"{self.folder} was taken over from this run by {holder or 'somebody who removed the lock'}"
            )

    def _create(self) -> bool:
        """Write the file, if there is none; return True if it is this run's."""
        temporary = f"{self.path}.{self.own.token}"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(asdict(self.own), file)
            try:
                os.link(temporary, self.path)  # in one step and with its content, on shared disks too
            except FileExistsError:
                return False
            except OSError:  # a disk without links
                try:
                    with open(self.path, "x", encoding="utf-8") as file:
                        json.dump(asdict(self.own), file)
                except FileExistsError:
                    return False
            return True
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)

    def _remove_stale(self) -> None:
        holder = self._read()
        if holder is None and not os.path.lexists(self.path):
            return  # released meanwhile
        reason = self._why_stale(holder)
        if reason is None:
            raise FolderInUse(
                f"{self.folder} is in use by another run: {holder or 'of which its lock does not tell'}. Wait for its "
                f"end, or choose another OUTPUT_DIR (to test meanwhile, with TEST.CHECKPOINT_FILE_PATH); a run "
                f"that was killed on another machine counts as ended when {self.path} is {STALE_SECONDS:g} s old"
            )
        # Two runs may come here at once: the file is looked at again after it has got a name of this run alone.
        aside = f"{self.path}.{self.own.token}"
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        with contextlib.suppress(OSError):
            if self._read(aside) != holder:
                os.link(aside, self.path)
        os.remove(aside)
        if reason:
            self.notices.append(f"{self.folder}: the lock of {holder or 'a run'} is taken over: {reason}")

    def _why_stale(self, holder: Holder | None) -> str | None:
        """Return the reason why a lock's run has ended; None if it may go on."""
        own = self.own
        if holder is not None and holder.host == own.host:
            if holder.boot != own.boot:
                return "the machine was started again since"
            if start_of(holder.pid) != holder.started:
                return "its process is gone"
            return None
        if holder is not None and own.job and holder.job == own.job and holder.attempt < own.attempt:
            return "it is of an earlier start of this job"
        age = self._age()
        return None if age < STALE_SECONDS else f"it was not touched for {age:.0f} s"

    def _age(self) -> float:
        """Return the seconds since the file was touched, by the clock of its disk."""
        probe = f"{self.path}.{self.own.token}"
        try:
            open(probe, "w").close()
            return os.stat(probe).st_mtime - os.stat(self.path).st_mtime
        except FileNotFoundError:
            return 0.0
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(probe)

    def _read(self, path: str | None = None) -> Holder | None:
        """Return the content of the file; None if there is no file, or another content."""
        try:
            with open(path or self.path, encoding="utf-8") as file:
                return Holder(**json.load(file))
        except (OSError, ValueError, TypeError):
            return None

    def _beat(self) -> None:
        while not self._left.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                if self.is_held():
                    os.utime(self.path)


def start_of(pid: int) -> int | None:
    """Return the time when a process of this machine started, in the kernel's units; None if it does not run.

    A number is given to another process some time after its end; the time tells the two apart.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_running(pid: int) -> bool:
    """Return True if a process of this machine runs."""
    return start_of(pid) is not None


def boot_id() -> str:
    """Return the number of the machine's start; "" where the kernel tells none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
