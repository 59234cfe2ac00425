from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mutualnet3d import runner
from mutualnet3d.cli import train
from mutualnet3d.cli.main import main
from mutualnet3d.data.bad_videos import TooManyBadVideos
from mutualnet3d.distributed import PreflightError
from tests.copies import Script

ROOT = Path(__file__).resolve().parents[2]
CFG = "X3D_tiny_mutual.yaml"
# Of these two each command runs one; run_net.py goes by the config, whose defaults are True.
RUNS = {"train": ["train", "test"], "test": ["test"], "tools/run_net.py": ["train", "test"]}


@pytest.fixture
def calls(monkeypatch):
    """The runs that would be made: "train" or "test"."""
    made = []
    monkeypatch.setattr(runner, "train", lambda cfg, launch: made.append("train"))
    monkeypatch.setattr(runner, "test", lambda cfg, launch: made.append("test"))
    return made


def run(name, *words):
    return train.run_net([*words]) if name == "tools/run_net.py" else main([name, *words])


@pytest.mark.parametrize("name", RUNS)
def test_a_command_runs_what_its_name_says(name, calls):
    assert run(name, "--cfg", CFG) == 0
    assert calls == RUNS[name]


@pytest.mark.parametrize(("name", "expected"), [("train", ["train"]), ("test", ["test"]), ("tools/run_net.py", [])])
def test_a_command_goes_before_its_config(name, expected, calls, tmp_path, capsys):
    """A file that enables nothing, as PySlowFast's for testing has TRAIN.ENABLE False."""
    path = tmp_path / "nothing.yaml"
    path.write_text("TRAIN:\n  ENABLE: False\nTEST:\n  ENABLE: False\n")
    assert run(name, "--cfg", str(path)) == (0 if expected else 2)
    assert calls == expected
    if not expected:
        assert "error: TRAIN.ENABLE and TEST.ENABLE are both False: there is nothing to do" in capsys.readouterr().err


def test_words_go_before_the_command(calls):
    assert run("train", "--cfg", CFG, "TRAIN.ENABLE", "False", "TEST.ENABLE", "True") == 0
    assert calls == ["test"]
    assert run("train", "--cfg", CFG, "TRAIN.ENABLE", "False", "TEST.ENABLE", "False") == 2


@pytest.mark.parametrize(
    ("name", "paths"), [("train", ("x3d_m", "")), ("test", ("", "x3d_m")), ("tools/run_net.py", ("x3d_m", ""))]
)
def test_weights_are_the_key_of_the_command(name, paths, monkeypatch):
    cfgs = []
    monkeypatch.setattr(runner, "train", lambda cfg, launch: None)
    monkeypatch.setattr(runner, "test", lambda cfg, launch: cfgs.append(cfg))
    assert run(name, "--weights", "x3d_m", "--cfg", CFG) == 0
    (cfg,) = cfgs
    values = cfg.TRAIN.CHECKPOINT_FILE_PATH, cfg.TEST.CHECKPOINT_FILE_PATH
    assert values == paths


@pytest.mark.parametrize("place", [0, 2])
def test_pyslowfasts_opts_word_is_understood(place, run_tool, calls):
    words = ["TRAIN.ENABLE", "False", "TEST.ENABLE", "True"]
    words.insert(place, "--opts")
    assert run_tool("tools/run_net.py", "--cfg", CFG, *words)[0] == 0


def test_pyslowfasts_arguments_become_torchrun(replacements, run_tool):
    words = ["--cfg", CFG, "--init_method", "tcp://node1:9999", "--shard_id=1", "--num_shards", "2", "LOG_PERIOD", "1"]
    run_tool("tools/run_net.py", *words)
    (words_of_torchrun,) = replacements
    assert words_of_torchrun[1:] == [
        "-m", "torch.distributed.run", "--nnodes", "2", "--node_rank", "1", "--nproc_per_node", "1",
        "--master_addr", "node1", "--master_port", "9999", str(ROOT / "tools/run_net.py"),
        "--cfg", CFG, "LOG_PERIOD", "1",
    ]  # fmt: skip
    status, _, errors = run_tool("tools/run_net.py", "--cfg", CFG, "--num_shards", "2", "--shard_id", "2")
    assert status == 2
    assert "shard_id 2: expected 0..1" in errors


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_command_becomes_torchrun(name, replacements, capsys):
    with pytest.raises(SystemExit):
        main([name, "--cfg", CFG, "--init_method=tcp://node1:99", "--shard_id", "1", "--num_shards", "2", "A", "1"])
    (words,) = replacements
    assert words == [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node_rank", "1", "--nproc_per_node", "1",
        "--master_addr", "node1", "--master_port", "99", "-m", "mutualnet3d", name, "--cfg", CFG, "A", "1",
    ]  # fmt: skip
    assert capsys.readouterr().err == " ".join(words) + "\n"


def test_errors_are_one_line_and_exit_2(tmp_path):
    words = ["DATA.PATH_TO_DATA_DIR", tmp_path, "OUTPUT_DIR", tmp_path / "output"]
    status, errors = Script(["tools/run_net.py", "--cfg", CFG, *words], tmp_path).finish()
    assert status == 2
    assert re.fullmatch(r"error: no list of videos at .*train\.csv; expected .*\n", errors)


def test_an_override_without_a_value_is_told_in_the_users_words(capsys):
    """Not with those that the command itself puts before them."""
    assert main(["train", "--cfg", CFG, "OUTPUT_DIR"]) == 2
    assert capsys.readouterr().err == "error: overrides are pairs KEY VALUE, got 1 words: OUTPUT_DIR\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PreflightError("node2 did not come", is_lost=True), 76),
        (PreflightError("node2 has another config"), 2),
        (TooManyBadVideos("9 of 10 videos are bad"), 2),
        (FloatingPointError("the loss is nan"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_a_run_ends_with(error, status, monkeypatch, capsys):
    def fail(cfg, launch):
        raise error

    monkeypatch.setattr(runner, "train", fail)
    assert main(["train", "--cfg", CFG]) == status
    assert capsys.readouterr().err == ("interrupted\n" if status == 130 else f"error: {error}\n")


def test_a_lost_process_is_told_from_our_own_mistakes(monkeypatch, capsys):
    def fail(cfg, launch):
        raise RuntimeError(message)

    monkeypatch.setattr(runner, "train", fail)
    message = "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4000"
    assert main(["train", "--cfg", CFG]) == train.EXIT_LOST_PEER
    assert capsys.readouterr().err == f"error: rank 0 lost another process of the job: {message}\n"
    message = "a mistake"
    with pytest.raises(RuntimeError, match="a mistake"):
        main(["train", "--cfg", CFG])


def test_idle_gpus_are_worth_a_warning(monkeypatch, caplog, calls):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    main(["train", "--cfg", CFG])
    (record,) = caplog.records
    assert record.getMessage() == (
        "4 GPUs are here and this process uses one; torchrun --nproc_per_node 4 -m mutualnet3d train ... uses all"
    )
