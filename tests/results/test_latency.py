from __future__ import annotations

import platform
from contextlib import contextmanager

import pytest
import torch

from mutualnet3d.results import latency
from mutualnet3d.results.latency import device_name, measure_milliseconds
from mutualnet3d.shapes import SubnetConfig

CPU = torch.device("cpu")
CONFIGS = [SubnetConfig(1.0, size, 4) for size in (32, 48, 64, 80)]


class Clocked:
    """A network whose forward pass takes what the test says, on a clock of its own."""

    def __init__(self, seconds):
        self.seconds, self.now, self.training = seconds, 0.0, True
        self.passes: list[SubnetConfig] = []
        self.config: SubnetConfig | None = None

    def train(self, mode=True):
        self.training = mode

    @contextmanager
    def active(self, config):
        self.config = config
        yield self
        self.config = None

    def __call__(self, clips):
        assert not self.training
        assert clips == [self.config.size]
        self.now += self.seconds(self.config, self.passes.count(self.config))
        self.passes.append(self.config)


@pytest.fixture
def measure(monkeypatch):
    def run(seconds, configs=CONFIGS, num_runs=5):
        network = Clocked(seconds)
        monkeypatch.setattr(latency.time, "perf_counter", lambda: network.now)
        return network, measure_milliseconds(network, configs, lambda config: [config.size], CPU, num_runs)

    return run


def test_the_median_of_passes_that_are_warm(measure):
    """The first pass of each turn is slow, and so is a turn of the others."""

    def seconds(config, number):
        if number % 2 == 0:
            return 100.0  # not warm
        return 7.0 if number == 3 else 1e-3 * config.size

    network, milliseconds = measure(seconds)
    assert milliseconds == pytest.approx({config: config.size for config in CONFIGS})
    assert network.training
    assert len(network.passes) == 2 * 5 * len(CONFIGS)


def test_the_configs_take_turns_in_changing_order(measure):
    network, _ = measure(lambda config, number: 1.0)
    turns = network.passes[::2]
    assert turns == network.passes[1::2]
    rounds = [tuple(turns[start : start + len(CONFIGS)]) for start in range(0, len(turns), len(CONFIGS))]
    assert all(sorted(each) == CONFIGS for each in rounds)
    assert len(set(rounds)) > 1


def test_the_mode_comes_back_after_an_error():
    def fails(config, number):
        raise RuntimeError("out of memory")

    network = Clocked(fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        measure_milliseconds(network, CONFIGS, lambda config: [config.size], CPU, 1)
    assert network.training


def test_nothing_to_measure_is_an_error(measure):
    with pytest.raises(ValueError, match="num_runs is 0; allowed: 1 or more"):
        measure(lambda config, number: 1.0, num_runs=0)
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
