"""Fork server, one of a process: a small process, started early, of which all further processes are copies.

A copy of the process itself would have its connections to the other processes of a job (a killed process would look
alive while its copy lives), and locks that a thread held. multiprocessing has one fork server for each process, and
reads the list of modules that it loads when it starts: the list is here alone.
"""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

_SIGNALS = "mutualnet3d.fork_server.signals"
# Modules that a process of each kind needs, by the name of the kind. All but the pool's load torch, which takes
# seconds; augmentation loads torchvision, which takes more of them.
_MODULES = {
    "pool": "mutualnet3d.process_pool",
    "loader": "mutualnet3d.data.workers",
    "augmentation": "torchvision.transforms.v2",
    "files": "mutualnet3d.data.file_reader",
}


def context(*kinds: str) -> BaseContext:
    """Return the context of multiprocessing that starts processes by the fork server; `spawn`'s where there is none.

    Args:
        *kinds: kinds of the processes, keys of `_MODULES`; a server that does not run yet will have their
            modules.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    modules = [_SIGNALS, *(_MODULES[kind] for kind in kinds)]
    # Each process runs the main module again. A script that has imported torchvision would make each import it anew.
    if "torchvision" in sys.modules and set(kinds) - {"pool"}:
        modules.append(_MODULES["augmentation"])
    server.set_forkserver_preload(modules)
    return server


def start(*kinds: str) -> None:
    """Start the fork server, if it does not run, and do not wait for it: it loads its modules beside this process.

    Args:
        *kinds: kinds of the processes, see `context`.
    """
    if context(*kinds).get_start_method() == "forkserver":
        forkserver.ensure_running()
