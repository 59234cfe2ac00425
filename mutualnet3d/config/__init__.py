"""Configs: defaults, YAML files, overrides, checks."""

from mutualnet3d.config.load import CONFIG_ROOT, find_cfg, load_cfg, parse_stored_cfg

__all__ = ["CONFIG_ROOT", "find_cfg", "load_cfg", "parse_stored_cfg"]
