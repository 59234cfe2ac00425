"""find_fastest(...): which back end runs a sub-network in the least time, found by running it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mutualnet3d.deploy.backends import BACKENDS, Backend, OpenVINOInt8
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.log import logger
from mutualnet3d.shapes import SubnetConfig

# A back end of another precision is not taken where its logits differ more than this, relative to the largest, on the
# clip that it is tried with, or its best class is another one.
_MAX_DIFFERENCE = 0.03
# int8 is judged by its measured accuracy: it is taken if it costs no sub-network that may be chosen more points of
# top-1 than this, as many as interpolated statistics may (TEST.MAX_INTERPOLATION_LOSS). One clip then has to show only
# that this machine computes it rightly: on a trained network the logits of a few clips in a hundred differed by 0.06,
# the furthest by 0.18.
_MAX_INT8_LOSS = 0.5
_MAX_INT8_DIFFERENCE = 0.25

# Timed passes of each back end.
_TRIALS = 3


@dataclass(frozen=True)
class Fastest:
    """The back end that was chosen.

    Args:
        trials: milliseconds of each one that was tried, the least of some passes.
        rejected: why others were not taken, by their names.
    """

    backend: Backend
    trials: dict[str, float]
    rejected: dict[str, str]


def find_fastest(
    source: NetworkStore,
    names: Sequence[str],
    config: SubnetConfig,
    clips: Sequence[torch.Tensor],
    front: Sequence[SubnetConfig],
    device: torch.device | None,
    threads: int | None,
) -> Fastest:
    """The fastest back end of `names`, of those that can run `config` here and whose logits are the network's.

    Args:
        clips: to try them with, uint8 (1, T, S, S, 3), one for each of the network's inputs.
        front: the sub-networks that budgets choose from; int8 has to do well in each.
        device, threads: as of `Predictor`.

    Raises:
        ValueError: none can; with the reasons.
    """
    candidates, rejected = _candidates(source, names, config, front, device, threads)
    if not candidates:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in rejected.items())
        raise ValueError(f"no back end can run {config} here: {reasons}")
    logger.info("trying %s", ", ".join(candidates))
    rejected |= _inexact({name: each.runner(config)(clips) for name, each in candidates.items()})
    candidates = {name: each for name, each in candidates.items() if name not in rejected}
    trials = _milliseconds(candidates, config, clips)
    fastest = min(trials, key=lambda name: trials[name])
    said = ", ".join(f"{name} {each:.1f} ms" for name, each in sorted(trials.items(), key=lambda pair: pair[1]))
    logger.info("back end %s; %s took %s", fastest, config, said)
    return Fastest(candidates[fastest], trials, rejected)


def _candidates(
    source: NetworkStore,
    names: Sequence[str],
    config: SubnetConfig,
    front: Sequence[SubnetConfig],
    device: torch.device | None,
    threads: int | None,
) -> tuple[dict[str, Backend], dict[str, str]]:
    """Those that can run `config`, and why others cannot."""
    candidates: dict[str, Backend] = {}
    rejected: dict[str, str] = {}
    for name in names:
        kind = BACKENDS[name]
        problem = kind.why_not(source, config, device)
        if problem is None and kind is OpenVINOInt8:
            problem = _why_not_int8(source, config, front)
        if problem is None:
            candidates[name] = kind(source, device, threads)
            continue
        rejected[name] = problem
        if "pip install" in problem and kind.exact:
            logger.warning("%s (often several times as fast as PyTorch)", problem)
    return candidates, rejected


def _why_not_int8(source: NetworkStore, config: SubnetConfig, front: Sequence[SubnetConfig]) -> str | None:
    """What keeps int8 from being chosen, in a line; None: it costs next to nothing, wherever it may be run."""
    rows = {} if source.table is None else {row.config: row for row in source.table.rows}
    for each in dict.fromkeys([config, *front]):
        row = rows.get(each)
        if row is None or row.int8_top1 is None or row.int8_milliseconds is None:
            return f"the query table has no accuracy of {each} in int8"
        if OpenVINOInt8.format not in source.formats(each):
            return f"{source.path} has no {OpenVINOInt8.format} network of {each}"
        if row.top1 - row.int8_top1 > _MAX_INT8_LOSS:
            return f"int8 costs {each} {row.top1 - row.int8_top1:.2f} points of top-1"
    return None


def _inexact(logits: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Which back ends of other precisions give other logits than one of float32, and how far they are off."""
    exact = next((each for name, each in logits.items() if BACKENDS[name].exact), None)
    if exact is None:
        return {}
    found: dict[str, str] = {}
    for name, each in logits.items():
        if BACKENDS[name].exact:
            continue
        difference = float((each - exact).abs().max() / exact.abs().max())
        same = bool((each.argmax(dim=1) == exact.argmax(dim=1)).all())
        allowed = _MAX_INT8_DIFFERENCE if name == OpenVINOInt8.name else _MAX_DIFFERENCE
        if not (same and difference <= allowed):  # NaN is not
            found[name] = f"its logits differ by {difference:.2g} of the largest"
    return found


def _milliseconds(
    candidates: Mapping[str, Backend], config: SubnetConfig, clips: Sequence[torch.Tensor]
) -> dict[str, float]:
    """The least of some passes of each, which take turns: the least disturbed."""
    found = dict.fromkeys(candidates, float("inf"))
    for _ in range(_TRIALS):
        for name, each in candidates.items():
            started = time.perf_counter()
            each.runner(config)(clips)
            found[name] = min(found[name], 1e3 * (time.perf_counter() - started))
    return found
