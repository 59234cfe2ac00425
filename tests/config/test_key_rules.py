"""Every key refuses wrong types, elements and ranges by its name, in one line, whichever way it is set."""

from __future__ import annotations

import math
import re

import pytest
import yaml

import mutualnet3d as m3
from mutualnet3d.config.check import check_cfg
from mutualnet3d.config.defaults import default_cfg
from mutualnet3d.config.key_rules import RULES
from tests.config.test_defaults import keys_of

CLOSE = 1e-9
CFG = default_cfg()  # each value is put into it, and taken out again


def value_of(cfg, key):
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def of_other_types(rule):
    """Values of other types than a rule's."""
    others = {
        bool: [1, "'a'", 0.5, [True]],
        int: [0.5, True, "'a'", [1]],
        float: ["'a'", True, [0.5], math.nan, math.inf],
        str: [3, False, 0.5, ["a"], "a\0b"],
    }[rule.kind]
    if rule.lengths is None:
        return [*others, {"a": 1}, *([] if rule.takes_none else [None])]
    good = {int: 32, float: 0.5, str: "full"}[rule.kind]
    elements = [None, {"a": 1}, *[other for other in others if other != "a\0b" and not isinstance(other, list)]]
    lists = [[good, element] for element in elements]
    return [None, good, True, {"a": 1}, *lists, *([] if rule.inner_lengths else [[[good]], [good, [good]]])]


def out_of_range(rule):
    """Values of a rule's type just outside of its bounds."""
    step = 1 if rule.kind is int else CLOSE
    numbers = [
        *([] if rule.low is None else [rule.low - step]),
        *([] if rule.high is None else [rule.high + step]),
        *([] if rule.above is None else [rule.above, rule.above - step]),
        *([] if rule.below is None else [rule.below, rule.below + step]),
        *(["a"] if rule.choices and rule.kind is str else []),
        *([] if rule.takes_empty else [""]),
        *([max(rule.choices) + 1, -1] if rule.choices and rule.kind is int else []),
    ]
    if rule.lengths is None:
        return numbers
    if rule.inner_lengths:
        return [[[number]] * rule.lengths[0] for number in numbers] + [[[1]], [1] * 4, [[]] * 4, [[1] * 3] * 4]
    length = max(rule.lengths, default=1)
    lists = [[number] * length for number in numbers] + ([[32, 32]] if rule.is_distinct else [])
    lengths = [0, 1, 5] if rule.lengths else []
    return lists + [[1] * number for number in lengths if number not in rule.lengths]


def by_file(key, value, folder):
    section, _, name = key.rpartition(".")
    (folder / "mine.yaml").write_text(yaml.safe_dump({section: {name: value}} if section else {name: value}))
    m3.load_cfg(str(folder / "mine.yaml"))


def by_override(key, value, folder):
    m3.load_cfg("X3D_M.yaml", [key, value])


def by_words(key, value, folder):
    m3.load_cfg("X3D_M.yaml", [key, str(value)])


def by_python(key, value, folder):
    cfg = CFG
    section, _, name = key.rpartition(".")
    node = value_of(cfg, section) if section else cfg
    before = node[name]
    try:
        dict.__setitem__(node, name, value)  # as a plain assignment does
        check_cfg(cfg)
    finally:
        dict.__setitem__(node, name, before)


WAYS = {"file": by_file, "override": by_override, "words": by_words, "python": by_python}


def wrong_values(key, way):
    rule = RULES[key]
    values = [*of_other_types(rule), *out_of_range(rule)]
    if way == "words":  # a word is a text for a key of texts; None is one for those that take it
        return [] if rule.kind is str and rule.lengths is None else [v for v in values if v != {"a": 1}]
    return [value for value in values if not (way == "file" and value == "a\0b")]


def refusal(key, value, way, folder):
    """Text of the error; "" if the value is taken."""
    try:
        WAYS[way](key, value, folder)
    except ValueError as error:
        return str(error)
    return ""


def refuse_all(keys, way, folder):
    for key in keys:
        for value in wrong_values(key, way):
            text = refusal(key, value, way, folder)
            assert re.search(rf"(^|[ .]){re.escape(key)}\b", text), (key, value, text)
            assert "\n" not in text, (key, value)


def test_every_key_has_a_rule_that_its_default_keeps():
    assert set(RULES) == set(keys_of(default_cfg()))
    check_cfg(default_cfg())


def test_every_key_refuses_wrong_values_by_python(tmp_path):
    refuse_all(RULES, "python", tmp_path)


@pytest.mark.parametrize(
    ("way", "keys"),
    [
        *((way, ["MUTUAL.FRAMES", "SOLVER.MOMENTUM"]) for way in ("file", "override", "words")),
        *(pytest.param(way, list(RULES), marks=pytest.mark.slow) for way in ("file", "override", "words")),
    ],
)
def test_every_key_refuses_wrong_values_by_file_and_command_line(way, keys, tmp_path):
    refuse_all(keys, way, tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MUTUAL.FRAMES", "[4,'a']"], r"^override: MUTUAL\.FRAMES is \[4, 'a'\]; it must be a list of numbers$"),
        (["MUTUAL.WIDTH_RANGE", "[0.5,'a']"], r"MUTUAL\.WIDTH_RANGE is \[0\.5, 'a'\]; it must be a list of numbers$"),
        (
            ["MUTUAL.SIZES", "[224,224]"],
            r"SIZES is \[224, 224\]; it must be values in \[1, 16384\], each of them",
        ),
        (["SOLVER.MOMENTUM", "5"], r"SOLVER\.MOMENTUM is 5\.0; it must be in \[0, 1\)$"),
        (["X3D.WIDTH_FACTOR", "0"], r"X3D\.WIDTH_FACTOR is 0\.0; it must be in \(0, 32\]$"),
        (
            ["SOLVER.MOMENTUM", "0"],
            r"NESTEROV is True; it must be False unless SOLVER\.MOMENTUM is above 0 .* 0 and 0$",
        ),
        (["TRAIN.SUBNET", "w2"], r"^TRAIN\.SUBNET: not a sub-network's key: 'w2'; expected width, size and frames"),
        (["AUG.ENABLE", True, "DATA.MEAN", [2, 0, 0]], r"DATA\.MEAN is \[2, 0, 0\]; it must be 3 fractions"),
        (
            ["MIXUP.ENABLE", True, "MIXUP.ALPHA", 0, "MIXUP.CUTMIX_ALPHA", 0],
            r"MIXUP\.ALPHA is 0\.0; it must be above 0",
        ),
    ],
)
def test_messages_of_wrong_values(words, message):
    with pytest.raises(ValueError, match=message):
        m3.load_cfg("X3D_M.yaml", words)


def test_a_config_of_python_is_checked_by_its_keys_too():
    cfg = m3.load_cfg("X3D_M.yaml").clone()
    cfg.defrost()
    cfg.TRAIN.BATCHSIZE = 8
    with pytest.raises(ValueError, match=r"unknown key TRAIN\.BATCHSIZE"):
        check_cfg(cfg)
    del cfg["TRAIN"]["BATCHSIZE"], cfg["TRAIN"]["BATCH_SIZE"]
    with pytest.raises(ValueError, match=r"the config has no key TRAIN\.BATCH_SIZE; make it by load_cfg"):
        check_cfg(cfg)


def test_a_section_in_place_of_a_value(tmp_path):
    (tmp_path / "mine.yaml").write_text("TRAIN: {BATCH_SIZE: {}}\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: TRAIN\.BATCH_SIZE is \{\}; it must be a value, not a section"):
        m3.load_cfg(str(tmp_path / "mine.yaml"))
