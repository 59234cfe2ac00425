from __future__ import annotations

import platform
from pathlib import Path
from types import SimpleNamespace

import torch

import mutualnet3d as m3
from mutualnet3d.config.changes import hash_of
from mutualnet3d.models import build_model
from mutualnet3d.runner.build_space import build_space
from mutualnet3d.runner.start_log import log_network, log_start
from tests.conftest import TINY, as_overrides
from tests.runner.runs import CFG


def session_of(folder, **changes):
    named = {key.replace("__", "."): value for key, value in changes.items()}
    cfg = m3.load_cfg(CFG, as_overrides({**TINY, "OUTPUT_DIR": str(folder), **named}))
    return SimpleNamespace(cfg=cfg, device=torch.device("cpu"), space=build_space(cfg), model=build_model(cfg))


def test_versions_config_and_changed_keys(tmp_path, caplog):
    session = session_of(tmp_path)
    with caplog.at_level("DEBUG", logger="mutualnet3d"):
        log_start(session)
    versions, config, changed = [record.getMessage() for record in caplog.records]
    for text in (f"torch {torch.__version__}", "torchvision ", "PyAV ", f"Python {platform.python_version()} on "):
        assert text in versions
    path = Path(tmp_path, "config.yaml")
    assert config.startswith(f"config {hash_of(session.cfg.dump())} in {path}: ")
    assert config.endswith(f"{len(changed.split('; '))} keys are not the defaults'")
    assert "MUTUAL.FRAMES [4, 2]; " in changed
    assert caplog.records[2].levelname == "DEBUG"  # to the file alone


def test_parameters_and_multiply_adds(tmp_path, caplog):
    session, alone = session_of(tmp_path), session_of(tmp_path, MUTUAL__ENABLE=False)
    state = torch.get_rng_state()
    with caplog.at_level("INFO", logger="mutualnet3d"):
        log_network(session)
        log_network(alone)
    assert torch.equal(state, torch.get_rng_state())  # dropout goes on from it
    mutual, static = [record.getMessage() for record in caplog.records]
    full, smallest = session.space.full, session.space.smallest
    assert mutual == (
        f"x3d: full network {full} of 0.03 M parameters, {m3.multiply_adds(session.model, full) / 1e9:.4g} GFLOPs for "
        f"a clip of 4 x 32 x 32; smallest sub-network {smallest} of 0.01 M parameters, "
        f"{m3.multiply_adds(session.model, smallest) / 1e9:.4g} GFLOPs for a clip of 2 x 32 x 32"
    )
    assert "smallest" not in static
