"""The commands and Python blocks of README, INSTALL and docs/ are run, on data of seconds."""

from __future__ import annotations

import doctest
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mutualnet3d as m3
from mutualnet3d.cli.main import COMMANDS, load_command, main
from mutualnet3d.deploy.backends import CHOICES
from mutualnet3d.models import build_model
from mutualnet3d.models.published import published_weights
from mutualnet3d.runner import configs_to_test
from tests.cli.test_latency import write_tested
from tests.conftest import numbered_frames, write_video

ROOT = Path(__file__).resolve().parents[1]
OF_OTHER_TESTS = {
    "TUTORIAL.md": "tests/test_tutorial.py, in one go",
    "NOTEBOOK_BUDGETS.md": "tests/test_notebooks.py",
    "NOTEBOOK_OWN_VIDEOS.md": "tests/test_notebooks.py",
    "OWN_NETWORK.md": "tests/models/test_own_network.py",
}
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "INSTALL.md",
    *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in OF_OTHER_TESTS),
]

# After a printed line of X3D-M, with tiny_overrides.
SMALLER_X3D_M = ["X3D.WIDTH_FACTOR", "1.0", "X3D.BOTTLENECK_FACTOR", "1.0", "MUTUAL.WIDTH_RANGE", "[0.5,1.0]"]
SMALLER_X3D_M += ["TEST.NUM_ENSEMBLE_VIEWS", "2"]


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (document, text) of every fenced block of a language."""
    return [
        (document.name, text)
        for document in DOCUMENTS
        for text in re.findall(rf"```{language}\n(.*?)```", document.read_text(), flags=re.DOTALL)
    ]


def commands() -> list[tuple[str, str]]:
    lines = [(name, line) for name, text in blocks("bash") for line in text.replace("\\\n", " ").splitlines()]
    return [(name, line.strip()) for name, line in lines if line.strip() and not line.startswith("#")]


def of_kind(*starts: str) -> list[str]:
    return list(dict.fromkeys(line for _, line in commands() if f"{line} ".startswith(starts)))


def of_command(*names: str) -> list[str]:
    assert set(names) <= set(COMMANDS)
    return of_kind(*(f"mutualnet3d {name} " for name in names))


TRAININGS = [*of_command("train", "test"), *of_kind("python tools/run_net.py ")]


def words_of(line: str) -> list[str]:
    """Return a line's words for `run_tool`."""
    words = shlex.split(line)
    return words[1:] if words[0] == "python" else words


def cfg_of(words: list[str]) -> tuple[str, list[str]]:
    """Return the config and the overrides of a training's words."""
    place = words.index("--cfg")
    return words[place + 1], words[place + 2 :]


def test_every_printed_command_is_of_a_kind_that_is_tested_here():
    kinds = (
        "make ",
        *(f"mutualnet3d {name} " for name in COMMANDS),
        "python tools/run_net.py ",
        "python benchmarks/",
        "python examples/",
        "python -m pip",
        "torchrun --nproc_per_node",
        "sbatch ",
    )
    assert commands()
    assert [line for _, line in commands() if not f"{line} ".startswith((*kinds, "git clone", "cd "))] == []


@pytest.mark.parametrize("line", of_kind("make "))
def test_make_targets_exist(line):
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in TRAININGS if "--num_shards" not in line])
def test_lines_of_trainings_and_tests_run(line, tiny_overrides, tmp_path, run_tool):
    """The line itself, with what makes it small after it."""
    words = words_of(line)
    cfg, printed_overrides = cfg_of(words)
    as_printed = m3.load_cfg(cfg, printed_overrides)
    assert configs_to_test(as_printed)
    small = tiny_overrides(TRAIN__CHECKPOINT_SECONDS=0)
    if as_printed.MODEL.ARCH == "slowfast":
        small += ["RESNET.WIDTH_PER_GROUP", 8, "SLOWFAST.BETA_INV", 4, "SLOWFAST.ALPHA", 2, "DATA.NUM_FRAMES", 8]
        small += ["DATA.SAMPLING_RATE", 2]
    if "X3D_M" in line:
        small += SMALLER_X3D_M
    if "TRAIN.CHECKPOINT_FILE_PATH" in words or "--weights" in words:
        weights = tmp_path / "weights.pyth"
        classes = ["MODEL.NUM_CLASSES", 400] if words[1] == "train" else []
        torch.save({"model_state": build_model(m3.load_cfg(cfg, [*small, *classes])).state_dict()}, weights)
        if "--weights" in words:
            words[words.index("--weights") + 1] = str(weights)
        else:
            small += ["TRAIN.CHECKPOINT_FILE_PATH", str(weights)]
    if "TEST.CHECKPOINT_FILE_PATH" in words:
        run_tool("tools/run_net.py", "--cfg", "X3D_tiny_mutual.yaml", *small, "TEST.ENABLE", "False")
        made = next((tmp_path / "output" / "checkpoints").glob("*.pyth"))
        small += ["TEST.CHECKPOINT_FILE_PATH", str(made)]
    if "TEST.SUBNETS" in words:
        small += ["TEST.SUBNETS", "['full','w0.5-s32-t2']"]
    status, printed, errors = run_tool(*words, *small)
    assert status == 0, errors
    assert "on the Pareto front" in printed
    assert (tmp_path / "output" / "query_table.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("line", of_kind("torchrun"))
def test_torchrun_lines_run(line, tiny_overrides, tmp_path):
    """The line itself, by two processes, with what makes it small after it."""
    words = shlex.split(line)[1:]
    assert words[:5] == ["--nproc_per_node", "8", "-m", "mutualnet3d", "train"]
    small = tiny_overrides(TRAIN__CHECKPOINT_SECONDS=0, SOLVER__MAX_EPOCH=1) + SMALLER_X3D_M
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*torchrun, *words[2:], *map(str, small)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "2 processes started by torchrun" in done.stdout
    assert (tmp_path / "output" / "query_table.json").exists()


@pytest.mark.parametrize("line", of_kind("sbatch"))
def test_sbatch_lines_name_a_script_and_what_it_takes(line):
    """tests/test_slurm.py submits the scripts to a real SLURM."""
    words = shlex.split(line)
    (place,) = (number for number, word in enumerate(words) if word.startswith("tools/slurm/"))
    subprocess.run(["bash", "-n", words[place]], cwd=ROOT, check=True)
    if words[place].endswith("prepare.sbatch"):
        assert load_command(words[place + 1]).parse([*words[place + 2 :], "--shared"]).shared
        return
    assert words[place + 1] == "--cfg"
    m3.load_cfg(words[place + 2], words[place + 3 :])


@pytest.mark.parametrize("line", [line for line in TRAININGS if "--num_shards" in line])
def test_pyslowfasts_lines_become_torchrun(line, replacements, run_tool):
    run_tool(*words_of(line))
    (words,) = replacements
    assert words[1:3] == ["-m", "torch.distributed.run"]
    m3.load_cfg(*cfg_of(words))


@pytest.mark.parametrize("line", of_command("demo-data"))
def test_demo_data_lines_run(line, tmp_path, run_tool):
    assert run_tool(*words_of(line), "--output", tmp_path / "data", "--train", 2, "--val", 1)[0] == 0
    assert len((tmp_path / "data" / "train.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "line",
    [line if "SLOW_8x8" in line else pytest.param(line, marks=pytest.mark.slow) for line in of_command("complexity")],
)
def test_complexity_lines_run(line, run_tool):
    status, printed, errors = run_tool(*words_of(line))
    assert (status, errors) == (0, "")
    assert "w0.63-s144-t" in printed


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    """Return a folder with the files that the demo's test runs write."""
    demos = tmp_path_factory.mktemp("demos")
    for name in ("demo", "demo_static"):
        folder = demos / "output" / name
        folder.mkdir(parents=True)
        _, _, table, path = write_tested(folder, class_names=["move_left", "move_right"])
        # As cheap as the demo's.
        rows = [replace(row, gflops=row.gflops / 100, milliseconds=row.milliseconds / 2) for row in table.rows]
        m3.QueryTable(tuple(rows), table.context).save(path)
    videos = demos / "data" / "moving_shapes" / "val"
    videos.mkdir(parents=True)
    write_video(videos / "00000.mp4", numbered_frames(40))
    (videos.parent / "val.csv").write_text("val/00000.mp4 0\n")
    return demos


@pytest.fixture
def demos_folder(demos, tmp_path, monkeypatch):
    """Return a copy of the demo's files, the current folder."""
    shutil.copytree(demos, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    # The tutorial's test tries all back ends; here they would be compiled again for each line.
    monkeypatch.setitem(CHOICES, "auto", ("pytorch",))
    return tmp_path


def run_here(line, *more):
    """Run a line of `mutualnet3d` in the current folder; its words."""
    program, *words = [*shlex.split(line), *more]
    assert program == "mutualnet3d"
    assert main(words) == 0
    return words


@pytest.mark.parametrize("line", of_command("latency", "plot"))
def test_lines_about_tables_run(line, demos_folder, capsys):
    words = run_here(line)
    assert capsys.readouterr().err == ""
    output = demos_folder / words[words.index("--output") + 1]
    if words[0] == "plot":
        assert all(output.with_suffix(suffix).exists() for suffix in (".png", ".svg", ".html"))
    else:
        assert output.exists()


@pytest.mark.parametrize(
    "line",
    # --int8 needs the demo's data: tests/runner/test_quantizing.py; x3d_xs.pyth: test_lines_about_weights_run
    [
        pytest.param(line, marks=pytest.mark.slow) if re.search(r" (serve|export) ", line) else line
        for line in of_command("predict", "export", "stream", "segments", "features", "web", "serve")
        if not re.search(r"--int8|x3d_xs", line)
    ],
)
def test_lines_about_deployment_run(line, demos_folder, monkeypatch, capsys):
    name = shlex.split(line)[1]
    more = ["--formats", "pt2"] if name == "export" else []  # the tutorial's test writes all
    if name == "web":
        pytest.importorskip("streamlit", reason="streamlit is not installed (extra [web])")
        monkeypatch.setattr("mutualnet3d.cli.web.server.run_page", lambda *words: print("started"))
        # The command replaces it; put back after the test.
        monkeypatch.setattr("streamlit.net_util.get_external_ip", None)
    if name == "serve":
        pytest.importorskip("fastapi", reason="fastapi is not installed (extra [serve])")
        monkeypatch.setattr("mutualnet3d.serving.server.run_server", lambda *words: None)
        more = ["--port", "0"]
    words = run_here(line, *more)
    printed = capsys.readouterr().out
    has_output = name in ("export", "stream", "segments", "features") or "--output" in words
    expected = {
        "predict": "" if has_output else "move_",
        "export": "wrote 2 sub-networks",
        "web": "started",
        "serve": "serving",
        "stream": "",
        "segments": "move_",
        "features": "",
    }
    assert expected[name] in printed
    if has_output:
        outputs = [words[place + 1] for place, word in enumerate(words) if word in ("--output", "--scores", "--plot")]
        assert outputs
        assert all((demos_folder / output).exists() for output in outputs)


@functools.cache
def state_of_x3d_xs():
    return m3.create_model("x3d_xs").state_dict()


@pytest.fixture
def published_file(demos_folder, monkeypatch):
    """Put a file at the place of X3D-XS's published weights, as one does without a network."""
    monkeypatch.setenv("TORCH_HOME", str(demos_folder / "torch"))
    path = Path(published_weights("x3d_xs").path)
    path.parent.mkdir(parents=True)
    torch.save({"model_state": state_of_x3d_xs()}, path)


@pytest.mark.slow
def test_lines_about_weights_run(published_file, capsys):
    lines = [line for line in of_command("weights", "predict") if "predict" not in line or "x3d_xs" in line]
    assert [shlex.split(line)[1] for line in lines] == ["weights", "weights", "predict"]
    for line in lines:
        run_here(line)
    printed = capsys.readouterr().out
    assert "wrote x3d_xs.pyth: 400 classes, from abseiling to zumba" in printed
    names = published_weights("x3d_xs").class_names
    assert sum(name in printed.partition("zumba")[2] for name in names) >= 5


def write_official_splits(folder, videos):
    """Write what the lines about UCF-101, HMDB-51, MMAction2 and Charades read."""
    files = {
        "ucfTrainTestlist/classInd.txt": "1 A\n2 B\n",
        "ucfTrainTestlist/trainlist01.txt": "A/v_A_g08_c01.avi 1\nB/v_B_g08_c01.avi 2\n",
        "ucfTrainTestlist/testlist01.txt": "A/v_A_g01_c01.avi\n",
        "testTrainMulti_7030_splits/a_test_split1.txt": "x_a.avi 1\ny_a.avi 2\n",
        "testTrainMulti_7030_splits/b_test_split1.txt": "x_b.avi 1\n",
        "train_list_rawframes.txt": "a/one 1 0\n",
        "val_list_rawframes.txt": "b/two 1 1\n",
        "Charades_v1_train.csv": "id,actions\nAAAAA,c001 0.0 1.0;c000 0.0 2.0\n",
        "Charades_v1_test.csv": "id,actions\nBBBBB,\n",
        "Charades_v1_classes.txt": "c000 A\nc001 B\n",
        "Charades_v1_480/AAAAA.mp4": "",
        "Charades_v1_480/BBBBB.mp4": "",
        "rawframes/a/one/img_00001.jpg": "",
        "rawframes/b/two/img_00001.jpg": "",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in ("UCF-101/A/v_A_g08_c01.avi", "UCF-101/A/v_A_g01_c01.avi", "hmdb51/a/x_a.avi", "hmdb51/a/y_a.avi"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(videos / "train_0.mp4")


@pytest.fixture
def users_folder(tiny_data, tmp_path):
    """Return a folder with what the printed lines about data read: videos in class folders, lists, Kinetics' CSVs."""
    for number in range(4):
        folder = tmp_path / "videos" / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"id{number}_000001_000011.mp4").symlink_to(tiny_data / f"train_{number}.mp4")
    for split, numbers in (("train", (0, 1)), ("val", (2, 3))):
        rows = [f"class {number % 2},id{number},1,11,{split}" for number in numbers]
        header = "label,youtube_id,time_start,time_end,split"
        (tmp_path / f"kinetics_{split}.csv").write_text("\n".join([header, *rows]) + "\n")
    write_official_splits(tmp_path, tiny_data)
    lists = tmp_path / "data" / "kinetics"
    lists.mkdir(parents=True)
    lines = [f"{tmp_path}/videos/class {number % 2}/id{number}_000001_000011.mp4 {number % 2}" for number in range(4)]
    (lists / "train.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("line", of_command("make-lists", "check-videos", "prepare-videos"))
def test_lines_about_data_run(line, users_folder, monkeypatch):
    words = shlex.split(line)[1:]
    if words[0] == "make-lists":
        monkeypatch.chdir(users_folder)
        run_here(line)
    else:  # they start processes of their own
        command = [sys.executable, "-m", "mutualnet3d"]
        if "--status" in words:  # of a work that there is
            begin = ["--shared" if word == "--status" else word for word in words]
            subprocess.run([*command, *begin], cwd=users_folder, capture_output=True, check=True)
        done = subprocess.run([*command, *words], cwd=users_folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    output = users_folder / words[words.index("--output") + 1]
    assert output.exists()
    if words[0] == "make-lists":
        assert (output / "train.csv").exists()
        assert (output / "val.csv").exists()


@pytest.mark.parametrize("line", of_kind("python benchmarks/", "python examples/"))
def test_scripts_are_there_and_parse(line):
    script = ROOT / shlex.split(line)[1]
    compile(script.read_text(), str(script), "exec")


def test_pip_lines_name_files_and_extras_that_are_there():
    """tests/test_wheel.py builds the wheel and installs it."""
    editable, build, install = of_kind("python -m pip")
    assert (ROOT / "constraints.txt").exists()
    assert "-c constraints.txt -e " in editable
    extras = re.search(r"\.\[([a-z,]+)\]", editable)[1].split(",")
    assert all(f'"{extra}":' in (ROOT / "setup.py").read_text() for extra in extras)
    assert build.endswith(" -w dist .")
    assert install.endswith(" -c constraints.txt dist/mutualnet3d-*.whl")


EXAMPLES = {path.read_text() for path in (ROOT / "examples").glob("*.py")}  # tests/test_examples.py runs them


@pytest.mark.parametrize(("name", "text"), [block for block in blocks("python") if block[1] not in EXAMPLES])
def test_python_blocks_run(name, text, published_file, demos_folder):
    if "mutualnet3d.sharing" in text:
        pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed (extra [hub])")
    torch.save(state_of_x3d_xs(), demos_folder / "X3D_XS.pyth")
    exec(compile(text, name, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("name", ["Predictor", "QueryTable", "SubnetConfig", "SubnetSpace", "create_model"])
def test_examples_in_docstrings_run(name, demos_folder):
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(m3, name), name, globs={"m3": m3, "torch": torch})
    printed: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=printed.append)
    assert results.attempted > 1
    assert results.failed == 0, "".join(printed)
