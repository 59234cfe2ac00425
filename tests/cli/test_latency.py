from __future__ import annotations

import csv
from dataclasses import replace

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.data.build_loaders import build_preprocessing
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.models import ModelFile, build_model, write_model_file
from mutualnet3d.models.build import space_of
from mutualnet3d.mutual import calibrate
from mutualnet3d.results.latency import Latencies, device_name
from mutualnet3d.results.query_table import QueryTable, Row
from mutualnet3d.runner import measuring
from mutualnet3d.shapes import ClipBatch, SubnetConfig
from tests.conftest import TINY, as_overrides

TOOL = "tools/measure_latency.py"
CPU = torch.device("cpu")
CONFIGS = (SubnetConfig(1.0, 32, 4), SubnetConfig(0.5, 32, 2))


def write_tested(folder, class_names=("0", "1"), statistics=None):
    """Write the files of a test run of two sub-networks; return the network, the model file's path, the table and its
    path.

    Args:
        folder: place of the files.
        class_names: names of the classes.
        statistics: statistics in the model file; None: the network's own.
    """
    cfg = m3.load_cfg("X3D_tiny_mutual.yaml", as_overrides({**TINY, "OUTPUT_DIR": "1"}))
    model = build_model(cfg)
    clips = {config.clip_shape: torch.randn(2, 3, config.frames, config.size, config.size) for config in CONFIGS}
    batch = ClipBatch(clips, torch.zeros(2), torch.zeros(2))
    calibrate(model, CONFIGS, [batch], lambda batch, config: [batch.clips[config.clip_shape]])
    checkpoint = str(folder / "calibrated.pyth")
    model_file = ModelFile.of(
        model,
        class_names=tuple(class_names),
        preprocessing=build_preprocessing(cfg).to_json(),
        space=space_of(cfg),
        channels_last=cfg.MODEL.CHANNELS_LAST,
        step=7,
        config=cfg.dump(),
    )
    if statistics is not None:
        model_file = replace(model_file, network=replace(model_file.network, statistics=statistics))
    write_model_file(checkpoint, model_file)
    rows = [
        Row(config, gflops=1.0 / number, params=1000, milliseconds=10.0, top1=90.0 / number, top5=100.0)
        for number, config in enumerate(CONFIGS, start=1)
    ]
    facts = {"device": "old", "batch_size": 1}
    context = {"views": "1 x 1", "backends": {"pytorch": facts}, "checkpoint": file_hash(checkpoint)}
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
        replace(row, milliseconds=new_row.milliseconds) for row, new_row in zip(table.rows, new.rows, strict=True)
    )
    assert all(0 < row.milliseconds != 10.0 for row in new.rows)
    facts = {
        "device": device_name(CPU),
        "threads": before + 1,
        "batch_size": 2,
        "latency_runs": 2,
        "milliseconds_of": "one forward pass of the whole batch",
    }
    assert new.context == {**table.context, "backend": "pytorch", "backends": {"pytorch": facts}}
    with (tmp_path / "here.csv").open() as file:
        assert [row["milliseconds"] for row in csv.DictReader(file)] == [str(row.milliseconds) for row in new.rows]
    assert out.startswith(f"{new.to_text()}\n{new.legend()}\n")
    assert f"now {device_name(CPU)}, threads {before + 1}, batch 2, runs 2; before old, batch 1.\n" in out


def test_says_how_far_the_new_times_are_from_the_old(tested, tmp_path, run_tool, monkeypatch):
    _, checkpoint, _, path = tested
    times = dict(zip(CONFIGS, (30.0, 20.0), strict=True))
    monkeypatch.setattr(measuring, "measure_latencies", lambda *args, **settings: Latencies(times, 10))
    words = ["--table", path, "--checkpoint", checkpoint, "--output", tmp_path / "here.json"]
    _, out, _ = run_tool(TOOL, *words)
    assert out.endswith("new / old milliseconds: 2.50 in the median of 2 sub-networks, from 2.00 to 3.00.\n")


def test_times_of_a_busy_machine_are_marked_and_other_batches_do_not_compare(tested, tmp_path, run_tool, monkeypatch):
    _, checkpoint, _, path = tested
    latencies = Latencies(dict(zip(CONFIGS, (60.0, 10.0), strict=True)), 10, frozenset(CONFIGS[:1]))
    monkeypatch.setattr(measuring, "measure_latencies", lambda *args, **settings: latencies)
    output = tmp_path / "here.json"
    words = ["--table", path, "--checkpoint", checkpoint, "--output", output, "--batch", 4]
    _, out, _ = run_tool(TOOL, *words)
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [["*", "w1.0-s32-t4"], ["*+", "w0.5-s32-t2"]]
    assert "60.00?" in out
    assert out.endswith("new milliseconds are of passes of 4 clips, old ones of 1: they do not compare.\n")
    assert [row.settled for row in QueryTable.load(str(output)).rows] == [False, True]


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
