from __future__ import annotations

import os
import resource
import socket

import pytest

from mutualnet3d.data import limited_reader_server
from mutualnet3d.data.limited_reader_server import Limits


def test_limits_are_told():
    assert str(Limits(9.0, 1 << 30)) == "9 s and 1 GB of memory"
    assert str(Limits(0.5, 300 << 20)) == "0.5 s and 0.293 GB of memory"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_has_its_limits():
    connection, child_connection = socket.socketpair()
    server, pid = os.getpid(), os.fork()
    if not pid:
        try:
            limited_reader_server._limit(Limits(9.0, 1 << 28), server)
            kinds = (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            more = resource.getrlimit(resource.RLIMIT_AS)[1] - used
            values = [*(resource.getrlimit(kind)[1] for kind in kinds), 0 < more <= 1 << 28]
            child_connection.sendall(repr(values).encode())
        finally:
            os._exit(0)
    child_connection.close()
    assert connection.recv(100).decode() == "[0, 64, True]"
    connection.close()
    os.waitpid(pid, 0)
