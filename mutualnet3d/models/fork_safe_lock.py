"""Re-entrant lock that is free in a forked process, where the thread that held it does not exist."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any


class ForkSafeLock:
    """Re-entrant lock. A copy of it, deep or pickled, is another lock, and free.

    Attributes:
        depth: number of times that its owner has acquired it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner: int | None = None
        self.depth = 0
        _LOCKS.add(self)

    def __enter__(self) -> ForkSafeLock:
        self._lock.acquire()
        self._owner = threading.get_ident()
        self.depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.depth -= 1
        if not self.depth:
            self._owner = None
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return ForkSafeLock, ()

    def free_if_abandoned(self) -> None:
        """Release the lock if another thread holds it; for a new process, which has one thread."""
        if self._owner not in (None, threading.get_ident()):
            self._lock, self._owner, self.depth = threading.RLock(), None, 0


_LOCKS: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _free_abandoned_locks() -> None:
    for lock in list(_LOCKS):
        lock.free_if_abandoned()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_abandoned_locks)
