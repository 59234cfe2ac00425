from __future__ import annotations

import pytest

from mutualnet3d.data.text import (
    bounded_int,
    check_line,
    close_names,
    full_path,
    parse_json,
    read_lines,
    read_text,
    shortened,
    unquoted,
)


def test_text_without_its_mark_and_an_error_that_names_the_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\ntwo\n")
    assert read_text(str(path)) == "one\ntwo\n"
    path.write_bytes(b"one\ntwo\n\xff\n")
    with pytest.raises(ValueError, match=r"a\.txt:3: the text must be UTF-8, got the byte 0xff \(invalid start byte\)"):
        read_text(str(path))


def test_lines_are_those_of_the_whole_text(tmp_path, monkeypatch):
    text = "é\u2028\n\n" + "\n".join("ab"[: number % 3] for number in range(50)) + "\n"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    for size in (0, 1, 7, 1 << 20):
        monkeypatch.setattr("mutualnet3d.data.text._PART", size)
        assert list(read_lines(str(tmp_path / "a.txt"))) == text.split("\n")
        assert read_text(str(tmp_path / "a.txt")) == text
    (tmp_path / "b.txt").write_bytes(b"")
    assert list(read_lines(str(tmp_path / "b.txt"))) == [""]
    with pytest.raises(ValueError, match=r"a text must be a file; this is a folder"):
        read_lines(str(tmp_path))


def test_bounds():
    assert [bounded_int(digits) for digits in ("007", "0" * 5000, "9" * 18, "9" * 19)] == [7, 0, 10**18 - 1, 10**18]
    check_line("a.txt", 1, "x" * 8192)
    with pytest.raises(ValueError, match=r"^a\.txt:1: a line may have 8192 characters, this one has 8193"):
        check_line("a.txt", 1, "x" * 8193)


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


def test_a_long_text_is_shortened_for_a_message():
    assert shortened("a\n") == "'a\\n'"
    assert shortened("ab" * 2500, most=4) == "'abab'... (5000 characters)"
