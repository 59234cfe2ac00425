"""Cascades of a test run, fitted on half of its videos and reported on the other half."""

from __future__ import annotations

from collections.abc import Sequence

from fvcore.common.config import CfgNode

from mutualnet3d.data.build_split import is_multi_label
from mutualnet3d.engine.evaluate import Evaluation
from mutualnet3d.log import logger
from mutualnet3d.results.cascade import Cascade, probabilities
from mutualnet3d.results.cascade_fit import MIN_VIDEOS, fit_cascades, split_videos
from mutualnet3d.results.query_table import Row
from mutualnet3d.results.score_store import ComputedScores


def cascades_of_test(
    cfg: CfgNode, result: Evaluation, rows: Sequence[Row]
) -> tuple[tuple[Cascade, ...] | None, dict[str, int]]:
    """Return the cascades of a test, and the facts about them for the table's context.

    There are no cascades (None, no facts) where `TEST.CASCADES` is False, where videos have several labels, and where
    there are too few.

    Args:
        cfg: config of the test, whose RNG_SEED draws the halves.
        result: scores of the test.
        rows: rows of the test.
    """
    num_videos = len(result.label_V)
    if not cfg.TEST.CASCADES:
        return None, {}
    if is_multi_label(cfg):
        logger.info("no cascades: they ask how sure a network is of one label, and videos have several")
        return None, {}
    if num_videos < MIN_VIDEOS:
        logger.info("no cascades: %d videos were tested, and they are fitted on %d or more", num_videos, MIN_VIDEOS)
        return None, {}
    scores = ComputedScores(
        result.row_scores, lambda key: probabilities(result.row_scores[key], cfg.DATA.ENSEMBLE_METHOD)
    )
    gflops = {(row.config, row.views): row.gflops_of_video for row in rows}
    cascades = fit_cascades(scores, gflops, result.label_V, cfg.RNG_SEED)
    fit_V, report_V = split_videos(num_videos, cfg.RNG_SEED)
    return cascades, {"fit_videos": len(fit_V), "report_videos": len(report_V), "seed": cfg.RNG_SEED}
