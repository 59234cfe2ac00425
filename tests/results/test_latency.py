from __future__ import annotations

import itertools
import logging
import platform
import re

import pytest
import torch

from mutualnet3d.results import latency
from mutualnet3d.results.latency import device_name, has_settled, measure_latencies
from mutualnet3d.shapes import SubnetConfig

CPU = torch.device("cpu")
CONFIGS = [SubnetConfig(1.0, size, 4) for size in (32, 48, 64, 80)]


class Clocked:
    """Forward passes that take as long as the test wants, on a clock of their own."""

    def __init__(self, seconds):
        self.seconds, self.now = seconds, 0.0
        self.passes: list[SubnetConfig] = []

    def __call__(self, config, clips):
        assert clips == [config.size]
        assert not torch.is_grad_enabled()
        self.now += self.seconds(config, self.passes.count(config))
        self.passes.append(config)


@pytest.fixture
def measure(monkeypatch):
    def run(seconds, configs=CONFIGS, num_rounds=5, **settings):
        forward = Clocked(seconds)
        monkeypatch.setattr(latency.time, "perf_counter", lambda: forward.now)
        settings = {"num_rounds": num_rounds, **settings}
        return forward, measure_latencies(forward, configs, lambda config: [config.size], CPU, **settings)

    return run


def test_the_median_of_passes_that_are_warm(measure):
    """The first pass of each turn is slow, and so is a turn of the others."""

    def seconds(config, number):
        if number % 2 == 0:
            return 100.0  # not warm
        return 7.0 if number == 3 else 1e-3 * config.size

    forward, latencies = measure(seconds)
    assert latencies.milliseconds == pytest.approx({config: config.size for config in CONFIGS})
    assert latencies.num_rounds == 5
    assert len(forward.passes) == 2 * 5 * len(CONFIGS)


def test_the_minimum_of_single_passes(measure):
    forward, latencies = measure(lambda config, number: 3.0 - number, num_rounds=3, passes=1, summary=min)
    assert latencies.milliseconds == pytest.approx(dict.fromkeys(CONFIGS, 1000.0))
    assert len(forward.passes) == 3 * len(CONFIGS)


@pytest.mark.parametrize(("max_seconds", "rounds"), [(3.0, 3), (20.0, 3), (30.0, 4), (1e3, 6)])
def test_rounds_end_by_time_within_their_bounds(measure, max_seconds, rounds):
    """A round takes eight seconds."""
    limits = {"num_rounds": 6, "min_rounds": 3, "max_seconds": max_seconds}
    _, latencies = measure(lambda config, number: 1.0, **limits)
    assert latencies.num_rounds == rounds


def test_the_configs_take_turns_in_changing_order(measure):
    forward, _ = measure(lambda config, number: 1.0)
    turns = forward.passes[::2]
    assert turns == forward.passes[1::2]
    rounds = [tuple(turns[start : start + len(CONFIGS)]) for start in range(0, len(turns), len(CONFIGS))]
    assert all(sorted(order) == CONFIGS for order in rounds)
    assert len(set(rounds)) > 1


# ---- busy machines ---------------------------------------------------------------------------------------------------


def quiet(config):
    return 1e-3 * config.size


@pytest.mark.parametrize(("first", "end"), [(6, 16), (0, 12), (8, 20)])
def test_a_burst_is_waited_for(measure, first, end):
    """Passes `first` to `end` of each sub-network take six times as long; the true times come out, of all."""
    forward, latencies = measure(
        lambda config, number: quiet(config) * (6 if first <= number < end else 1), num_rounds=10
    )
    assert latencies.milliseconds == pytest.approx({config: config.size for config in CONFIGS})
    assert latencies.unsettled == frozenset()
    assert latencies.num_rounds == 10
    assert 20 * len(CONFIGS) < len(forward.passes) <= 60 * len(CONFIGS)


def test_a_quiet_machine_has_no_further_rounds(measure):
    """Noise of some percent, and a third of the rounds disturbed a little."""
    forward, latencies = measure(lambda config, number: quiet(config) * (1 + 0.01 * (number % 7)), num_rounds=10)
    assert len(forward.passes) == 2 * 10 * len(CONFIGS)
    assert not latencies.unsettled


def test_only_what_has_not_settled_is_measured_again(measure):
    def seconds(config, number):
        is_disturbed = config == CONFIGS[1] and 4 <= number < 14
        return quiet(config) * (6 if is_disturbed else 1)

    forward, latencies = measure(seconds, num_rounds=10)
    assert latencies.milliseconds == pytest.approx({config: config.size for config in CONFIGS})
    counts = {config: forward.passes.count(config) for config in CONFIGS}
    assert counts.pop(CONFIGS[1]) > 20
    assert set(counts.values()) == {20}


@pytest.mark.parametrize(
    "factor",
    [lambda number: 1 + 5 * (number // 2 % 2), lambda number: 1 + 0.1 * number],
    ids=["every other round is busy", "slower and slower"],
)
def test_times_that_never_settle_are_told_and_end(measure, caplog, factor):
    with caplog.at_level(logging.WARNING, "mutualnet3d"):
        forward, latencies = measure(lambda config, number: quiet(config) * factor(number), num_rounds=10)
    assert latencies.unsettled == set(CONFIGS)
    assert len(forward.passes) <= 2 * 50 * len(CONFIGS)
    (message,) = caplog.messages
    assert re.match(
        r"the machine is busy: after \d+ rounds the times of 4 of 4 did not settle: w1\.0-s32-t4, ", message
    )
    first = sum(quiet(config) * factor(number) for config in CONFIGS for number in range(20))
    last_round = sum(2 * quiet(config) * factor(forward.passes.count(config)) for config in CONFIGS)
    assert forward.now <= 3 * first + last_round


def test_keys_of_several_parts_are_words(monkeypatch, caplog):
    keys = [("openvino", CONFIGS[0]), ("openvino-int8", CONFIGS[0])]
    seconds = itertools.accumulate(itertools.count(1))  # each time is longer than the one before
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(seconds))
    with caplog.at_level(logging.WARNING, "mutualnet3d"):
        measure_latencies(lambda key, clips: None, keys, lambda key: [], CPU, num_rounds=4)
    assert caplog.messages[0].endswith("2 of 2 did not settle: openvino w1.0-s32-t4, openvino-int8 w1.0-s32-t4")


def test_few_rounds_say_nothing_and_the_least_time_needs_no_more(measure):
    forward, latencies = measure(lambda config, number: 1.0 + number, num_rounds=2)
    assert (latencies.unsettled, len(forward.passes)) == (frozenset(), 2 * 2 * len(CONFIGS))
    forward, latencies = measure(lambda config, number: 1.0 + number, num_rounds=10, summary=min)
    assert (latencies.unsettled, len(forward.passes)) == (frozenset(), 2 * 10 * len(CONFIGS))


@pytest.mark.parametrize(
    ("times", "settled"),
    [
        ([1.0, 9.0], True),  # nothing is known
        ([1.0, 1.05, 1.09], True),
        ([1.0, 1.05, 1.2], False),
        ([1.0] * 7 + [6.0] * 3, True),
        ([1.0] * 6 + [6.0] * 4, False),
        ([1.0] * 5 + [6.0] * 5, False),
        ([1.0] * 3 + [6.0] * 7, True),  # busy, and the same for all
        ([1.0] * 20 + [6.0] * 8, True),
    ],
)
def test_when_a_median_has_settled(times, settled):
    assert has_settled(times) is settled
    assert has_settled(times[::-1]) is settled


def test_keys_may_be_of_any_kind():
    latencies = measure_latencies(lambda key, clips: None, ["a", ("b", 1)], lambda key: [], CPU, num_rounds=1)
    assert set(latencies.milliseconds) == {"a", ("b", 1)}


def test_nothing_to_measure_is_an_error(measure):
    with pytest.raises(ValueError, match="num_rounds is 0; allowed: 1 or more"):
        measure(lambda config, number: 1.0, num_rounds=0)
    with pytest.raises(ValueError, match="no sub-network to measure"):
        measure(lambda config, number: 1.0, configs=[])


def test_a_cpu_is_named_by_linux_or_by_python(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel\t\t: 1\nmodel name\t: Some CPU:  3 GHz\n\nmodel name\t: another\n")
    assert latency._cpu_name(str(cpuinfo)) == "Some CPU: 3 GHz"
    cpuinfo.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert latency._cpu_name(str(cpuinfo)) == ""
    assert latency._cpu_name(str(tmp_path / "none")) == ""

    assert device_name(CPU)
    monkeypatch.setattr(latency, "_cpu_name", lambda cpuinfo: "")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert device_name(CPU) == "arm"
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert device_name(CPU) == "cpu"


@pytest.mark.needs_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_is_named():
    assert device_name(torch.device("cuda")) == torch.cuda.get_device_name()
