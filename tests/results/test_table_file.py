from __future__ import annotations

import json

import pytest

from mutualnet3d.results.table_file import read_table, write_table
from tests.results.tables import CONTEXT, TABLE, with_int8


def test_json_and_back(tmp_path):
    path = str(tmp_path / "table.json")
    for table in (TABLE, with_int8()):
        write_table(path, table.rows, table.context)
        assert read_table(path) == (list(table.rows), table.context, None)
    content = json.loads((tmp_path / "table.json").read_text())
    assert (content["schema"], content["version"]) == ("mutualnet3d.query_table", 5)
    assert [(row["config"], row["backend"], row["views"]) for row in content["rows"][:3]] == [
        ("w1.0-s48-t8", "pytorch", "1 x 1"),  # the most expensive first, and of it the test's own row
        ("w1.0-s48-t8", "openvino-int8", "1 x 1"),
        ("w1.0-s48-t8", "pytorch", "1 x 3"),
    ]
    assert content["context"]["backends"]["pytorch"] == CONTEXT["backends"]["pytorch"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "not a query table"),
        ("[" * 100_000, "not a JSON file: .*recursion"),
        ('{"schema": "mutualnet3d.query_table"}', "version is None; it must be an integer from 1 to 5"),
        ('{"schema": "mutualnet3d.query_table", "version": "2"}', "version is '2'; it must be an integer from 1 to 5"),
        (
            '{"schema": "mutualnet3d.query_table", "version": true}',
            "version is True; it must be an integer from 1 to 5",
        ),
        ('{"schema": "mutualnet3d.query_table", "version": 2}', "context is None; it must be an object"),
        ('{"schema": "mutualnet3d.query_table", "version": 5, "context": {}}', "rows is None; it must be a list"),
        (
            '{"schema": "mutualnet3d.query_table", "version": 5, "context": {}, "rows": [7]}',
            "row 1 is 7; it must be an object",
        ),
        ('{"schema": "mutualnet3d.query_table", "version": 9}', "version 9; this release reads up to 5"),
    ],
)
def test_files_that_are_no_table(tmp_path, text, message):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"table\.json: {message}"):
        read_table(str(path))


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    path = tmp_path / "table.json"
    with pytest.raises(FileNotFoundError, match="no query table at"):
        read_table(str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"table\.json: not a JSON file"):
        read_table(str(path))


def test_numbers_of_any_length_are_an_error_of_one_line(tmp_path):
    path = tmp_path / "table.json"
    write_table(str(path), TABLE.rows, TABLE.context)
    text = path.read_text()
    for digits, message in ((400, r"row 5: gflops is beyond 1\.8e\+308"), (5000, "not a JSON file: ")):
        path.write_text(text.replace('"gflops": 0.1,', f'"gflops": 1{"0" * digits},'))
        with pytest.raises(ValueError, match=rf"table\.json: {message}") as caught:
            read_table(str(path))
        assert len(str(caught.value)) < 400
