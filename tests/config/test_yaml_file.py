from __future__ import annotations

import itertools
import os

import pytest

import mutualnet3d as m3
from mutualnet3d.config import parse_stored_cfg
from mutualnet3d.config.defaults import default_cfg

BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"mine\.yaml: expected keys and values, got ''"),
        (b"- 1\n", r"mine\.yaml: expected keys and values"),
        (b"3\n", r"mine\.yaml: expected keys and values"),
        (b"TRAIN:\n\tBATCH_SIZE: 8\n", r"mine\.yaml:2: not a YAML file"),
        (b"TRAIN:\n  BATCH_SIZE: 8\n  BATCH_SIZE: 9\n", r"mine\.yaml:3: the key 'BATCH_SIZE' is there twice"),
        (b"A: !!python/object/apply:os.mkdir [evil]\n", r"mine\.yaml:1: not a YAML file: could not determine"),
        (BOMB.encode(), r"mine\.yaml:\d: not a config: more than 100000 values"),
        (b"A: &a [*a]\n", r"mine\.yaml:1: not a YAML file: an alias inside"),
        (b"A: " + b"[" * 1500, r"mine\.yaml: not a YAML file: its values are nested too deep"),
        (b"RNG_SEED: " + b"9" * 5000 + b"\n", r"mine\.yaml: a value cannot be read"),
        ("RNG_SEED: 1\n".encode("utf-16"), r"mine\.yaml:1: not a YAML file: the text must be UTF-8"),
        (b"RNG_SEED: 1\0\n", r"mine\.yaml: not a YAML file: unacceptable character"),
        (b"#" * 2_000_000, r"mine\.yaml: more than 1048576 bytes"),
        (b"_BASE_: mine.yaml\n", r"mine\.yaml: _BASE_ goes in a circle"),
        (b"_BASE_: link.yaml\n", r"mine\.yaml: _BASE_ goes in a circle"),
        (b"_BASE_: other.yaml\n", r"other\.yaml: _BASE_ goes in a circle"),
        (b"_BASE_: none.yaml\n", r"mine\.yaml: no file at .*none\.yaml, which _BASE_ names"),
        (b"_BASE_: 3\n", r"mine\.yaml: _BASE_ is 3; it must be the path"),
        (b"_BASE_: .\n", r"a config must be a file; this is a folder"),
        (b"_BASE_: pipe\n", r"pipe: a config must be a file; this is a FIFO"),
        (b"TRAIN: null\n", r"mine\.yaml: TRAIN is a section"),
        (b"TRAIN: {BATCH_SIZE: null}\n", r"mine\.yaml: TRAIN\.BATCH_SIZE is None"),
        (b"SOLVER: {BASE_LR: .inf}\n", r"mine\.yaml: SOLVER\.BASE_LR is inf; its numbers must be finite"),
        (b"DATA: {MEAN: [.nan, 0, 0]}\n", r"mine\.yaml: DATA\.MEAN is \[nan, 0, 0\]; its numbers must be finite"),
        (b"MUTUAL: {SIZES: [a]}\n", r"mine\.yaml: MUTUAL\.SIZES is \['a'\]; it must be a list of numbers"),
        (b"TRAIN: {BATCH_SIZE: .inf}\n", r"mine\.yaml: TRAIN\.BATCH_SIZE: Type mismatch"),
    ],
)
def test_what_is_no_config_is_one_line_with_the_file(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_bytes(content)
    (tmp_path / "other.yaml").write_text(f"_BASE_: {tmp_path}/mine.yaml\n")
    (tmp_path / "link.yaml").symlink_to("mine.yaml")
    os.mkfifo("pipe")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        m3.load_cfg("mine.yaml")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "evil").exists()


def keys(node, prefix=""):
    for name, value in node.items():
        yield from keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]


ODD = [None, True, -1, 0, 10**400, float("nan"), float("inf"), -0.5, "a\0b", "[" * 300, "9" * 5000, [], [None], [[]]]
ODD += [{}, {"a": 1}, ["a"], [float("nan")], [10**30, 1], [-1, 0.5], "None", "nan", b"x"]


KEYS = list(keys(default_cfg()))


@pytest.mark.parametrize("names", [KEYS[::15], *(pytest.param(KEYS[i::8], marks=pytest.mark.slow) for i in range(8))])
def test_every_key_takes_a_value_or_refuses_it_by_name(names):
    for key, value in itertools.product(names, ODD):
        refused = None
        try:
            parse_stored_cfg("{}", "a.pyth", [key, value])
        except ValueError as error:
            refused = str(error)
        assert refused is None or key.split(".")[-1] in refused, (key, value)
