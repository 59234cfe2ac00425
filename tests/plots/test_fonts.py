"""Fonts by what is on the machine; a font of two characters stands for those of other scripts."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mutualnet3d.plots import fonts
from mutualnet3d.plots.fonts import (
    PILLOWS_OWN,
    dejavu_sans,
    escape_unshown,
    files_for,
    load_font,
    own_fonts,
    shows,
    split_by_font,
    system_font,
)

MIDDLE, KINGDOM, HIRAGANA = "中", "国", "あ"


def write_font(path, characters: str, name: str) -> str:
    """Write a font that has a filled square for each of `characters`, and an empty one for those that it lacks."""
    builder_of = pytest.importorskip("fontTools.fontBuilder", reason="fontTools is not installed (extra [plot])")
    pens = pytest.importorskip("fontTools.pens.ttGlyphPen")
    names = [".notdef", *(f"uni{ord(character):04X}" for character in characters)]
    glyphs = {}
    for glyph in names:
        pen = pens.TTGlyphPen(None)
        side = 300 if glyph == ".notdef" else 800
        for place, point in enumerate([(0, 0), (0, side), (side, side), (side, 0)]):
            (pen.lineTo if place else pen.moveTo)(point)
        pen.closePath()
        glyphs[glyph] = pen.glyph()
    builder = builder_of.FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): glyph for character, glyph in zip(characters, names[1:], strict=True)})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(str(path))
    return str(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Only folder of fonts of this machine, without fontconfig; nothing is remembered."""
    monkeypatch.setattr(fonts, "_FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(fonts.shutil, "which", lambda command: None)
    monkeypatch.setattr(fonts, "_told", [])
    monkeypatch.setattr(fonts, "_used", [])
    forget()
    yield tmp_path
    forget()


def forget():
    for cached in (load_font, shows, system_font, fonts._all_fonts):
        cached.cache_clear()


def test_accents_and_cyrillic_need_no_font_of_the_system(folder, caplog):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra [plot])")
    assert os.path.basename(dejavu_sans()) == "DejaVuSans.ttf"
    assert own_fonts() == (PILLOWS_OWN, dejavu_sans())
    for text in ("Fußball spielen", "jonglér", "Жонглирование", "Łódź žluťoučký"):
        assert escape_unshown(text) == text
        assert split_by_font(text) == [(text, dejavu_sans())]  # one font for the whole of it
        assert files_for([text]) == []
    assert split_by_font("air drumming") == [("air drumming", PILLOWS_OWN)]
    assert not caplog.messages


def test_other_scripts_are_of_fonts_of_the_system(folder, monkeypatch):
    bold = write_font(folder / "Wide-Bold.ttf", MIDDLE + KINGDOM, "Wide Bold")
    plain = write_font(folder / "Wide.ttf", MIDDLE + KINGDOM, "Wide")
    (folder / "broken.ttf").write_bytes(b"not a font")
    assert not shows(str(folder / "broken.ttf"), MIDDLE)
    assert shows(bold, MIDDLE)
    assert not shows(plain, HIRAGANA)
    assert system_font(MIDDLE) == plain
    with monkeypatch.context() as patch:
        patch.setattr(fonts, "_candidates", None)  # nothing is searched for its neighbours
        assert system_font(KINGDOM) == plain
    assert escape_unshown(MIDDLE + KINGDOM) == MIDDLE + KINGDOM
    assert split_by_font(f"a {MIDDLE}{KINGDOM} b") == [
        ("a ", PILLOWS_OWN),
        (MIDDLE + KINGDOM, plain),
        (" b", PILLOWS_OWN),
    ]
    assert files_for(["a", MIDDLE, KINGDOM]) == [plain]


def test_fontconfig_is_asked_where_it_is_installed(folder, monkeypatch, caplog):
    font = write_font(folder / "Wide.ttf", MIDDLE, "Wide")
    command = folder / "fc-list"
    command.write_text(f'#!/bin/sh\necho {folder}/none.ttf\necho {font}\necho "$1" > {folder}/asked\n')
    command.chmod(0o755)
    monkeypatch.setattr(fonts, "_FOLDERS", ())
    monkeypatch.setattr(fonts.shutil, "which", lambda name: str(folder / name))
    assert system_font(MIDDLE) == font
    assert (folder / "asked").read_text() == ":charset=4e2d\n"
    command.write_text("#!/bin/sh\nexit 3\n")
    with caplog.at_level(logging.WARNING, "mutualnet3d"):
        assert system_font(KINGDOM) is None
    assert caplog.messages[0].startswith("fontconfig does not list the fonts: Command ")


def test_what_no_font_shows_is_an_escape_and_is_said_once(folder, caplog):
    with caplog.at_level(logging.WARNING, "mutualnet3d"):
        assert escape_unshown(f"{MIDDLE}a{KINGDOM}") == r"\u4e2da\u56fd"
        assert escape_unshown(HIRAGANA) == r"\u3042"
        assert escape_unshown("a\nb\x1b") == r"a\nb\x1b"  # what is not printed is no lack of fonts
    assert caplog.messages == [
        "no font of this machine shows U+4E2D, U+56FD: written as escapes; a font of many scripts helps, such as Noto "
        "Sans CJK"
    ]


def test_without_matplotlib_pillows_own_font_is_left(folder, monkeypatch):
    monkeypatch.setattr(fonts.importlib.util, "find_spec", lambda name: None)
    dejavu_sans.cache_clear()
    own_fonts.cache_clear()
    try:
        assert own_fonts() == (PILLOWS_OWN,)
        assert escape_unshown("Fuß") == r"Fu\xdf"
    finally:
        dejavu_sans.cache_clear()
        own_fonts.cache_clear()


def test_a_picture_has_each_piece_in_its_font(folder):
    """The square of the font of the test is 8 of 10 pixels wide and high."""
    path = write_font(folder / "Wide.ttf", MIDDLE, "Wide")
    image = Image.new("L", (20, 20))
    ImageDraw.Draw(image).text((2, 18), MIDDLE, fill=255, font=load_font(path, 10), anchor="ls")
    assert (np.asarray(image) > 128).sum() == pytest.approx(64, abs=10)
