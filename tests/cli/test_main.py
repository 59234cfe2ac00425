from __future__ import annotations

import os
import subprocess
import sys

import pytest

import mutualnet3d as m3
from mutualnet3d.cli.command import Command
from mutualnet3d.cli.main import COMMANDS, load_command, main

TOOLS = {
    "run_net.py": "run_net",
    "predict.py": "predict",
    "demo_net.py": "stream",
    "demo_web.py": "web",
    "export.py": "export",
    "measure_latency.py": "latency",
    "plot_tradeoff.py": "plot",
    "complexity.py": "complexity",
    "make_annotations.py": "make-lists",
    "check_videos.py": "check-videos",
    "prepare_videos.py": "prepare-videos",
    "make_demo_data.py": "demo-data",
}


def test_help_has_a_line_for_each_command(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    place = lines.index("commands:") + 1
    listing = dict(line.split(maxsplit=1) for line in lines[place : place + len(COMMANDS)])
    assert listing == {name: load_command(name).summary for name in COMMANDS}
    assert max(map(len, lines)) <= 120
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out == printed


def test_version(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"mutualnet3d {m3.__version__}\n"


def test_a_command_gets_its_words_and_its_name(monkeypatch):
    seen = []
    monkeypatch.setattr(Command, "__call__", lambda self, words, prog: seen.append((self, words, prog)) or 5)
    assert main(["make-lists", "folders", "--help"]) == 5
    monkeypatch.setattr(sys, "argv", ["mutualnet3d", "predict", "a.mp4"])
    assert main() == 5
    assert seen == [
        (load_command("make-lists"), ["folders", "--help"], "mutualnet3d make-lists"),
        (load_command("predict"), ["a.mp4"], "mutualnet3d predict"),
    ]


def test_a_command_that_there_is_not(capsys):
    for word, message in (("trian", "'trian'; did you mean train? allowed: train, test, "), ("x", "'x'; allowed: ")):
        with pytest.raises(SystemExit) as left:
            main([word])
        assert left.value.code == 2
        assert f"mutualnet3d: error: unknown command {message}" in capsys.readouterr().err


def test_help_loads_no_torch():
    """It would take seconds, at each completion in a shell too."""
    script = (
        "import sys; from mutualnet3d.cli.main import COMMANDS, load_command, main; main([])\n"
        "for name in COMMANDS: load_command(name).parser().format_help()\n"
        "print(sorted({'torch', 'torchvision', 'streamlit', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("tool", TOOLS)
def test_a_script_in_tools_is_its_command(tool, run_tool):
    name = TOOLS[tool]
    status, printed, _ = run_tool(f"tools/{tool}", "--help")
    assert status == 0
    command = load_command("train" if name == "run_net" else name)
    assert printed.startswith(f"usage: {tool} ")
    without_usage = str.partition(command.parser(tool).format_help(), "\n\n")[2]
    assert printed.partition("\n\n")[2] == without_usage


def complete(line: str) -> list[str]:
    """Return argcomplete's answers to a shell."""
    variables = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n"}
    script = "import os, sys; os.dup2(1, 8); from mutualnet3d.cli.main import main; sys.argv[0] = 'mutualnet3d'; main()"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_shell_completes_commands_and_options():
    pytest.importorskip("argcomplete", reason="argcomplete is not installed (extra [completion])")
    assert complete("mutualnet3d pre") == ["predict", "prepare-videos"]
    assert complete("mutualnet3d predict --che") == ["--checkpoint"]
    assert complete("mutualnet3d export --formats o") == ["onnx", "openvino"]
    assert complete("mutualnet3d predict --conf") == []  # former names are not offered


def test_completion_without_argcomplete_changes_nothing(monkeypatch, capsys):
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert main([]) == 0
    assert "commands:" in capsys.readouterr().out
