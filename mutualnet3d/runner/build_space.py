"""Translation of a config to the sub-networks of training and testing."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fvcore.common.config import CfgNode

from mutualnet3d.models.build import space_of
from mutualnet3d.mutual import SubnetConfig, SubnetSpace
from mutualnet3d.results.paper import PaperResults, paper_results, results_of
from mutualnet3d.results.query_table import COSTS, QueryTable


def build_space(cfg: CfgNode) -> SubnetSpace:
    """Return the sub-networks that `cfg` trains; empty lists mean the full network's own value."""
    space = space_of(cfg)
    return SubnetSpace(space["width_range"], space["sizes"], space["frames"])


def build_test_space(cfg: CfgNode) -> SubnetSpace:
    """Return the sub-networks of `cfg` at the sizes of testing, `TEST.SIZES`."""
    space = space_of(cfg)
    return SubnetSpace(space["width_range"], space["tested_sizes"], space["frames"])


def configs_to_test(cfg: CfgNode) -> tuple[SubnetConfig, ...]:
    """Return the sub-networks of `TEST.SUBNETS`, without repetitions, at the sizes of testing.

    Keys may have training's sizes too.

    Args:
        cfg: config of the run.

    Returns:
        Sub-networks.

    Raises:
        ValueError: the list is empty, a key is invalid, the spaces do not have its sub-network, or the paper has no
            results of this network.
        FileNotFoundError: "pareto" without an earlier table.
    """
    space, test_space = build_space(cfg), build_test_space(cfg)
    both = SubnetSpace(space.width_range, tuple(dict.fromkeys([*test_space.sizes, *space.sizes])), space.frames)
    configs: list[SubnetConfig] = []
    for entry in cfg.TEST.SUBNETS:
        if entry == "grid":
            configs += test_space.grid(cfg.MUTUAL.TEST_WIDTHS or space.width_range)
        elif entry == "full":
            configs.append(test_space.full)
        elif entry == "paper":
            configs += _checked(both, _configs_of_the_paper(cfg))
        elif entry == "pareto":
            table = QueryTable.load(cfg.TEST.QUERY_TABLE or os.path.join(cfg.OUTPUT_DIR, "query_table.json"))
            # The fronts of its own views, which are to be tested again.
            configs += _checked(both, [row.config for cost in COSTS for row in table.select().pareto(cost)])
        else:
            configs += _checked(both, [entry])
    if not configs:
        raise ValueError(
            "TEST.SUBNETS is empty; name 'grid', 'full', 'paper', 'pareto' or keys such as 'w0.63-s160-t10'"
        )
    return tuple(dict.fromkeys(configs))


def _checked(space: SubnetSpace, entries: Sequence[SubnetConfig | str]) -> list[SubnetConfig]:
    """Return sub-networks, given as such or by their keys, if the space has them."""
    try:
        return [space.check(SubnetConfig.parse(entry) if isinstance(entry, str) else entry) for entry in entries]
    except ValueError as error:
        raise ValueError(f"TEST.SUBNETS: {error}") from error


def paper_results_of(cfg: CfgNode) -> PaperResults | None:
    """Return the paper's results of the config's network; None if it has none."""
    return results_of(
        arch=cfg.MODEL.ARCH,
        depth=cfg.RESNET.DEPTH,
        alpha=cfg.SLOWFAST.ALPHA,
        num_frames=cfg.DATA.NUM_FRAMES,
        sampling_rate=cfg.DATA.SAMPLING_RATE,
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
    )


def _configs_of_the_paper(cfg: CfgNode) -> list[SubnetConfig]:
    results = paper_results_of(cfg)
    if results is None:
        raise ValueError(
            f"TEST.SUBNETS: the paper has no results of this network ({cfg.MODEL.ARCH}, {cfg.DATA.NUM_FRAMES} frames "
            f"at every {cfg.DATA.SAMPLING_RATE}th); it has them of {', '.join(paper_results())}"
        )
    return [row.config for row in results.rows]
