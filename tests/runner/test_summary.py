from __future__ import annotations

from mutualnet3d.log import setup_logging
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.results.row import Row
from mutualnet3d.runner.summary import log_summary
from mutualnet3d.shapes import SubnetConfig
from tests.runner.runs import make_cfg


def table_of(*costs):
    configs = [SubnetConfig(0.5, 32, frames) for frames in range(1, len(costs) + 1)]
    rows = [
        Row(config, gflops=cost, params=1, milliseconds=1.0, top1=50.0 + number, top5=90.0)
        for number, (config, cost) in enumerate(zip(configs, costs, strict=True))
    ]
    return QueryTable(tuple(rows), {})


def run_folder(tmp_path, *names):
    """Make files, and send the log to the folder."""
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    setup_logging(str(tmp_path))


def lines_of(capsys):
    return capsys.readouterr().out.partition("] ")[2].splitlines()


def test_after_a_training_the_test_comes(tiny_overrides, tmp_path, capsys):
    cfg = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path)))
    run_folder(tmp_path, "log.jsonl", "checkpoints/checkpoint_step_00000004.pyth", "tradeoff.png")
    log_summary(cfg)
    first, *lines, last = lines_of(capsys)
    assert first == "written:"
    width = len(f"{tmp_path}/checkpoints/checkpoint_step_00000004.pyth")
    assert lines == [
        f"  {tmp_path / name!s:<{width}}  {content}"
        for name, content in (
            ("log.txt", "the log"),
            ("log.jsonl", "the log, as records"),
            ("checkpoints/checkpoint_step_00000004.pyth", "the newest checkpoint"),
        )
    ]
    assert last == f"next: mutualnet3d test --cfg {tmp_path}/config.yaml"


def test_after_a_test_a_video_comes_within_a_middle_budget(tiny_overrides, tmp_path, capsys):
    folder = tmp_path / "a test"
    cfg = make_cfg(tiny_overrides(OUTPUT_DIR=str(tmp_path), TRAIN__ENABLE=False))
    run_folder(tmp_path, "a test/query_table.json", "a test/calibrated.pyth", "a test/notes.txt")
    table = table_of(0.001, 0.0123456, 0.5)
    log_summary(cfg, str(folder), table)
    _, *lines, last = lines_of(capsys)
    assert [line.split("  ")[1] for line in lines] == [
        str(tmp_path / "log.txt"),
        str(folder / "calibrated.pyth"),
        str(folder / "query_table.json"),
    ]
    gflops = last.rpartition(" ")[2]
    assert last == f"next: mutualnet3d predict VIDEO --checkpoint '{folder}/calibrated.pyth' --gflops {gflops}"
    assert table.best(gflops=float(gflops)).gflops == 0.0123456
