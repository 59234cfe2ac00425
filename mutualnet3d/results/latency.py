"""Milliseconds of sub-networks on the device at hand."""

from __future__ import annotations

import math
import platform
import random
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from mutualnet3d.log import logger
from mutualnet3d.results.row_times import Pass
from mutualnet3d.shapes import SubnetConfig

Key = TypeVar("Key", bound=Hashable)

# A median has settled where it lies, with the odds of one standard deviation, in an interval of this width relative to
# itself: it is known to some 5 % either way.
_SETTLED_WIDTH = 0.1
_MIN_TIMES = 3  # fewer say nothing of their spread
# Further rounds last so long at most, relative to the first ones, and are so many.
_EXTRA_TIME, _EXTRA_ROUNDS = 2.0, 4


@dataclass(frozen=True)
class Latencies(Generic[Key]):
    """Measured times.

    Args:
        milliseconds: time of a forward pass, by key.
        num_rounds: number of timed passes of each key, of which the time is the median (or another summary); keys that
            had not settled have more.
        unsettled: keys whose times varied too much, to the end, for their median to be trusted.
    """

    milliseconds: dict[Key, float]
    num_rounds: int
    unsettled: frozenset[Key] = frozenset()


@torch.no_grad()
def measure_latencies(
    forward: Callable[[Key, Sequence[torch.Tensor]], object],
    keys: Sequence[Key],
    make_clips: Callable[[Key], Sequence[torch.Tensor]],
    device: torch.device,
    *,
    num_rounds: int,
    min_rounds: int = 1,
    max_seconds: float = math.inf,
    passes: int = 2,
    summary: Callable[[Sequence[float]], float] = statistics.median,
) -> Latencies[Key]:
    """Measure the time of a forward pass of each key: a sub-network, a back end, or both.

    The keys take turns, in another order every round, so that a busy moment of the machine or a large neighbour does
    not affect the same key always. A turn is several passes on the same clips, of which the last is timed.

    On a machine that is busy for some of the rounds the medians are a matter of luck. Keys whose median has not settled
    get further rounds, for twice the time of the first rounds at most; a warning names keys that have not settled then.
    A quiet machine needs no further rounds. Fewer than three rounds always count as settled.

    Args:
        forward: function from a key and its clips to logits, in evaluation mode.
        keys: keys to measure, at least one.
        make_clips: function from a key to clips on `device`, of the batch size to be measured.
        device: device of the passes, which a measurement waits for.
        num_rounds: largest number of turns of each key, at least 1.
        min_rounds: smallest number of turns of each key, whatever their time.
        max_seconds: time after which no other round begins.
        passes: number of forward passes of a turn. Passes before the last choose kernels, and bring weights into the
            caches that the previous key had filled: without them the demo's small networks took a tenth longer than
            when run on their own.
        summary: function from the times of a key to its time: the median, or the minimum, which a burst does not change
            and which needs no further rounds.

    Raises:
        ValueError: there is no key, or no round.
    """
    if not keys:
        raise ValueError("no sub-network to measure")
    if num_rounds < 1:
        raise ValueError(f"num_rounds is {num_rounds}; allowed: 1 or more")
    seconds: dict[Key, list[float]] = {key: [] for key in keys}

    def run_round(keys_of_round: Iterable[Key], number: int) -> None:
        in_order = list(keys_of_round)
        for key in random.Random(number).sample(in_order, len(in_order)):
            clips = make_clips(key)
            for _ in range(passes - 1):
                forward(key, clips)
            _wait(device)
            started = time.perf_counter()
            forward(key, clips)
            _wait(device)
            seconds[key].append(time.perf_counter() - started)

    def find_unsettled() -> list[Key]:
        return [key for key, times in seconds.items() if summary is statistics.median and not has_settled(times)]

    began, rounds = time.perf_counter(), 0
    while rounds < num_rounds and (rounds < min_rounds or time.perf_counter() - began < max_seconds):
        run_round(seconds, rounds)
        rounds += 1
    unsettled, first_seconds, number = find_unsettled(), time.perf_counter() - began, rounds
    while (
        unsettled
        and number < (1 + _EXTRA_ROUNDS) * rounds
        and time.perf_counter() - began < (1 + _EXTRA_TIME) * first_seconds
    ):
        run_round(unsettled, number)
        number += 1
        unsettled = find_unsettled()
    if unsettled:
        logger.warning(
            "the machine is busy: after %d rounds the times of %d of %d did not settle: %s",
            number,
            len(unsettled),
            len(seconds),
            ", ".join(map(_key_text, unsettled)),
        )
    milliseconds = {key: 1e3 * summary(times) for key, times in seconds.items()}
    return Latencies(milliseconds, rounds, frozenset(unsettled))


def measure_passes(
    forward: Callable[[SubnetConfig, Sequence[torch.Tensor]], object],
    passes: Sequence[Pass],
    make_clips: Callable[[SubnetConfig, int], Sequence[torch.Tensor]],
    device: torch.device,
    *,
    num_rounds: int,
    min_rounds: int = _MIN_TIMES,
    max_seconds: float = 30.0,
) -> Latencies[Pass]:
    """Measure forward passes of several clips, of which there may be none.

    They take many times as long as passes of one clip, so they have fewer rounds.

    Args:
        forward: function from a sub-network and clips to logits, in evaluation mode.
        passes: passes to measure.
        make_clips: function from a sub-network and a number of clips to clips on `device`.
        device: device of the passes.
        num_rounds: largest number of turns of each pass, at least 1.
        min_rounds: smallest number of turns of each pass, whatever their time, at most `num_rounds`.
        max_seconds: time after which no other round begins, seconds.
    """
    if not passes:
        return Latencies({}, 0)
    return measure_latencies(
        lambda key, clips: forward(key[0], clips),
        passes,
        lambda key: make_clips(*key),
        device,
        num_rounds=num_rounds,
        min_rounds=min(min_rounds, num_rounds),
        max_seconds=max_seconds,
    )


def _key_text(key: object) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def has_settled(times: Sequence[float]) -> bool:
    """Return False if the median of `times` may be far from that of further times; True for fewer than three.

    The median of n independent values lies between those of the ranks n / 2 -+ sqrt(n) / 2, with the odds of one
    standard deviation. If the machine was busy for a third of the times or more, one of these ranks is a busy time and
    the other a quiet one.
    """
    if len(times) < _MIN_TIMES:
        return True
    in_order = sorted(times)
    middle, reach = len(times) / 2, math.sqrt(len(times)) / 2
    lower, upper = in_order[math.floor(middle - reach)], in_order[math.ceil(middle + reach) - 1]
    return upper - lower <= _SETTLED_WIDTH * statistics.median(in_order)


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the CPU's model; "cpu" if the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name("/proc/cpuinfo") or platform.processor() or "cpu"


def _cpu_name(cpuinfo: str) -> str:
    """Return the first "model name" in Linux's list of processors; "" without any (other systems or chips)."""
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return " ".join(value.split())
    except OSError:
        pass
    return ""


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
