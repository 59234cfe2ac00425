from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mutualnet3d.data.label_names import read_label_names


def write(folder: Path, text: str | bytes, name: str = "names.txt") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.json", '{"jump": 1, "air drumming": 0}'),
        ("names.json", '{"\\"jump\\"": "1", "\\"air drumming\\"": "0"}'),
        ("names.json", '{"0": "air drumming", "1": "jump"}'),
        ("names.json", '["air drumming", "jump"]'),
        ("names", '\ufeff {"air drumming": 0, "jump": 1}'),
        ("names.txt", "air drumming\njump\n"),
        ("names.txt", "\n air drumming\r\n\r\n jump"),
        ("names.txt", "1 jump\n0 air drumming\n"),
        ("names.csv", "id,name\n0,air drumming\n1,jump\n"),
        ("names.csv", 'name,id\n"air drumming", 0\njump,1\n'),
        ("names.csv", "air drumming 0\njump 1\n"),
        ("names.csv", '"0","air drumming"\n"1","jump"\n'),
    ],
)
def test_label_names(tmp_path, name, text):
    assert read_label_names(write(tmp_path, text, name)) == {"air drumming": 0, "jump": 1}


def test_label_names_with_numbers_and_commas(tmp_path):
    assert read_label_names(write(tmp_path, "0,slide 1\n1,slide 3, then 4\n")) == {"slide 1": 0, "slide 3, then 4": 1}
    assert read_label_names(write(tmp_path, "4 guitars\ndrums\n")) == {"4 guitars": 0, "drums": 1}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("names.txt", " \n", r"names\.txt: no label names; expected JSON or text with one name a line"),
        ("names.json", "{}", r"names\.json: no label names"),
        ("names.json", "{'a': 0}", r"names\.json:1: the file must be JSON: Expecting property name"),
        ("names.json", '{"a": 0,\n"b" 1}', r"names\.json:2: the file must be JSON: Expecting ':' delimiter"),
        ("names.json", "3", r"names\.json: expected an object of names and ids or a list of names, got 3"),
        ("names.json", '["a", 1]', r"names\.json: a list must hold names, got 1"),
        ("names.json", '{"a": 0, "b": "x"}', r"names\.json: the id of 'b' must be an integer, got 'x'"),
        ("names.json", '{"a": true}', r"names\.json: the id of 'a' must be an integer, got True"),
        ("names.json", '{"a": 0, "a": 1}', r"names\.json: names must differ and not be empty, got 'a' for the id 1"),
        ("names.json", '["a", " "]', r"names\.json: names must differ and not be empty, got '' for the id 1"),
        ("names.txt", "a\nb\na\n", r"names\.txt: names must differ and not be empty, got 'a' for the id 2"),
        (
            "names.txt",
            "1 a\n2 b\n",
            r"names\.txt: ids of 2 names must be 0 to 1, each once; got 2 for 'b'; "
            r"these count from 1, as UCF-101's classInd\.txt does: `mutualnet3d make-lists ucf101` reads it$",
        ),
        ("names.txt", "1 a\n3 b\n", r"names\.txt: ids of 2 names must be 0 to 1, each once; got 3 for 'b'$"),
        ("names.json", '{"a": -1}', r"names\.json: ids of 1 names must be 0 to 0, each once; got -1 for 'a'$"),
        ("names.json", '{"a": 0, "b": 0}', r"names\.json: .* got 0 for 'b', which 'a' has$"),
        ("names.txt", b"a\nb\n\xff\n", r"names\.txt:3: the text must be UTF-8, got the byte 0xff"),
    ],
)
def test_label_names_that_cannot_be(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_label_names(write(tmp_path, text, name))


def test_label_names_of_the_demo_data(tmp_path):
    text = json.dumps(dict(enumerate(["left", "right"])), indent=1)
    assert read_label_names(write(tmp_path, text, "classes.json")) == {"left": 0, "right": 1}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", b"a\nb\0\n", r"a\.txt:2: the text must be UTF-8 without NUL bytes"),
        ("a.txt", "a\n".encode("utf-16"), r"a\.txt:1: the text must be UTF-8.*it looks like UTF-16"),
        (
            "a.txt",
            "0 a\n" + "9" * 5000 + " b\n",
            r"a\.txt: ids of 2 names .* got 10{18} for 'b'",
        ),
        ("a.json", '{"a": 0, "b": ' + "9" * 5000 + "}", r"a\.json: ids of 2 names .* got 10{18} for 'b'"),
        ("a.json", '{"a": 0, "b": "-' + "9" * 5000 + '"}', r"a\.json: ids of 2 names .* got -10{18} for 'b'"),
        ("a.json", '["a", "\\ud800"]', r"a\.json: names must be text, got '\\ud800' for the id 1, half a character"),
        ("a.json", "[" * 100_000, r"a\.json: the file must be JSON of few levels"),
        ("a.txt", "a\n" + "a 1 " * 2_000_000, r"a\.txt:2: a line may have 8192 characters, this one has 7999999"),
    ],
)
def test_hostile_label_names(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_label_names(write(tmp_path, text, name))
    assert len(str(caught.value)) < 600


def test_label_files_that_are_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a FIFO"), (tmp_path, "a folder")):
        with pytest.raises(ValueError, match=f"{path}: a file of label names must be a file; this is {kind}"):
            read_label_names(str(path))
