from __future__ import annotations

import json
import logging
import os
import signal
import time
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest

from mutualnet3d.data import prepare_videos as prepare
from mutualnet3d.data.prepare_videos import KEEP, REDO, PreparationSummary, prepare_videos, status_of
from mutualnet3d.data.shared_work import OtherWork, Sharing, read_part
from mutualnet3d.files.atomic import temporary_path
from mutualnet3d.video.errors import VideoEncodeError
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.transcode import Encoding
from tests.conftest import numbered_frames, write_video
from tests.copies import SERVER
from tests.damages import with_damaged_packets

SMALL = Encoding(short_side=32, keyframe_every=4, crf=0, preset="ultrafast")


def decoded(path: Path) -> list[np.ndarray]:
    with VideoReader(str(path)) as video:
        return [frame.copy() for frame in video.read(range(video.info.num_frames))]


@pytest.fixture
def data(tmp_path):
    """Two good videos and a broken one below `root`, and a list of them."""
    root = tmp_path / "root"
    (root / "a class").mkdir(parents=True)
    (root / "b").mkdir()
    write_video(root / "a class" / "one.MKV", numbered_frames(6))
    write_video(root / "b" / "two.mp4", numbered_frames(6))
    (root / "b" / "bad.avi").write_text("no video, but a text")
    (root / "train.csv").write_text("b/two.mp4 1\na class/one.MKV 0\nb/bad.avi 1\n")
    return root


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_data_set_is_prepared_and_gone_on_with(tmp_path, data):
    out = tmp_path / "out"
    lists = [str(data / "train.csv")]
    summary = prepare_videos(str(data), str(out), SMALL, lists=lists, workers=2)
    assert summary == PreparationSummary(encoded=2, present=0, failed=1)
    assert str(summary) == "3 videos: 2 encoded, 0 there already, 1 failed"
    assert files_below(out) == ["a class/one.mp4", "b/two.mp4", "failed.csv", "prepared.csv", "train.csv"]
    assert [frame.shape for frame in decoded(out / "a class" / "one.mp4")] == [(32, 42, 3)] * 6
    assert (out / "train.csv").read_text() == 'b/two.mp4 1\n"a class/one.mp4" 0\n'
    header, failed = (out / "failed.csv").read_text().splitlines()
    assert header == "path,reason"
    assert failed.startswith(f"{data / 'b' / 'bad.avi'},{data / 'b' / 'bad.avi'}: cannot be decoded: InvalidDataError")

    before = (out / "b" / "two.mp4").stat().st_mtime_ns
    (out / "a class" / "one.mp4").unlink()
    Path(temporary_path(str(out / "a class" / "one.mp4"), pid=4194305)).touch()  # a killed run's
    write_video(data / "b" / "bad.avi", numbered_frames(6), codec="libx264")  # mended
    assert prepare_videos(str(data), str(out), SMALL, lists=lists) == PreparationSummary(encoded=2, present=1, failed=0)
    assert (out / "b" / "two.mp4").stat().st_mtime_ns == before
    assert (out / "failed.csv").read_text() == "path,reason\n"
    assert (out / "train.csv").read_text() == 'b/two.mp4 1\n"a class/one.mp4" 0\nb/bad.mp4 1\n'
    assert prepare_videos(str(data), str(out), SMALL) == PreparationSummary(encoded=0, present=3, failed=0)


def test_other_settings_are_refused_redone_or_kept(tmp_path, data):
    out = tmp_path / "out"
    prepare_videos(str(data), str(out), SMALL)
    larger = replace(SMALL, short_side=40, crf=1)
    with pytest.raises(
        ValueError,
        match=r"out has 2 videos that were encoded with short_side 32, not 40, crf 0, not 1; --redo encodes them an",
    ):
        prepare_videos(str(data), str(out), larger)
    assert decoded(out / "b" / "two.mp4")[0].shape == (32, 42, 3)
    assert prepare_videos(str(data), str(out), larger, existing=KEEP) == PreparationSummary(0, 2, 1)
    with pytest.raises(ValueError, match="short_side 32, not 40"):  # they are still of the settings that they were
        prepare_videos(str(data), str(out), larger)
    assert prepare_videos(str(data), str(out), larger, existing=REDO) == PreparationSummary(2, 0, 1)
    assert decoded(out / "b" / "two.mp4")[0].shape == (40, 54, 3)
    assert prepare_videos(str(data), str(out), larger) == PreparationSummary(0, 2, 1)


def test_a_source_that_has_changed_is_encoded_anew(tmp_path, data, caplog):
    out = tmp_path / "out"
    prepare_videos(str(data), str(out), SMALL)
    write_video(data / "b" / "two.mp4", numbered_frames(9))
    with caplog.at_level(logging.INFO):
        assert prepare_videos(str(data), str(out), SMALL) == PreparationSummary(1, 1, 1)
    assert "1 videos are made anew, their sources have changed" in caplog.text
    assert len(decoded(out / "b" / "two.mp4")) == 9
    (data / "b" / "two.mp4").write_text("broken now")
    assert prepare_videos(str(data), str(out), SMALL) == PreparationSummary(0, 1, 2)
    assert not (out / "b" / "two.mp4").exists()


def test_files_without_a_record(tmp_path, data, caplog):
    """A run of an earlier release leaves none; a killed one may lack its last videos."""
    out = tmp_path / "out"
    prepare_videos(str(data), str(out), SMALL)
    record = (out / "prepared.csv").read_text()
    assert record.splitlines()[0] == "path,size,mtime_ns,short_side,keyframe_every,crf,preset,damages"
    (out / "prepared.csv").unlink()
    with pytest.raises(
        ValueError,
        match=r"out has 2 of the videos already, but no prepared\.csv that says what .* --keep takes them as they are",
    ):
        prepare_videos(str(data), str(out), SMALL)
    assert prepare_videos(str(data), str(out), SMALL, existing=KEEP) == PreparationSummary(0, 2, 1)
    assert (out / "prepared.csv").read_text() == record
    (out / "prepared.csv").unlink()
    assert prepare_videos(str(data), str(out), SMALL, existing=REDO) == PreparationSummary(2, 0, 1)
    (out / "prepared.csv").write_text(record[: record.rindex("b/two.mp4") + 12])  # in the middle of a line
    with caplog.at_level(logging.INFO):
        assert prepare_videos(str(data), str(out), SMALL) == PreparationSummary(1, 1, 1)
    assert "1 videos are made anew, prepared.csv does not have them" in caplog.text
    assert (out / "prepared.csv").read_text() == record


def test_class_names_and_missing_videos_come_with_the_lists(tmp_path, data):
    out = tmp_path / "out"
    (data / "labels.json").write_text('{"jump": 0, "run": 1}')
    missing = "label,youtube_id,time_start,time_end,split\nrun,abc,1,11,train\n"
    (data / "missing.csv").write_text(missing)
    (data / "report.csv").write_text("path,status,reason,note,listed_at\n")
    lists = [str(data / f"{name}.csv") for name in ("missing", "report", "train")]
    prepare_videos(str(data), str(out), SMALL, lists=lists)
    assert json.loads((out / "labels.json").read_text()) == {"jump": 0, "run": 1}
    assert (out / "missing.csv").read_text() == missing
    assert not (out / "report.csv").exists()
    assert (out / "train.csv").read_text() == 'b/two.mp4 1\n"a class/one.mp4" 0\n'

    (tmp_path / "names.txt").write_text("run\njump\n")
    with pytest.raises(
        ValueError, match=r"names\.txt and .*out/labels\.json have different names of classes; one labels\.json cannot"
    ):
        prepare_videos(str(data), str(out), SMALL, lists=lists, label_file=str(tmp_path / "names.txt"))
    other = tmp_path / "named"
    (data / "train.csv").write_text("b/two.mp4 run\n")
    prepare_videos(str(data), str(other), SMALL, lists=lists, label_file=str(tmp_path / "names.txt"))
    assert (other / "train.csv").read_text() == "b/two.mp4 0\n"
    assert json.loads((other / "labels.json").read_text()) == {"run": 0, "jump": 1}
    with pytest.raises(ValueError, match=r"none of .*missing\.csv, .*report\.csv is a list of videos"):
        prepare_videos(str(data), str(out), SMALL, lists=lists[:2])


def die_in_the_middle(job, encoding):
    source, target = job
    if "two" in source:
        with open(temporary_path(target), "w") as file:
            file.write("half a video")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_a_process_that_dies_leaves_no_half_file(tmp_path, data, monkeypatch):
    monkeypatch.setattr(prepare, "_encode", die_in_the_middle)
    summary = prepare_videos(str(data), str(tmp_path / "out"), SMALL)
    assert summary.failed == 1
    assert files_below(tmp_path / "out") == ["failed.csv", "prepared.csv"]
    reason = (tmp_path / "out" / "failed.csv").read_text().splitlines()[1]
    assert reason == f"{data / 'b' / 'two.mp4'},the process that worked on it died (SIGKILL)"


def test_trouble_with_one_video_and_with_all(tmp_path, monkeypatch, numbered_video):
    (tmp_path / "file").touch()
    job = str(numbered_video), str(tmp_path / "file" / "out.mp4")
    result = prepare._encode(job, SMALL)
    assert isinstance(result, prepare._NoOutput)
    assert result.reason.startswith(f"{tmp_path / 'file' / 'out.mp4'}: FileExistsError: ")

    error = ValueError("width not divisible")

    def refuse(source, target, encoding):
        raise error

    monkeypatch.setattr(prepare, "transcode", refuse)
    result = prepare._encode(job, SMALL)
    assert isinstance(result, prepare._Failed)
    assert result.reason == f"{numbered_video}: cannot be encoded: ValueError: width not divisible"
    error = VideoEncodeError("out.mp4: cannot be encoded: ExternalError: x264")
    result = prepare._encode(job, SMALL)
    assert isinstance(result, prepare._Failed)
    assert result.reason == f"{numbered_video}: out.mp4: cannot be encoded: ExternalError: x264"


def test_output_that_cannot_be_written_stops_the_run(tmp_path, data):
    out = tmp_path / "out"
    prepare_videos(str(data), str(out), SMALL)
    (out / "b" / "two.mp4").unlink()
    (out / "b" / "two.mp4").mkdir()  # in the way
    with pytest.raises(OSError, match=r"out/b/two\.mp4: IsADirectoryError"):
        prepare_videos(str(data), str(out), SMALL)
    assert [name for name in files_below(out) if ".tmp" in name] == []


def test_a_video_with_a_damaged_packet_is_prepared(tmp_path, data):
    out = tmp_path / "out"
    whole = write_video(tmp_path / "whole.mp4", numbered_frames(6), codec="libx264", g="1", crf="0", bf="0")
    with_damaged_packets(whole, data / "b" / "bad.avi", [2])
    summary = prepare_videos(str(data), str(out), SMALL, lists=[str(data / "train.csv")])
    assert str(summary) == ("3 videos: 3 encoded (1 of damaged sources, see prepared.csv), 0 there already, 0 failed")
    assert len(decoded(out / "b" / "bad.mp4")) == 5
    assert (out / "train.csv").read_text().endswith("b/bad.mp4 1\n")
    damages = [line.split(",")[0::7] for line in (out / "prepared.csv").read_text().splitlines()]
    assert damages[0] == ["path", "damages"]
    assert sorted(damages[1:]) == [
        ["a class/one.MKV", "0"],
        ["b/bad.avi", "1"],
        ["b/two.mp4", "0"],
    ]
    assert prepare_videos(str(data), str(out), SMALL) == PreparationSummary(encoded=0, present=3, failed=0)


def test_two_videos_of_one_name(tmp_path, data):
    (data / "b" / "two.webm").touch()
    with pytest.raises(ValueError, match=r"root: b/two\.mp4 and b/two\.webm would both become b/two\.mp4; rename one"):
        prepare_videos(str(data), str(tmp_path / "out"), SMALL)
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_prepared(tmp_path, data):
    with pytest.raises(FileNotFoundError, match=r"no folder at .*none"):
        prepare_videos(str(tmp_path / "none"), str(tmp_path / "out"), SMALL)
    with pytest.raises(ValueError, match=r"root/out lies in .*root; the next run would take its videos for new ones"):
        prepare_videos(str(data), str(data / "out"), SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no video; looked for \.mp4 \.avi"):
        prepare_videos(str(tmp_path / "empty"), str(tmp_path / "out"), SMALL)


def test_lists_that_cannot_be_rewritten(tmp_path, data):
    out = tmp_path / "out"
    elsewhere = tmp_path / "train.csv"
    elsewhere.write_text("root/b/two.mp4 1\nother/three.mp4 0\n")
    with pytest.raises(
        ValueError, match=r"train\.csv:2: .*other/three\.mp4 does not lie below .*root, whose videos are"
    ):
        prepare_videos(str(data), str(out), SMALL, lists=[str(elsewhere)])
    with pytest.raises(ValueError, match=r"train\.csv: two lists have this name; both would become .*out/train\.csv"):
        prepare_videos(str(data), str(out), SMALL, lists=[str(elsewhere), str(data / "train.csv")])
    with pytest.raises(ValueError, match=r"train\.csv: the new list would take the place of this one; choose another"):
        prepare_videos(str(data), str(tmp_path), SMALL, lists=[str(elsewhere)])
    assert files_below(tmp_path) == [
        "root/a class/one.MKV",
        "root/b/bad.avi",
        "root/b/two.mp4",
        "root/train.csv",
        "train.csv",
    ]


@pytest.fixture
def many(tmp_path):
    """Return a folder of 20 videos in three classes, every seventh of them broken, and a list of them."""
    root, lines = tmp_path / "many", []
    for number in range(20):
        path = root / f"class {number % 3}" / f"{number}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, numbered_frames(4, 16 + 2 * number, 24), codec="libx264")
        if number % 7 == 3:
            path.write_text("no video, but a text")
        lines.append(f"{path.relative_to(root)},{number % 3}\n")
    (root / "train.csv").write_text("".join(lines))
    return root


def content_of(folder):
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


def prepare_in_a_copy(arguments, kill_after):
    """Prepare videos in a process that kills itself after so many, if it is told to."""
    # The server that this process is a copy of runs, and has loaded all.
    forkserver._forkserver.ensure_running = lambda: None
    record_of, numbers = prepare._record_of, iter(range(1, 1000))

    def record_or_die(outcome):
        if next(numbers) == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return record_of(outcome)

    prepare._record_of = record_or_die
    lists = [f"{arguments[0]}/train.csv"]
    prepare_videos(*arguments, lists=lists, separator=",", workers=2, sharing=Sharing(block=4))


def test_processes_that_share_the_work_have_the_result_of_one(tmp_path, many):
    """One is killed in the middle of a block, while the others work."""
    alone, out = tmp_path / "alone", tmp_path / "out"
    lists = [str(many / "train.csv")]
    summary = prepare_videos(str(many), str(alone), SMALL, lists=lists, separator=",", workers=2)
    assert str(summary) == "20 videos: 17 encoded, 0 there already, 3 failed"

    arguments = str(many), str(out), SMALL
    processes = [SERVER.Process(target=prepare_in_a_copy, args=(arguments, kill_after)) for kill_after in (2, 0, 0)]
    processes[0].start()
    deadline = time.monotonic() + 300.0
    while not list(out.glob("prepared.csv.work/0*.claim")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for process in processes[1:]:
        process.start()
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [-signal.SIGKILL, 0, 0]
    content = content_of(out)
    assert json.loads(content.pop("prepared.csv.work/finish.done"))["result"]["failed"] == 3
    assert content == content_of(alone)
    assert status_of(str(out)) == str(summary)
    # Alone again: the work is finished, and its folder goes.
    assert str(prepare_videos(*arguments)) == "20 videos: 0 encoded, 17 there already, 3 failed"
    assert not (out / "prepared.csv.work").exists()


def test_a_shared_work_goes_on_after_all_are_killed(tmp_path, many):
    out = tmp_path / "out"
    arguments = str(many), str(out), SMALL
    killed = SERVER.Process(target=prepare_in_a_copy, args=(arguments, 7))
    killed.start()
    killed.join(600)
    assert killed.exitcode == -signal.SIGKILL
    assert status_of(str(out)).startswith("20 videos: ")
    reported = [pair for path in out.glob("prepared.csv.work/*.part") for pair in read_part(str(path))]
    assert len(reported) == 6 - 4 * len(list(out.glob("prepared.csv.work/0*.done")))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    assert len(before) >= 4
    with pytest.raises(ValueError, match=r"prepared\.csv\.work is of a work that several processes share, and"):
        prepare_videos(*arguments)
    with pytest.raises(OtherWork, match=r"it has crf 0, not 1, separator ,, not  , .*\.csv with SHA-256 \w+, not none"):
        prepare_videos(str(many), str(out), replace(SMALL, crf=1), sharing=Sharing(block=4))
    summary = prepare_videos(*arguments, lists=[f"{many}/train.csv"], separator=",", sharing=Sharing(block=4))
    assert summary == PreparationSummary(encoded=17, present=0, failed=3)
    changed = [path for path, time_ns in before.items() if path.stat().st_mtime_ns != time_ns]
    # The seventh, whose report the kill prevented, and one of each worker that ended it nevertheless.
    assert len(changed) <= 3
    assert content_of(out)["failed.csv"].count(b"\n") == 4
    # Others join a work of the same videos alone.
    (many / "class 0" / "new.mp4").touch()
    with pytest.raises(OtherWork, match=r"it has other videos now; this work is finished.*remove that folder to begin"):
        prepare_videos(*arguments, lists=[f"{many}/train.csv"], separator=",", sharing=Sharing(block=4))


def test_a_shared_work_leaves_what_is_there(tmp_path, data):
    out = tmp_path / "out"
    prepare_videos(str(data), str(out), SMALL)
    with pytest.raises(ValueError, match="2 videos that were encoded with crf 0, not 1; --redo encodes them anew"):
        prepare_videos(str(data), str(out), replace(SMALL, crf=1), sharing=Sharing())
    (out / "b" / "two.mp4").unlink()
    assert prepare_videos(str(data), str(out), SMALL, sharing=Sharing()) == PreparationSummary(1, 1, 1)
    assert "b/two.mp4" in files_below(out)
    assert (out / "prepared.csv").read_text().count("\n") == 3
