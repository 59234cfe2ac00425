from __future__ import annotations

import os

import pytest
import torch

from mutualnet3d.deploy.backends import torch_threads
from mutualnet3d.deploy.forked import is_forked, run_in_fork


def test_only_a_forked_process_is_one():
    before = torch.get_num_threads()
    run_in_fork()
    assert not is_forked()
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_one_thread_whatever_is_asked_for():
    pid = os.fork()
    if not pid:
        try:
            run_in_fork()
            with torch_threads(2):
                os._exit(0 if is_forked() and torch.get_num_threads() == 1 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
