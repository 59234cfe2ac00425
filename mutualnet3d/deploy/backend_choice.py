"""Choice of the back end of a predictor: the named one, or the fastest in a trial of the candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from mutualnet3d.deploy.backends import BACKENDS, CHOICES, Backend
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.networks import NetworkStore
from mutualnet3d.log import logger
from mutualnet3d.results.latency import measure_latencies
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.shapes import SubnetConfig

# A back end of another precision is not taken where its logits differ by more than this, relative to the largest, on
# the clip that it is tried with, or its best class is another one.
_MAX_DIFFERENCE = 0.03
# A quantised one is judged by its measured accuracy: it is taken if it costs no sub-network that may be chosen more
# points of top-1 than this, as many as interpolated statistics may (TEST.MAX_INTERPOLATION_LOSS). One clip then has to
# show only that this machine computes it rightly: on a trained network the logits of a few clips in a hundred differed
# by 0.06, the furthest by 0.18.
_MAX_QUANTISED_LOSS = 0.5
_MAX_QUANTISED_DIFFERENCE = 0.25

# Timed passes of each back end, of which the fastest counts: the least disturbed.
_TRIALS = 3


@dataclass(frozen=True)
class BackendChoice:
    """Back end of a predictor.

    Args:
        backend: chosen back end.
        trials: milliseconds of the back ends that were tried, by name, the least of several passes.
        rejected: reasons against the other back ends, by name.
    """

    backend: Backend
    trials: dict[str, float] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)


def choose_backend(networks: NetworkStore, name: str, device: str | None, threads: int | None) -> BackendChoice:
    """Return the back end of a name in `BACKENDS`, or the fastest one of the candidates of a name in `CHOICES`.

    A back end whose files are code ("pt2") is used only by its name. Candidates run the most expensive sub-network that
    a budget may choose, on a clip of noise. Preparation takes most of the time: for a checkpoint a conversion to ONNX,
    and a compilation by each library.

    Args:
        networks: store of the sub-networks.
        name: name of a back end, or "auto" or "fast".
        device: name of the device, "cpu" or "cuda"; None: a GPU if there is one, for the libraries that can use it.
        threads: number of threads of the CPU; None: each library's own number.

    Raises:
        ValueError: the back end or device is unknown, or no back end can run here; the message has the reasons.
        ModuleNotFoundError: the named back end's library is not installed; the message says what to install.
    """
    check_choice(name, threads)
    torch_device = _device(device)
    candidates = CHOICES.get(name, (name,))
    if len(candidates) == 1:
        return BackendChoice(_named(networks, candidates[0], torch_device, threads))
    front = runnable_front(networks, networks.table)
    config = (front or networks.configs)[0]
    clips = random_clips(networks.shapes(config), 1)
    return find_fastest(networks, candidates, config, clips, front, torch_device, threads)


def check_choice(name: str, threads: int | None) -> None:
    """Check the arguments of `choose_backend` as far as possible without a network.

    Args:
        name: name of a back end, or "auto" or "fast".
        threads: number of threads of the CPU, at least 1, or None.

    Raises:
        ValueError: the back end is unknown, or the number of threads is not allowed.
    """
    if name not in BACKENDS and name not in CHOICES:
        raise ValueError(f"unknown back end {name!r}; allowed: {', '.join([*CHOICES, *BACKENDS])}")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise ValueError(f"threads is {threads!r}; it must be an integer of at least 1")


def runnable_front(networks: NetworkStore, table: QueryTable | None) -> tuple[SubnetConfig, ...]:
    """Return the sub-networks on a Pareto front of `table` that can be run, the most expensive first."""
    on_front = table.front_configs() if table else ()
    return tuple(config for config in networks.configs if config in on_front)


def find_fastest(
    networks: NetworkStore,
    names: Sequence[str],
    config: SubnetConfig,
    clips: Sequence[torch.Tensor],
    front: Sequence[SubnetConfig],
    device: torch.device | None,
    threads: int | None,
) -> BackendChoice:
    """Return the fastest of the back ends that can run `config` here and whose logits are the network's.

    Args:
        networks: store of the sub-networks.
        names: names of the candidates, of `BACKENDS`.
        config: sub-network of the trial.
        clips: clips of the trial, uint8 (1, T, S, S, 3), one for each of the network's inputs.
        front: sub-networks that budgets choose from, in all of which a quantised back end has to be accurate.
        device: device of the trial; None: each back end's default.
        threads: number of threads of the CPU; None: each library's own number.

    Raises:
        ValueError: no back end can run it; the message has the reasons.
    """
    candidates, rejected = _candidates(networks, names, config, front, device, threads)
    if not candidates:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in rejected.items())
        raise ValueError(f"no back end can run {config} here: {reasons}")
    logger.info("trying %s", ", ".join(candidates))
    rejected |= _inexact({name: backend(config, clips) for name, backend in candidates.items()})
    candidates = {name: backend for name, backend in candidates.items() if name not in rejected}
    trials = measure_latencies(
        lambda name, clips: candidates[name](config, clips),
        list(candidates),
        lambda name: clips,
        torch.device("cpu"),  # where logits arrive
        num_rounds=_TRIALS,
        passes=1,  # each has just run
        summary=min,
    ).milliseconds
    fastest = min(trials, key=lambda name: trials[name])
    times = ", ".join(f"{name} {time:.1f} ms" for name, time in sorted(trials.items(), key=lambda trial: trial[1]))
    logger.info("back end %s; %s took %s", fastest, config, times)
    return BackendChoice(candidates[fastest], trials, rejected)


def _named(networks: NetworkStore, name: str, device: torch.device | None, threads: int | None) -> Backend:
    kind = BACKENDS[name]
    if problem := kind.why_not(networks, networks.configs[0], device):
        if "pip install" in problem:
            raise ModuleNotFoundError(problem)
        raise ValueError(f"back end {name}: {problem}")
    return kind(networks, device, threads)


def _candidates(
    networks: NetworkStore,
    names: Sequence[str],
    config: SubnetConfig,
    front: Sequence[SubnetConfig],
    device: torch.device | None,
    threads: int | None,
) -> tuple[dict[str, Backend], dict[str, str]]:
    """Return the back ends that can run `config`, and the reasons against the others."""
    candidates: dict[str, Backend] = {}
    rejected: dict[str, str] = {}
    for name in names:
        kind = BACKENDS[name]
        problem = kind.why_not(networks, config, device)
        if problem is None and kind.own_accuracy:
            problem = _why_not_quantised(networks, kind, config, front)
        if problem is None and kind.runs_files:
            problem = f"its files are code, which runs when it is loaded; name {name} if you trust who made them"
        if problem is None:
            candidates[name] = kind(networks, device, threads)
            continue
        rejected[name] = problem
        if "pip install" in problem and kind.exact:
            logger.warning("%s (often several times as fast as PyTorch)", problem)
    return candidates, rejected


def _why_not_quantised(
    networks: NetworkStore, kind: type[Backend], config: SubnetConfig, front: Sequence[SubnetConfig]
) -> str | None:
    """Return the reason against a quantised back end, in a line; None if it costs almost no accuracy on the front."""
    rows = {} if networks.table is None else {row.key: row for row in networks.table.rows}
    for needed in dict.fromkeys([config, *front]):
        row = networks.table.row(needed) if networks.table else None
        quantised = row and rows.get((needed, kind.name, row.views))
        if row is None or quantised is None:
            return f"the query table has no accuracy of {needed} on {kind.name}"
        if kind.format not in networks.formats(needed):
            return f"{networks.path} has no {kind.format} network of {needed}"
        if row.accuracy - quantised.accuracy > _MAX_QUANTISED_LOSS:
            return f"{kind.name} costs {needed} {row.accuracy - quantised.accuracy:.2f} points of {row.measure}"
    return None


def _inexact(logits: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Return the back ends of other precisions whose logits are not those of float32, with their distance."""
    exact = next((logits_VK for name, logits_VK in logits.items() if BACKENDS[name].exact), None)
    if exact is None:
        return {}
    reasons: dict[str, str] = {}
    for name, logits_VK in logits.items():
        kind = BACKENDS[name]
        if kind.exact:
            continue
        difference = float((logits_VK - exact).abs().max() / exact.abs().max())
        same_class = bool((logits_VK.argmax(dim=1) == exact.argmax(dim=1)).all())
        allowed = _MAX_QUANTISED_DIFFERENCE if kind.own_accuracy else _MAX_DIFFERENCE
        if not (same_class and difference <= allowed):  # NaN is not
            reasons[name] = f"its logits differ by {difference:.2g} of the largest"
    return reasons


def _device(name: str | None) -> torch.device | None:
    if name is None:
        return None
    if name not in ("cpu", "cuda"):
        raise ValueError(f"device is {name!r}; allowed: cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no GPU here; allowed: cpu")
    return torch.device(name)
