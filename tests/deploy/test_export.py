from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace

import pytest
import torch

from mutualnet3d.deploy import export as export_module
from mutualnet3d.deploy.backends import BACKENDS
from mutualnet3d.deploy.bundle import CHECKPOINT
from mutualnet3d.deploy.clip_network import random_clips
from mutualnet3d.deploy.export import MAX_DIFFERENCE, ParityError, eager_logits, export
from mutualnet3d.files.hashes import file_hash
from mutualnet3d.results.cascade import Cascade, Stage
from mutualnet3d.results.query_table import Views
from tests.cli.test_latency import CONFIGS, write_tested
from tests.copies import Script
from tests.deploy.networks import FULL, HOW, SMALL, source_of

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra [deploy])")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra [deploy])")
pytest.importorskip("openvino", reason="openvino is not installed (extra [deploy])")

EXACT = ("onnx", "openvino", "pt2")
CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["x3d", "slowfast"])
def test_every_format_gives_the_eager_logits(family, tmp_path):
    source = source_of(family, tmp_path, reverse_channels=family == "slowfast")
    bundle = export(source, str(tmp_path / "bundle"), [SMALL], EXACT)
    assert bundle.configs == (SMALL,)
    assert set(bundle.networks[SMALL].differences) == set(EXACT)
    assert 0 < max(bundle.networks[SMALL].differences.values()) <= MAX_DIFFERENCE == 1e-4
    names = [port.name for port in onnx.load(bundle.onnx(SMALL)).graph.input]
    assert names == (["slow", "fast"] if family == "slowfast" else ["clip"])
    for batch in (1, 3):
        clips = random_clips(source.shapes(SMALL), batch, seed=7)
        expected = eager_logits(source, SMALL, clips)
        assert expected.std() > 1e-2 * expected.abs().max()  # not one number, whatever the clip
        for name in EXACT:
            got = BACKENDS[export_module.FORMATS[name]](bundle, CPU, 1).forward(SMALL)(clips)
            assert (got - expected).abs().max() <= MAX_DIFFERENCE * expected.abs().max()


def test_eager_logits_are_those_of_normalised_clips(tmp_path):
    source = source_of("x3d", tmp_path)
    (clip_BTHWC,) = random_clips(source.shapes(SMALL), 2)
    clip_BCTHW = clip_BTHWC.permute(0, 4, 1, 2, 3) / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1, 1) for values in (HOW.mean, HOW.std))
    model = source.network()
    with torch.no_grad(), model.active(SMALL):
        expected = model([(clip_BCTHW - mean) / std])
    torch.testing.assert_close(eager_logits(source, SMALL, [clip_BTHWC]), expected, rtol=1e-4, atol=1e-5)


def test_a_bundle_has_all_that_running_it_takes(exported):
    source, bundle = exported
    assert bundle.configs == source.configs == CONFIGS
    assert bundle.table.rows == source.table.rows
    assert (bundle.preprocessing, bundle.class_names) == (source.preprocessing, ("dark", "bright"))
    assert bundle.about["checkpoint"] == file_hash(source.path) == file_hash(os.path.join(bundle.path, CHECKPOINT))
    assert bundle.about["versions"]["torch"] == torch.__version__.partition("+")[0]
    for config in CONFIGS:
        assert bundle.formats(config) == {"pytorch", *EXACT}
        assert bundle.shapes(config) == source.shapes(config)
        assert bundle.gflops(config) == source.gflops(config)
        model = onnx.load(bundle.onnx(config))
        (entry,) = model.graph.input
        batch, *rest = entry.type.tensor_type.shape.dim
        assert (entry.name, entry.type.tensor_type.elem_type) == ("clip", onnx.TensorProto.UINT8)
        assert batch.dim_param
        assert [side.dim_value for side in rest] == [config.frames, config.size, config.size, 3]
        assert not [node for node in model.graph.node if node.op_type == "BatchNormalization"]


def test_a_bundle_carries_the_cascades_of_its_sub_networks(tmp_path):
    source = source_of("x3d", tmp_path)
    alone = Cascade((Stage(SMALL, Views(), 0.0, 1.0),), 88.0, 99.0, 88.0)
    pair = Cascade((Stage(SMALL, Views(), 0.5, 1.0), Stage(FULL, Views(), 0.0, 0.25)), 89.5, 99.0, 91.0)
    source.table = replace(source.table, cascades=(alone, pair))
    whole = export(source, str(tmp_path / "whole"), formats=["pytorch"])
    assert whole.table.cascades == (alone, pair)
    assert whole.configs == (FULL, SMALL)  # those of cascades are exported
    part = export(source, str(tmp_path / "part"), [SMALL], ["pytorch"])
    assert part.table.cascades == (alone,)


def test_a_difference_fails_the_export_and_leaves_nothing(tmp_path, monkeypatch):
    source = source_of("x3d", tmp_path)
    wrong = lambda *args: eager_logits(*args) * (1 + 2 * MAX_DIFFERENCE)  # noqa: E731
    monkeypatch.setattr(export_module, "eager_logits", wrong)
    with pytest.raises(ParityError, match=r"sub-network w0\.5-s48-t2 as pt2, 2 clips at once: a difference of 0\.0002"):
        export(source, str(tmp_path / "bundle"), [SMALL], ["pt2"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["calibrated.pyth"]


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "bundle").mkdir()
    with pytest.raises(FileExistsError, match="bundle is there already"):
        export(source_of("x3d", tmp_path), str(tmp_path / "bundle"), [SMALL], ["pt2"])


@pytest.mark.parametrize(
    ("configs", "formats", "message"),
    [
        ([SMALL], ["tflite"], r"formats are \['tflite'\]; allowed: one or more of onnx, openvino, pt2, pytorch"),
        (
            [FULL, SMALL.__class__(0.8, 64, 4)],
            ["pt2"],
            r"w0\.8-s64-t4 has no batch-norm statistics; it has those of w1",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(configs, formats, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(source_of("x3d", tmp_path), str(tmp_path / "bundle"), configs, formats)


def test_without_a_table_sub_networks_must_be_named(tmp_path):
    source = source_of("x3d", tmp_path)
    source.table = None
    with pytest.raises(ValueError, match="no query table beside it, so there is no Pareto front to export"):
        export(source, str(tmp_path / "bundle"), formats=["pt2"])
    assert export(source, str(tmp_path / "bundle"), [SMALL], ["pt2"]).table is None


def test_a_missing_library_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"^onnxruntime is not installed: pip install 'mutualnet3d\[deploy\]'$"
    ):
        export(source_of("x3d", tmp_path), str(tmp_path / "bundle"), [SMALL], ["onnx"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_export_that_is_interrupted_leaves_nothing(number, tmp_path):
    """By Ctrl-C, or as schedulers and containers end a process."""
    checkpoint = write_tested(tmp_path / "run")[1]
    wrapper = tmp_path / "slow.py"  # the tool, with time to be ended in, whatever this process makes of Ctrl-C
    wrapper.write_text(
        "import pathlib, runpy, signal, sys, time; from mutualnet3d.deploy import bundle\n"
        f"def slow(path): pathlib.Path({str(tmp_path / 'now')!r}).touch(); time.sleep(60)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "bundle.write_sums = slow; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    words = ["--checkpoint", checkpoint, "--output", tmp_path / "out" / "bundle", "--formats", "pytorch"]
    process = Script([wrapper, "tools/export.py", *words], tmp_path / "said")
    deadline = time.monotonic() + 60
    while not (tmp_path / "now").exists():
        assert process.poll() is None, process.errors.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    status, errors = process.finish(30.0)
    assert status == 128 + number
    assert errors.endswith("interrupted; nothing is written\n")
    assert "Traceback" not in errors
    assert list((tmp_path / "out").iterdir()) == []
