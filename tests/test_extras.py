from __future__ import annotations

import importlib
import sys
import types

import pytest

from mutualnet3d import extras


@pytest.mark.parametrize("was_loaded", [True, False])
def test_is_imported_without_what_sends_statistics(was_loaded, monkeypatch):
    module = types.ModuleType("openvino_telemetry")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    if not was_loaded:
        monkeypatch.delitem(sys.modules, module.__name__)
    import_module = importlib.import_module

    def imports(name):
        with pytest.raises(ModuleNotFoundError):
            import_module("openvino_telemetry")
        return name

    monkeypatch.setattr(extras.importlib, "import_module", imports)
    assert extras.require("openvino") == "openvino"
    assert sys.modules.get("openvino_telemetry") is (module if was_loaded else None)


def test_what_is_missing_is_one_line():
    with pytest.raises(ModuleNotFoundError, match=r"^no_such is not installed: pip install 'mutualnet3d\[web\]'$"):
        extras.require("no_such.part", "web")
    assert extras.installed("torch")
    assert not extras.installed("no_such")
