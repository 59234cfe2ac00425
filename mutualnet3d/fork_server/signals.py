"""Signals of a fork server, which loads this module: those that go to all processes of a job do not end it.

A cluster that ends a job signals all of its processes. The run finishes its step and writes a checkpoint first, and the
server's end would be taken for the end of all of its copies. Copies have the usual signals.
"""

from __future__ import annotations

import atexit
import os
import signal

_IGNORED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_SERVER = os.getpid()


def _restore() -> None:
    if os.getppid() == _SERVER:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_DFL)


def ignore() -> None:
    """Ignore the signals in this process, and not in its copies; end it without delay."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.register_at_fork(after_in_child=_restore)
    # Its copies end with it: to take torch's modules down first takes seconds. (Copies run no handlers of `atexit`.)
    atexit.register(os._exit, 0)


ignore()
