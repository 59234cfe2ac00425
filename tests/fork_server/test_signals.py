from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys

from mutualnet3d import fork_server
from tests.copies import ROOT

SCRIPT = """
import os, signal, time
from mutualnet3d import fork_server

if __name__ == "__main__":
    server = fork_server.context()
    first = server.Process(target=time.sleep, args=(0,))
    first.start()
    first.join()
    from multiprocessing import forkserver
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(forkserver._forkserver._forkserver_pid, number)
    second = server.Process(target=time.sleep, args=(1000,))
    second.start()
    time.sleep(0.2)
    second.terminate()
    second.join()
    print(first.exitcode, second.exitcode)
"""


def test_signals_of_a_job_do_not_end_the_server_but_its_copies(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.split() == ["0", str(-signal.SIGTERM)], done.stderr


def test_the_list_of_modules_names_modules_that_exist():
    for module in (fork_server._SIGNALS, *fork_server._MODULES.values()):
        assert importlib.util.find_spec(module) is not None


def test_torchvision_is_loaded_once_where_the_main_module_may_have_it(monkeypatch):
    lists = []
    server = multiprocessing.get_context("forkserver")
    monkeypatch.setattr(type(server), "set_forkserver_preload", lambda self, modules: lists.append(modules))
    for name in [name for name in sys.modules if name == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    fork_server.context("pool", "loader")
    monkeypatch.setitem(sys.modules, "torchvision", sys)
    fork_server.context("pool", "loader")
    fork_server.context("pool")
    assert ["torchvision.transforms.v2" in modules for modules in lists] == [False, True, False]
