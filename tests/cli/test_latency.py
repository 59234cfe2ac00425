from __future__ import annotations

import csv
from dataclasses import replace

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.engine.checkpoint import file_hash, save_checkpoint, statistics_to_state
from mutualnet3d.models import build_model
from mutualnet3d.mutual import calibrate
from mutualnet3d.results.latency import device_name
from mutualnet3d.results.query_table import QueryTable, Row
from mutualnet3d.runner import measuring
from mutualnet3d.runner.measuring import measure_latency
from mutualnet3d.shapes import ClipBatch, SubnetConfig
from tests.conftest import TINY, as_overrides

TOOL = "tools/measure_latency.py"
CPU = torch.device("cpu")
CONFIGS = (SubnetConfig(1.0, 32, 4), SubnetConfig(0.5, 32, 2))
SETTINGS = {"device": CPU, "threads": 1, "batch_size": 1, "num_runs": 1}


def write_tested(folder, **changes):
    """What a test run leaves of two sub-networks, with other content where `changes` say so: the network, the
    checkpoint's path, the table and its path."""
    cfg = m3.load_cfg("X3D_tiny_mutual.yaml", as_overrides({**TINY, "OUTPUT_DIR": "1"}))
    model = build_model(cfg)
    clips = {config.clip_shape: torch.randn(2, 3, config.frames, config.size, config.size) for config in CONFIGS}
    batch = ClipBatch(clips, torch.zeros(2), torch.zeros(2))
    calibrate(model, CONFIGS, [batch], lambda batch, config: [batch.clips[config.clip_shape]])
    checkpoint = str(folder / "calibrated.pyth")
    content = {
        "step": 7,
        "model_state": model.state_dict(),
        "statistics": statistics_to_state(model.statistics),
        "cfg": cfg.dump(),
        **changes,
    }
    save_checkpoint(checkpoint, {name: value for name, value in content.items() if value is not None})
    rows = [
        Row(config, gflops=1.0 / number, params=1000, milliseconds=10.0, top1=90.0 / number, top5=100.0)
        for number, config in enumerate(CONFIGS, start=1)
    ]
    context = {"views": "1 x 1 views", "device": "old", "batch_size": 1, "checkpoint": file_hash(checkpoint)}
    table = QueryTable(tuple(rows), context)
    table.save(str(folder / "query_table.json"))
    return model, checkpoint, table, str(folder / "query_table.json")


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        return write_tested(tmp_path_factory.mktemp("tested"))


def test_writes_the_table_with_times_of_here(tested, tmp_path, run_tool):
    _, checkpoint, table, path = tested
    output = tmp_path / "here.json"
    words = ["--table", path, "--checkpoint", checkpoint, "--output", output, "--device", "cpu"]
    before = torch.get_num_threads()
    status, out, err = run_tool(TOOL, *words, "--threads", before + 1, "--batch", 2, "--runs", 2)
    assert (status, err) == (0, "")
    assert torch.get_num_threads() == before

    new = QueryTable.load(str(output))
    assert new.rows == tuple(
        replace(row, milliseconds=each.milliseconds) for row, each in zip(table.rows, new.rows, strict=True)
    )
    assert all(0 < row.milliseconds != 10.0 for row in new.rows)
    assert new.context == {
        **table.context,
        "device": device_name(CPU),
        "threads": before + 1,
        "batch_size": 2,
        "latency_runs": 2,
        "milliseconds_of": "one forward pass of the whole batch",
    }
    with (tmp_path / "here.csv").open() as file:
        assert [row["milliseconds"] for row in csv.DictReader(file)] == [str(row.milliseconds) for row in new.rows]
    assert out.startswith(f"{new.to_text()}\n{new.legend()}\n")
    assert f"now {device_name(CPU)}, threads {before + 1}, batch 2, runs 2; before old, batch 1.\n" in out


def test_says_how_far_the_new_times_are_from_the_old(tested, tmp_path, run_tool, monkeypatch):
    _, checkpoint, _, path = tested
    times = dict(zip(CONFIGS, (30.0, 20.0), strict=True))
    monkeypatch.setattr(measuring, "measure_milliseconds", lambda *args: times)
    words = ["--table", path, "--checkpoint", checkpoint, "--output", tmp_path / "here.json"]
    _, out, _ = run_tool(TOOL, *words)
    assert out.endswith("new / old milliseconds: 2.50 in the median of 2 sub-networks, from 2.00 to 3.00.\n")


def test_the_network_is_the_one_that_was_tested(tested, monkeypatch):
    model, checkpoint, table, _ = tested
    seen = []

    def measure(network, configs, make_clips, device, num_runs):
        assert (set(configs), device, num_runs) == (set(CONFIGS), CPU, 4)
        for config in configs:
            (clip_BCTHW,) = clips = make_clips(config)
            assert clip_BCTHW.shape == (3, 3, config.frames, 32, 32)
            assert clip_BCTHW.is_contiguous(memory_format=torch.channels_last_3d)
            with model.active(config), network.active(config):
                torch.testing.assert_close(network.eval()(clips), model.eval()(clips))
            seen.append(config)
        kernels = [value for value in network.state_dict().values() if value.ndim == 5]
        assert all(kernel.is_contiguous(memory_format=torch.channels_last_3d) for kernel in kernels)
        return dict.fromkeys(configs, 1.0)

    monkeypatch.setattr(measuring, "measure_milliseconds", measure)
    measure_latency(table, checkpoint, **{**SETTINGS, "batch_size": 3, "num_runs": 4})
    assert set(seen) == set(CONFIGS)


def test_a_table_of_another_checkpoint_is_refused(tested):
    _, checkpoint, table, _ = tested
    found = file_hash(checkpoint)
    other = replace(table, context={"checkpoint": "0123456789abcdef"})
    with pytest.raises(ValueError, match=rf"is checkpoint {found}, the table is of checkpoint 0123456789abcdef; give"):
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


def test_names_bad_input(tested, tmp_path, run_tool):
    _, checkpoint, _, path = tested
    output = tmp_path / "here.json"

    def error_of(**changes):
        words = {"table": path, "checkpoint": checkpoint, "output": output, "device": "cpu", **changes}
        status, out, err = run_tool(TOOL, *(word for name, value in words.items() for word in (f"--{name}", value)))
        assert (status, out) == (2, "")
        return err

    assert error_of(table=tmp_path / "none.json") == f"error: no query table at {tmp_path / 'none.json'}\n"
    assert error_of(checkpoint=tmp_path / "none.pyth").startswith(f"error: no file at {tmp_path / 'none.pyth'}")
    assert error_of(runs=0) == "error: num_runs is 0; allowed: 1 or more\n"
    assert error_of(output="here.csv").startswith("error: --output here.csv: expected a name that ends in .json")
    assert not output.exists()
