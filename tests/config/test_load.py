from __future__ import annotations

import pytest

import mutualnet3d as m3
from mutualnet3d.config import CONFIG_ROOT, find_cfg, parse_stored_cfg
from mutualnet3d.config.check import check_cfg
from mutualnet3d.config.defaults import default_cfg


def test_a_config_is_found_by_path_or_name_and_is_a_delta(tmp_path):
    by_name, by_path = m3.load_cfg("X3D_M_mutual.yaml"), m3.load_cfg(f"{CONFIG_ROOT}/kinetics/X3D_M_mutual.yaml")
    assert by_name == by_path
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {CONFIG_ROOT}/kinetics/X3D_M.yaml\nSOLVER:\n  BASE_LR: 0.4\n")
    mine = m3.load_cfg(str(tmp_path / "mine.yaml"))
    assert (mine.SOLVER.BASE_LR, mine.SOLVER.MAX_EPOCH, mine.X3D.DEPTH_FACTOR) == (0.4, 300, 2.2)
    with pytest.raises(FileNotFoundError, match=r"no config at none\.yaml, and none of that name under"):
        find_cfg("none.yaml")


def test_overrides_come_last_and_the_config_is_frozen():
    words = ["TRAIN.BATCH_SIZE", "16", "SOLVER.BASE_LR", "1", "OUTPUT_DIR", "1", "MUTUAL.SIZES", "[224, 96]"]
    words += ["TEST.SIZES", "[]"]
    cfg = m3.load_cfg("X3D_M_mutual.yaml", words)
    assert (cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.BASE_LR, cfg.OUTPUT_DIR, cfg.MUTUAL.SIZES) == (16, 1.0, "1", [224, 96])
    with pytest.raises(AttributeError, match="immutable"):
        cfg.TRAIN.BATCH_SIZE = 8


def test_a_flag_may_have_a_word_too(tmp_path):
    path = tmp_path / "auto.yaml"
    path.write_text(f"_BASE_: {CONFIG_ROOT}/kinetics/X3D_M_mutual.yaml\nMODEL:\n  CHANNELS_LAST: Auto\n")
    assert m3.load_cfg(str(path)).MODEL.CHANNELS_LAST == "auto"
    assert m3.load_cfg(str(path), ["MODEL.CHANNELS_LAST", "False"]).MODEL.CHANNELS_LAST is False
    stored = m3.load_cfg(str(path), ["MODEL.CHANNELS_LAST", "auto"]).dump()
    assert parse_stored_cfg(stored, "stored").MODEL.CHANNELS_LAST == "auto"
    with pytest.raises(ValueError, match=r"MODEL\.CHANNELS_LAST: Type mismatch"):
        m3.load_cfg(str(path), ["MODEL.CHANNELS_LAST", "fast"])
    cfg = m3.load_cfg(str(path)).clone()
    cfg.defrost()
    cfg.MODEL.CHANNELS_LAST = "fast"
    with pytest.raises(ValueError, match=r"CHANNELS_LAST is 'fast'; it must be True, False or auto"):
        check_cfg(cfg)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("X3D_M_mutal.yaml", r"did you mean X3D_M_mutual\.yaml"), ("qqq", "whose names `mutualnet3d info` lists")],
)
def test_a_config_that_is_not_there_is_answered_by_a_hint(name, hint):
    with pytest.raises(FileNotFoundError, match=rf"no config at {name}.*{hint}"):
        m3.load_cfg(name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["TRAIN.BATCHSIZE", 8],
            r"override: unknown key TRAIN\.BATCHSIZE: 'BATCHSIZE' is none of: ENABLE, SUBNET, DATASET",
        ),
        (["MUTUALS.ENABLE", True], r"unknown key MUTUALS\.ENABLE"),
        (["TRAIN.BATCH_SIZE.X", 8], r"unknown key TRAIN\.BATCH_SIZE\.X"),
        (["TRAIN", 8], "TRAIN is a section, not a key"),
        (["TRAIN.BATCH_SIZE"], r"pairs KEY VALUE, got 1 words: TRAIN\.BATCH_SIZE"),
        (["TRAIN.BATCH_SIZE", "many"], r"override: TRAIN\.BATCH_SIZE: Type mismatch"),
    ],
)
def test_overrides_that_cannot_be(words, message):
    with pytest.raises(ValueError, match=message):
        m3.load_cfg("X3D_M_mutual.yaml", words)


def test_unknown_keys_and_broken_files_name_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("TRAIN:\n  BATCH_SISE: 8\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: unknown key TRAIN\.BATCH_SISE"):
        m3.load_cfg(str(path))
    path.write_text("TRAIN: [1,\n")
    with pytest.raises(ValueError, match=r"mine\.yaml:2: not a YAML file"):
        m3.load_cfg(str(path))


def test_a_stored_config_may_be_of_another_release(caplog):
    """Unknown keys are listed in one warning, missing ones have their defaults; values have to be good."""
    text = "TRAIN:\n  OLD_KEY: 1\n  BATCH_SIZE: 8\nOLD_SECTION:\n  A: 1\n"
    cfg = parse_stored_cfg(text, "a.pyth: its config", ["TEST.BATCH_SIZE", 3])
    assert (cfg.TRAIN.BATCH_SIZE, cfg.TEST.BATCH_SIZE, cfg.RNG_SEED) == (8, 3, default_cfg().RNG_SEED)
    assert cfg.is_frozen()
    (record,) = caplog.records
    assert record.getMessage() == (
        "a.pyth: its config: keys that this release does not know are ignored: TRAIN.OLD_KEY, OLD_SECTION"
    )


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("TRAIN: [1,\n", [], r"a\.pyth:2: not a YAML file"),
        ("3\n", [], r"a\.pyth: expected keys and values, got '3"),
        ("TRAIN:\n  BATCH_SIZE: 0\n", [], r"TRAIN\.BATCH_SIZE is 0; it must be at least 1"),
        ("TRAIN: {}\n", ["TRAIN.OLD_KEY", 1], r"override: unknown key TRAIN\.OLD_KEY"),
    ],
)
def test_stored_configs_that_cannot_be(text, overrides, message):
    with pytest.raises(ValueError, match=message):
        parse_stored_cfg(text, "a.pyth", overrides)
