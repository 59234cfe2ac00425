from __future__ import annotations

import threading

import pytest
import torch

from mutualnet3d.engine.checkpoint_writer import BackgroundWriter


def test_the_writer_writes_a_copy_and_reports_its_errors(caplog, monkeypatch):
    monkeypatch.setattr("mutualnet3d.engine.checkpoint_writer.logger.propagate", True)
    gate, written = threading.Event(), []

    def write(content, step):
        gate.wait(10)
        if step == 2:
            raise OSError("disk full, on purpose")
        written.append((step, content["w"].tolist(), content["more"][0]["w"].tolist()))
        return f"path {step}"

    weights = torch.ones(2)
    writer = BackgroundWriter(write)
    writer.save({"w": weights, "more": [{"w": weights}]}, 1)
    assert writer.is_busy
    weights.zero_()  # training goes on
    gate.set()
    assert writer.wait() == "path 1"
    assert written == [(1, [1.0, 1.0], [1.0, 1.0])]
    writer.save({"w": weights, "more": [{"w": weights}]}, 2)
    with pytest.raises(OSError, match="disk full"):
        writer.save({}, 3)
    with pytest.raises(OSError, match="disk full"), BackgroundWriter(write) as writer:
        writer.save({}, 2)
    writer = BackgroundWriter(write)
    writer.save({}, 2)
    with pytest.raises(KeyError, match="the block's own"), writer:  # not the error of the file
        raise KeyError("the block's own")
    assert "the checkpoint that was being written is lost: disk full" in caplog.text
