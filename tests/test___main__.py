from __future__ import annotations

import runpy
import sys

import pytest

from mutualnet3d.cli.main import COMMANDS


def test_the_module_is_the_command(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mutualnet3d"])
    monkeypatch.delitem(sys.modules, "mutualnet3d.__main__", raising=False)
    with pytest.raises(SystemExit) as left:
        runpy.run_module("mutualnet3d", run_name="__main__")
    assert left.value.code == 0
    assert set(COMMANDS) <= set(capsys.readouterr().out.split())
