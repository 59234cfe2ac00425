from __future__ import annotations

import pytest

from mutualnet3d.data.text import close_names, full_path, parse_json, read_text, unquoted


def test_text_without_its_mark_and_an_error_that_names_the_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\ntwo\n")
    assert read_text(str(path)) == "one\ntwo\n"
    path.write_bytes(b"one\ntwo\n\xff\n")
    with pytest.raises(ValueError, match=r"a\.txt:3: the text must be UTF-8, got the byte 0xff \(invalid start byte\)"):
        read_text(str(path))


def test_json():
    assert parse_json("a.json", '{"a": 1, "a": 2}', object_pairs_hook=tuple) == (("a", 1), ("a", 2))
    with pytest.raises(ValueError, match=r"^a\.json:2: the file must be JSON: Expecting ',' delimiter$"):
        parse_json("a.json", "[1\n2]")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("b.mp4", "/base/b.mp4"),
        ("/a/b.mp4", "/a/b.mp4"),
        ("s3://bucket/b.mp4", "s3://bucket/b.mp4"),
        ("1://b.mp4", "/base/1://b.mp4"),  # no scheme begins with a digit
    ],
)
def test_full_paths(path, expected):
    assert full_path("/base", path) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [(' "a ""b""" ', 'a "b"'), ("plain", "plain"), ('"open', '"open'), ('"a" "b"', '"a" "b"'), ('""', "")],
)
def test_quotes(text, expected):
    assert unquoted(text) == expected


def test_names_that_look_alike():
    names = ["air drumming", "drumming", "yoga"]
    assert close_names(names, "druming") == "; close to it: 'drumming', 'air drumming'"
    assert close_names(names, "xyz", "yogi") == "; close to it: 'yoga'"
    assert close_names(names, "xyz") == ""
