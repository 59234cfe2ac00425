from __future__ import annotations

import argparse

import pytest

from mutualnet3d.cli import options
from mutualnet3d.cli.main import COMMANDS, load_command


def destinations(name: str) -> set[str]:
    return {action.dest for action in load_command(name).parser()._actions}


def test_an_option_has_one_name_in_all_commands():
    """The options of the groups; nowhere is one of them there by another name."""
    have = {name: destinations(name) for name in COMMANDS}
    of_deployment = {"predict", "stream", "segments", "features"}
    assert {name for name in have if "subnet" in have[name]} == {*of_deployment, "export"}
    assert {name for name in have if "cfg" in have[name]} == {"train", "test", "complexity", "weights"}
    assert {name for name in have if "backend" in have[name]} == {*of_deployment, "web", "serve"}
    of_checkpoints = {*of_deployment, "web", "serve", "export", "latency"}
    assert {name for name in have if "checkpoint" in have[name]} == of_checkpoints
    of_workers = {"check-videos", "prepare-videos", "demo-data", "predict", "features", "serve"}
    assert {name for name in have if "workers" in have[name]} == of_workers


@pytest.mark.parametrize(("name", "former"), [("predict", "--config"), ("stream", "--config"), ("export", "--subnets")])
@pytest.mark.parametrize("values", [["w0.5-s32-t2"], ["w0.5-s32-t2", "w1.0-s32-t4"], []])
def test_a_former_name_gives_the_one_of_today(name, former, values, capsys):
    with pytest.raises(SystemExit) as left:
        load_command(name)([former, *values], f"mutualnet3d {name}")
    assert left.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"mutualnet3d {name}: error: {former} is --subnet now"
    assert f"{former} " not in load_command(name).parser().format_help()


def test_lists_and_workers():
    parser = argparse.ArgumentParser()
    options.add_lists(parser)
    options.add_workers(parser, timeout=300.0)
    args = parser.parse_args(["--timeout", "2.5"])
    assert (args.path_prefix, args.separator, args.label_file, args.timeout) == ("", " ", "", 2.5)
    assert args.workers >= 1
    assert "longest time for one video, seconds; default: 300" in " ".join(parser.format_help().split())
