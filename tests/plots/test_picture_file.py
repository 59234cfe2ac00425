from __future__ import annotations

import sys

import pytest

from mutualnet3d.plots import fonts
from mutualnet3d.plots.picture_file import check_suffix, fonts_for, new_figure, picture_text, save_figure
from tests.plots.test_fonts import write_font


def figure_of_a_line():
    figure = new_figure(2, 1)
    figure.subplots().plot([0, 1], [0, 1])
    return figure


@pytest.mark.parametrize(("suffix", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")])
def test_the_suffix_is_the_format_and_bytes_are_the_same_each_time(tmp_path, suffix, head):
    written = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{suffix}"
        save_figure(figure_of_a_line(), str(path))
        written.append(path.read_bytes())
    assert written[0].startswith(head)
    assert written[0] == written[1]
    if suffix == "svg":
        assert b"<svg" in written[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}"]


def test_other_suffixes_are_refused(tmp_path):
    for name, came in (("t.pdf", r"'\.pdf'"), ("t", "a file without a suffix")):
        with pytest.raises(ValueError, match=rf"{name}: a picture is written as \.png or \.svg, not as {came}$"):
            check_suffix(name)
        with pytest.raises(ValueError, match=r"a picture is written as"):
            save_figure(figure_of_a_line(), str(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_a_figure_has_its_size():
    figure = new_figure(3, 2)
    assert (figure.get_figwidth(), figure.get_figheight(), figure.get_dpi()) == (3, 2, 150)


def test_texts_are_drawn_in_fonts_that_show_them(tmp_path, monkeypatch):
    path = write_font(tmp_path / "wide.ttf", "中", "Wide of the test")
    monkeypatch.setattr(fonts, "system_font", lambda character: path if character == "中" else None)
    with fonts_for(["a 中"]):
        figure = new_figure(2, 1)
        text = figure.text(0, 0, picture_text("$中_$"))
    assert text.get_fontfamily() == ["DejaVu Sans", "Wide of the test"]
    assert (text.get_text(), text._preprocess_math(text.get_text())) == (r"\$中_\$", ("$中_$", False))
    save_figure(figure, str(tmp_path / "t.png"))
    with fonts_for(["Grüße"]):
        assert new_figure(2, 1).text(0, 0, "a").get_fontfamily() == ["DejaVu Sans"]


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"^matplotlib is not installed: pip install 'mutualnet3d\[plot\]'$"):
        new_figure(2, 1)
