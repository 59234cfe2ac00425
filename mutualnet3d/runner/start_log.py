"""First lines of a run's log: versions, device, config, size of the network."""

from __future__ import annotations

import os
import platform

import torch

from mutualnet3d.config.changes import changed_values, hash_of
from mutualnet3d.config.defaults import default_cfg
from mutualnet3d.extras import versions_of
from mutualnet3d.log import logger
from mutualnet3d.models import costs
from mutualnet3d.mutual import SubnetConfig
from mutualnet3d.results.latency import device_name
from mutualnet3d.runner.session import Session

_PACKAGES = {"mutualnet3d": "mutualnet3d", "torchvision": "torchvision", "av": "PyAV"}


def log_start(session: Session) -> None:
    """Log versions, device and config; keys that differ from the defaults go to the file alone."""
    cfg, versions = session.cfg, versions_of(*_PACKAGES)
    packages = ", ".join(f"{_PACKAGES[name]} {version}" for name, version in versions.items())
    python = platform.python_version()
    logger.info("%s, torch %s, Python %s on %s", packages, torch.__version__, python, device_name(session.device))
    dump = cfg.dump()
    changed = changed_values(default_cfg().dump(), dump)
    path = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
    logger.info("config %s in %s: %d keys are not the defaults'", hash_of(dump), path, len(changed))
    logger.debug("%s", "; ".join(f"{key} {new!r}" for key, (_, new) in changed.items()))


def log_network(session: Session) -> None:
    """Log the parameters of the network and the multiply-adds of its full and its smallest sub-network."""
    space, cfg = session.space, session.cfg
    configs = dict.fromkeys([space.full, space.smallest] if cfg.MUTUAL.ENABLE else [space.full])
    logger.info("%s: %s", cfg.MODEL.ARCH, "; ".join(_cost_text(session, config) for config in configs))


def _cost_text(session: Session, config: SubnetConfig) -> str:
    with torch.random.fork_rng(devices=[]):
        operations, parameters = costs(session.model, config)
    clip = " and ".join(f"{shape.frames} x {shape.size} x {shape.size}" for shape in session.model.input_shapes(config))
    name = "full network" if config == session.space.full else "smallest sub-network"
    return f"{name} {config} of {parameters / 1e6:.2f} M parameters, {operations / 1e9:.4g} GFLOPs for a clip of {clip}"
