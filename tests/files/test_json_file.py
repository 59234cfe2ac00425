from __future__ import annotations

import os

import pytest

from mutualnet3d.files.json_file import MAX_BYTES, read_json


def test_json_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2.5, "\\u00fc", "\\ud83d\\ude00", null]}')
    assert read_json(str(path), "a table") == {"a": [1, 2.5, "ü", "\U0001f600", None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[NaN]", "NaN is no number of JSON"),
        ("[-Infinity]", "-Infinity is no number of JSON"),
        ("[1e999]", "the number 1e999 is beyond what a float holds"),
        ("1" * 5000, "Exceeds the limit"),
        ('{"a": 1, "b": 2, "a": 3}', "an object has the key 'a' twice"),
        ("[" * 100_000, "recursion"),
        ('{"a":' * 100_000, "recursion"),
        ('["\\ud83d"]', "surrogates not allowed"),
        ('["\xff"]', "can't decode byte 0xff"),
        ("[1] 2", "Extra data"),
    ],
)
def test_what_is_not_json_is_one_error_with_the_file(text, message, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"a\.json: not a JSON file: .*{message}"):
        read_json(str(path), "a table")


def test_a_large_file_is_not_parsed(tmp_path):
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, MAX_BYTES + 1)
    with pytest.raises(ValueError, match=r"a\.json: a table has at most 16 MB"):
        read_json(str(path), "a table")
