"""Fonts that show a text: Pillow's own, matplotlib's DejaVu Sans, and those of the system for other scripts.

Names of classes may be in any script. A character that no font of this machine shows is written as an escape like
`repr`'s, with one warning.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

from PIL import ImageFont

from mutualnet3d.log import logger, printable

# Path of Pillow's own font, which is in no file: its letters are Latin ones without accents.
PILLOWS_OWN = ""

_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    "C:/Windows/Fonts",
)
_SUFFIXES = (".ttf", ".ttc", ".otf")
# Parts of the names of fonts that are looked into last: styles that do not suit labels, and a font that has a box for
# every character.
_LAST = ("bold", "italic", "oblique", "mono", "serif", "light", "thin", "black", "condensed", "lastresort")
_NO_CHARACTER = "\U0010ffff"  # no font has it: what is drawn is the picture of a character that is lacking
_SIZE = 20  # pixels, at which pictures of characters are compared
_SECONDS = 10  # that fontconfig may take
_NAMED = 5  # characters that the warning names
_used: list[str] = []  # fonts of the system that show some character: they are likely to show its neighbours
_told: list[str] = []  # the warning's characters, once it was given


@functools.lru_cache(maxsize=64)
def load_font(path: str, size: int) -> Any:
    """Return the font of a file, or Pillow's own, at a size in pixels."""
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@functools.lru_cache(maxsize=4096)
def shows(path: str, character: str) -> bool:
    """Return True for a character that a font has a picture of, or a space."""
    if character.isspace():
        return True
    try:
        letters = load_font(path, _SIZE)
        own, lacking = letters.getmask(character), letters.getmask(_NO_CHARACTER)
    except OSError:  # a damaged file, or a kind of font that Pillow does not read
        return False
    return own.size != lacking.size or bytes(own) != bytes(lacking)


@functools.cache
def dejavu_sans() -> str | None:
    """Return the path of the font that comes with matplotlib, which is not imported; None without matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    folders = (spec.submodule_search_locations if spec else None) or []
    paths = [os.path.join(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf") for folder in folders]
    return next(filter(os.path.isfile, paths), None)


@functools.cache
def own_fonts() -> tuple[str, ...]:
    """Return the paths of the fonts that come with the libraries."""
    path = dejavu_sans()
    return (PILLOWS_OWN,) if path is None else (PILLOWS_OWN, path)


@functools.lru_cache(maxsize=4096)
def system_font(character: str) -> str | None:
    """Return the path of a font of this machine that shows the character; None without any."""
    path = next((path for path in _used if shows(path, character)), None)
    if path is None:
        path = next((path for path in _candidates(character) if shows(path, character)), None)
        _used.extend([] if path is None else [path])
    return path


def escape_unshown(text: str) -> str:
    """Return text with escapes in place of characters that no font shows or that are not printable."""
    text = printable(text)
    lacking = sorted({character for character in text if _font_of(character) is None})
    if lacking:
        _tell(", ".join(f"U+{ord(character):04X}" for character in lacking[:_NAMED]))
    return "".join(ascii(character)[1:-1] if character in lacking else character for character in text)


def split_by_font(text: str) -> list[tuple[str, str]]:
    """Return the pieces of a text without characters that no font shows, with the paths of their fonts.

    It is one piece if a font of the libraries shows all of it.
    """
    for path in own_fonts():
        if all(shows(path, character) for character in text):
            return [(text, path)]
    groups = itertools.groupby(text, key=_font_of)
    return [("".join(group), own_fonts()[-1] if path is None else path) for path, group in groups]


def files_for(texts: Iterable[str]) -> list[str]:
    """Return the paths of the system's fonts that the texts need in addition to DejaVu Sans."""
    characters = sorted(set("".join(texts)))
    lacking = (character for character in characters if not shows(dejavu_sans() or PILLOWS_OWN, character))
    return list(dict.fromkeys(path for path in map(system_font, lacking) if path))


def _font_of(character: str) -> str | None:
    own = next((path for path in own_fonts() if shows(path, character)), None)
    return system_font(character) if own is None else own


def _tell(examples: str) -> None:
    """Log that fonts are lacking, the first time only."""
    if not _told:
        _told.append(examples)
        logger.warning(
            "no font of this machine shows %s: written as escapes; a font of many scripts helps, such as Noto Sans CJK",
            examples,
        )


def _candidates(character: str) -> list[str]:
    """Return the paths of fonts that may show the character, by fontconfig where it is installed; plain styles first.

    Fontconfig knows the characters of all fonts; without it every font of the usual folders may be one.
    """
    command = shutil.which("fc-list")
    if command is None:
        return _all_fonts()
    arguments = [command, f":charset={ord(character):x}", "--format", "%{file}\n"]
    try:
        listed = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("fontconfig does not list the fonts: %s", error)
        return _all_fonts()
    return _plain_first(os.fsdecode(listed).splitlines())


@functools.cache
def _all_fonts() -> list[str]:
    paths = [
        os.path.join(folder, name)
        for root in _FOLDERS
        for folder, _, names in os.walk(os.path.expanduser(root))
        for name in names
    ]
    return _plain_first(paths)


def _plain_first(paths: Iterable[str]) -> list[str]:
    fonts = sorted(path for path in paths if path.lower().endswith(_SUFFIXES))
    return sorted(fonts, key=lambda path: sum(word in os.path.basename(path).lower() for word in _LAST))
