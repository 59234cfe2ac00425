from __future__ import annotations

import ast
import json
import logging
import os
from pathlib import Path

import pytest

import mutualnet3d
from mutualnet3d.log import JsonLines, duration, logger, printable, progress, read_records, setup_logging


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7650, "2 h 07 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Yoga im Grünen, 瑜伽", "Yoga im Grünen, 瑜伽"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\nc", "a\\rb\\nc"),
        ("\u202egpj.mp4", "\\u202egpj.mp4"),
        ("\x9b31m \x7f \udcff", "\\x9b31m \\x7f \\udcff"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert printable(text) == shown
    assert printable("a\nb\r", keep="\n") == "a\nb\\r"


def test_the_log_obeys_no_name(tmp_path, capsys):
    for rank in (1, 0):  # the first one last: its state is the process's
        setup_logging(str(tmp_path), rank=rank)
        logger.warning("%s\nnext", "\x1b[2J.mp4")
        printed = capsys.readouterr()
        assert "\\x1b[2J.mp4\nnext\n" in printed.out + printed.err
    assert "\x1b" not in (tmp_path / "log.txt").read_text()


def test_json_lines_append_and_are_strict_json(tmp_path):
    for loss in (1.5, float("nan")):
        JsonLines(str(tmp_path / "log.jsonl")).write({"loss": loss})
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        {"loss": 1.5},
        {"loss": None},
    ]


def test_log_goes_to_the_terminal_and_the_file_and_debugging_to_the_file_alone(tmp_path, capsys):
    setup_logging(str(tmp_path / "first"))
    setup_logging(str(tmp_path / "second"))
    logger.info("for people")
    logger.debug("for us")
    assert "for people" in capsys.readouterr().out
    text = (tmp_path / "second" / "log.txt").read_text()
    assert "for people" in text
    assert "for us" in text
    assert (tmp_path / "first" / "log.txt").read_text() == ""


@pytest.mark.parametrize(
    ("is_terminal", "no_colour", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_warnings_and_errors_have_a_colour_on_a_terminal(
    tmp_path, capsys, monkeypatch, is_terminal, no_colour, coloured
):
    monkeypatch.setenv("NO_COLOR", no_colour)
    setup_logging(str(tmp_path))
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    logger.info("step")
    logger.warning("slow")
    logger.error("broken")
    plain, yellow, red = capsys.readouterr().out.splitlines()
    assert plain.endswith("step")
    for line, code, text in ((yellow, "\x1b[33m", "slow"), (red, "\x1b[31m", "broken")):
        assert line.startswith(code) is coloured
        assert line.endswith(f"{text}\x1b[0m" if coloured else text)
    assert "\x1b" not in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_bar_on_a_terminal_and_lines_otherwise(monkeypatch, capsys, caplog, terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger="mutualnet3d"):
        assert list(progress(range(4), 4, "counting", period_seconds=0.0)) == [0, 1, 2, 3]
    assert ("counting: 2 of 4" in caplog.text) is not terminal
    assert ("counting:" in capsys.readouterr().err) is terminal


def test_of_a_jobs_processes_one_speaks(tmp_path, capsys):
    try:
        setup_logging(str(tmp_path / "other"), rank=3)
        logger.info("not for everyone")
        logger.warning("a warning")
        JsonLines(str(tmp_path / "log.jsonl")).write({"a": 1})
        assert list(progress([1, 2], 2, "going", period_seconds=0)) == [1, 2]
        shown = capsys.readouterr()
        assert (shown.out, shown.err) == ("", "[rank 3] a warning\n")
        assert list(tmp_path.iterdir()) == []
    finally:
        setup_logging(str(tmp_path / "main"))


def test_records_go_to_further_sinks_too(tmp_path):
    written = []

    class Sink:
        def write(self, record):
            written.append(record)

    records = JsonLines(str(tmp_path / "log.jsonl"))
    records.sinks.append(Sink())
    records.write({"a": 1})
    assert written == [{"a": 1}]


WHOLE = b'{"kind": "train", "step": 1}'


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        (b"", b""),
        (WHOLE + b"\n", WHOLE + b"\n"),
        (WHOLE, WHOLE + b"\n"),  # the end of the line alone is missing
        (WHOLE + b"\n" + WHOLE, WHOLE + b"\n" + WHOLE + b"\n"),
        (WHOLE + b"\n" + WHOLE[:-1], WHOLE + b"\n"),
        (WHOLE[:9], b""),
        (WHOLE + b"\n" + bytes(200_000), WHOLE + b"\n"),  # zeros after a power cut, more than a block
        (WHOLE + b"\n12", WHOLE + b"\n"),
        (WHOLE + b"\n\xff\xfe", WHOLE + b"\n"),
        (WHOLE + b"\n" + b"[" * 100_000, WHOLE + b"\n"),
    ],
)
def test_a_record_is_not_glued_to_a_line_that_was_cut_off(tmp_path, before, kept):
    path = tmp_path / "log.jsonl"
    path.write_bytes(before)
    records = JsonLines(str(path))
    records.write({"step": 2})
    assert path.read_bytes() == kept + b'{"step": 2}\n'
    with open(path, "ab") as file:
        file.write(b'{"step": 3, "lo')  # a full disk, while the run goes on
    records.write({"step": 4})
    assert path.read_bytes() == kept + b'{"step": 2}\n{"step": 4}\n'


def test_damaged_lines_are_left_out_with_a_warning(tmp_path, caplog):
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        WHOLE + b"\n" + WHOLE[:9] + WHOLE + b"\n12\n\xff\n" + bytes(100) + b"\n" + WHOLE + b"\n" + WHOLE[:9]
    )
    logger.propagate = True
    assert read_records(str(path)) == [{"kind": "train", "step": 1}] * 2
    assert caplog.messages == [f"{path}: 4 of 6 lines are damaged, and left out"]
    path.write_bytes(WHOLE + b"\n" + WHOLE)
    assert len(read_records(str(path))) == 2
    with pytest.raises(FileNotFoundError, match="none"):
        read_records(str(tmp_path / "none"))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="fifo: a log must be a file"):
        read_records(str(tmp_path / "fifo"))


def test_an_endless_line_of_a_log_is_read_in_parts(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("mutualnet3d.log._LONGEST_RECORD", 64)
    path = tmp_path / "log.jsonl"
    path.write_bytes(WHOLE + b"\n" + b"a" * 150 + b"\n" + WHOLE + b"\n")
    logger.propagate = True
    assert len(read_records(str(path))) == 2
    assert caplog.messages == [f"{path}: 3 of 5 lines are damaged, and left out"]


def test_a_line_of_text_is_not_glued_to_one_that_was_cut_off(tmp_path):
    (tmp_path / "log.txt").write_text("[11-27 06:27:10] step 1/4, ep")
    setup_logging(str(tmp_path))
    logger.info("resumed")
    first, second = (tmp_path / "log.txt").read_text().splitlines()
    assert first == "[11-27 06:27:10] step 1/4, ep"
    assert second.endswith("] resumed")


@pytest.mark.parametrize("name", ["log.txt", "log.jsonl"])
def test_a_log_that_cannot_be_written_is_an_error_with_its_name(name, tmp_path):
    (tmp_path / name).symlink_to("/dev/full")
    setup_logging(str(tmp_path))
    write = {"log.txt": logger.info, "log.jsonl": JsonLines(str(tmp_path / name)).write}[name]
    with pytest.raises(OSError, match=rf"No space left on device: '.*{name}'"):
        write({"kind": "train"})


# ---- all that is printed ----


def unescaped_prints(code: str) -> list[int]:
    """Return the lines of calls that print something else than a constant or what `printable` gave."""
    lines = []
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name not in ("print", "tqdm.write", "sys.stdout.write", "sys.stderr.write"):
            continue
        # What was put together of parts is escaped part by part: "\n".join(map(printable, lines)).
        if not all(isinstance(arg, ast.Constant) or "printable" in ast.unparse(arg) for arg in node.args):
            lines.append(node.lineno)
    return lines


def test_all_that_is_printed_is_escaped():
    """Names of files, classes and devices are other people's."""
    package = Path(mutualnet3d.__file__).parent
    prints = {str(path.relative_to(package)): unescaped_prints(path.read_text()) for path in package.rglob("*.py")}
    # The log's own handler, whose formatter escapes.
    assert {name: len(lines) for name, lines in prints.items() if lines} == {"log.py": 1}


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("print()\nprint('a', file=file)\nprint(printable(text))", []),
        ("x = 1\nprint(text)", [2]),
        ("print('a', f'{name}: written')", [1]),
        ("sys.stderr.write(str(error))", [1]),
    ],
)
def test_what_is_printed_without_escapes_is_seen(code, lines):
    assert unescaped_prints(code) == lines
