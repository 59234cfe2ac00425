"""Views of a test by a config, and the smaller tests that they contain."""

from __future__ import annotations

from fvcore.common.config import CfgNode

from mutualnet3d.data.build_split import is_ssv2
from mutualnet3d.data.view_subsets import ViewSubset, view_subsets
from mutualnet3d.results.row import Views


def views_of(cfg: CfgNode) -> Views:
    """Return the views of a video in a test."""
    return Views(cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS)


def subsets_of(cfg: CfgNode) -> dict[Views, tuple[int, ...]]:
    """Return the sets of views that rows of a test have, all of them first, with the numbers of their views.

    The numbers are positions among the test's views.
    """
    return {Views(subset.spans, subset.crops): subset.numbers for subset in _subsets(cfg)}


def nearby_views(cfg: CfgNode) -> list[str]:
    """Return the config keys of views that are close to the test's but not equal."""
    return [str(Views(subset.spans, subset.crops)) for subset in _subsets(cfg) if not subset.is_same]


def _subsets(cfg: CfgNode) -> tuple[ViewSubset, ...]:
    return view_subsets(cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS, is_ssv2(cfg, "test"))
