"""Configs: defaults, YAML files, overrides, checks."""

from mutualnet3d.config.load import CONFIG_ROOT, check_pairs, find_cfg, load_cfg, parse_stored_cfg

__all__ = ["CONFIG_ROOT", "check_pairs", "find_cfg", "load_cfg", "parse_stored_cfg"]
