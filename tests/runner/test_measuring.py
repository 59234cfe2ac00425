from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mutualnet3d.engine.checkpoint import file_hash
from mutualnet3d.results.latency import Latencies
from mutualnet3d.results.query_table import Views
from mutualnet3d.runner import measuring
from mutualnet3d.runner.measuring import measure_latency
from tests.cli.test_latency import CONFIGS, write_tested

CPU = torch.device("cpu")
SETTINGS = {"device": CPU, "threads": 1, "batch_size": 1, "num_runs": 1}


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return write_tested(tmp_path_factory.mktemp("tested"))


def test_the_network_is_the_one_that_was_tested(tested, monkeypatch):
    model, checkpoint, table, _ = tested
    seen = []

    def measure(forward, configs, make_clips, device, *, num_rounds):
        assert (set(configs), device, num_rounds) == (set(CONFIGS), CPU, 4)
        for config in configs:
            (clip_BCTHW,) = clips = make_clips(config)
            assert clip_BCTHW.shape == (3, 3, config.frames, 32, 32)
            assert clip_BCTHW.is_contiguous(memory_format=torch.channels_last_3d)
            with model.active(config):
                torch.testing.assert_close(forward(config, clips), model.eval()(clips))
            seen.append(config)
        kernels = [value for value in networks[0].state_dict().values() if value.ndim == 5]
        assert all(kernel.is_contiguous(memory_format=torch.channels_last_3d) for kernel in kernels)
        return Latencies(dict.fromkeys(configs, 1.0), num_rounds)

    networks = []
    build = measuring.build_model
    monkeypatch.setattr(measuring, "build_model", lambda cfg: networks.append(build(cfg)) or networks[-1])
    monkeypatch.setattr(measuring, "measure_latencies", measure)
    measure_latency(table, checkpoint, **{**SETTINGS, "batch_size": 3, "num_runs": 4})
    assert set(seen) == set(CONFIGS)


def test_a_table_of_another_checkpoint_is_refused(tested):
    _, checkpoint, table, _ = tested
    own_hash = file_hash(checkpoint)
    other = replace(table, context={"checkpoint": "0123456789abcdef"})
    with pytest.raises(
        ValueError, match=rf"is checkpoint {own_hash}, the table is of checkpoint 0123456789abcdef; give"
    ):
        measure_latency(other, checkpoint, **SETTINGS)
    with pytest.raises(ValueError, match="the table does not say which checkpoint it is of"):
        measure_latency(replace(table, context={}), checkpoint, **SETTINGS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cfg": None}, r"no config in it; give the calibrated\.pyth that a test run wrote beside its query table"),
        (
            {"statistics": None},
            r"no statistics of w0\.5-s32-t2; give the calibrated\.pyth that a test run wrote beside its query table",
        ),
        ({"cfg": "MODEL:\n  WATTS: 3\n"}, r"its config: unknown key MODEL\.WATTS"),
        ({"cfg": "[\n"}, "its config: not YAML"),
    ],
)
def test_a_checkpoint_that_is_none_of_a_test_run(tmp_path, changes, message):
    _, checkpoint, table, _ = write_tested(tmp_path, **changes)
    with pytest.raises(ValueError, match=rf"calibrated\.pyth: {message}"):
        measure_latency(table, checkpoint, **SETTINGS)


def test_all_views_of_the_tested_back_end_get_the_times(tested, monkeypatch):
    _, checkpoint, table, _ = tested
    first = table.rows[0]
    table = table.with_rows([replace(first, views=Views(10, 3))])
    table = table.with_rows([replace(first, backend="openvino", milliseconds=1.0)], device="another")
    times = dict.fromkeys(CONFIGS, 4.0)
    monkeypatch.setattr(measuring, "measure_latencies", lambda *args, **settings: Latencies(times, 1))
    new = measure_latency(table, checkpoint, **SETTINGS)
    assert [(row.backend, row.views.count, row.milliseconds) for row in new.rows[:3]] == [
        ("pytorch", 1, 4.0),
        ("openvino", 1, 1.0),
        ("pytorch", 30, 4.0),
    ]
    assert new.select(backend="openvino").facts == {"device": "another"}


@pytest.mark.parametrize("name", ["threads", "batch_size", "num_runs"])
def test_numbers_are_at_least_1(tested, name):
    _, checkpoint, table, _ = tested
    with pytest.raises(ValueError, match=f"{name} is 0; allowed: 1 or more"):
        measure_latency(table, checkpoint, **{**SETTINGS, name: 0})


def test_a_gpu_that_is_not_there(tested, monkeypatch):
    _, checkpoint, table, _ = tested
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device is cuda, but torch sees no GPU here; allowed: cpu"):
        measure_latency(table, checkpoint, **{**SETTINGS, "device": torch.device("cuda")})
