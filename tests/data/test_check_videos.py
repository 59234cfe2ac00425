from __future__ import annotations

import os
import signal

import pytest
from PIL import Image

from mutualnet3d.data import check_videos as check
from mutualnet3d.data.check_videos import CheckSummary, Result, check_list, check_video, check_videos
from tests.conftest import numbered_frames, write_video


def die(path, min_frames):
    """Kill the process, as a decoder may; a stand-in for `check_video`."""
    if "broken" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{path} done"


def test_a_number_out_of_range():
    with pytest.raises(ValueError, match="min_frames is 0; allowed: 1 or more"):
        next(check_videos(["a.mp4"], min_frames=0))


def test_each_status_of_a_video(tmp_path, numbered_video):
    assert check_video(str(numbered_video)) == Result(str(numbered_video), "ok", "", 100)
    assert check_video(str(numbered_video), min_frames=100).status == "ok"
    short = check_video(str(numbered_video), min_frames=101)
    assert (short.status, short.reason, short.num_frames) == ("short", "100 frames, fewer than 101", 100)
    missing = check_video(str(tmp_path / "none.mp4"))
    assert (missing.status, missing.reason) == ("missing", "there is no such file")
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    bad = check_video(str(tmp_path / "text.mp4"))
    assert (bad.status, bad.num_frames) == ("bad", 0)
    assert bad.reason.startswith(f"{tmp_path / 'text.mp4'}: cannot be decoded: InvalidDataError")


def test_a_folder_of_pictures(tmp_path):
    for number, frame in enumerate(numbered_frames(12)):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    folder = str(tmp_path)
    assert check_video(folder) == Result(folder, "ok", "", 12)
    assert check_video(folder, min_frames=13).status == "short"
    (tmp_path / "11.png").write_bytes(b"no picture")
    bad = check_video(folder)
    assert (bad.status, bad.num_frames) == ("bad", 11)
    assert bad.reason.startswith(f"{tmp_path / '11.png'}: cannot be read: UnidentifiedImageError")
    (tmp_path / "empty").mkdir()
    bad = check_video(str(tmp_path / "empty"))
    assert bad.status == "bad"
    assert bad.reason.startswith(f"{tmp_path / 'empty'}: the folder has no picture; looked for .jpg")


def test_a_video_that_breaks_off_is_bad(tmp_path):
    whole = write_video(tmp_path / "whole.mkv", numbered_frames(50), g="1", preset="ultrafast")
    cut = bytearray(whole.read_bytes())
    cut[len(cut) // 4 : len(cut) * 3 // 4] = bytes(len(cut) // 2)
    (tmp_path / "cut.mkv").write_bytes(cut)
    result = check_video(str(tmp_path / "cut.mkv"))
    assert result.status == "bad"
    assert str(tmp_path / "cut.mkv") in result.reason


def test_errors_that_no_one_thought_of_are_bad_videos_too(monkeypatch, numbered_video):
    class Broken:
        def __init__(self, path):
            raise OverflowError("frame 3")

    monkeypatch.setattr(check, "open_video", Broken)
    assert check_video(str(numbered_video)).reason == f"{numbered_video}: cannot be decoded: OverflowError: frame 3"


def test_results_come_in_the_order_of_the_paths(tmp_path, numbered_video):
    paths = [str(numbered_video) if index % 2 else str(tmp_path / f"{index}.mp4") for index in range(7)]
    results = list(check_videos(paths, min_frames=1, workers=2))
    assert [result.path for result in results] == paths
    assert [result.status for result in results] == ["missing", "ok"] * 3 + ["missing"]


def test_a_crash_of_the_decoder_is_a_bad_video(monkeypatch):
    monkeypatch.setattr(check, "check_video", die)
    broken, good = check_videos(["broken.mp4", "good.mp4"])
    assert broken == Result("broken.mp4", "bad", "the process that worked on it died (SIGKILL)")
    assert good == "good.mp4 done"


@pytest.fixture
def mixed_list(tmp_path):
    """Two good videos, one that is missing, broken or short each; one good one is listed twice."""
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "good one.mp4", numbered_frames(8))
    write_video(folder / "other.mp4", numbered_frames(8))
    write_video(folder / "short.mp4", numbered_frames(3))
    (folder / "bad.mp4").write_text("no video, but a text")
    lines = ["good one.mp4 1", "bad.mp4 0", "gone.mp4 0", f"{folder / 'other.mp4'} 2", "short.mp4 1", "good one.mp4 3"]
    (folder / "train.csv").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_report_and_clean_list(mixed_list):
    output, clean = mixed_list / "reports" / "report.csv", mixed_list / "clean.csv"
    summary = check_list(
        str(mixed_list / "train.csv"), str(output), clean_list=str(clean), min_frames=4, workers=2, timeout=60
    )
    assert str(summary) == "6 videos: 3 ok, 1 missing, 1 bad, 1 short"
    assert not summary.all_ok
    assert CheckSummary(ok=2, missing=0, bad=0, short=0).all_ok
    header, bad, missing, short = output.read_text().splitlines()
    assert header == "path,status,reason"
    assert bad.startswith(f"{mixed_list / 'bad.mp4'},bad,")
    assert missing == f"{mixed_list / 'gone.mp4'},missing,there is no such file"
    assert short == f'{mixed_list / "short.mp4"},short,"3 frames, fewer than 4"'
    # An absolute path below the list's folder is the same relative to it.
    assert clean.read_text() == '"good one.mp4" 1\nother.mp4 2\n"good one.mp4" 3\n'
    assert sorted(path.name for path in mixed_list.iterdir() if "part" in path.name) == []


def test_a_clean_list_elsewhere_finds_its_videos(mixed_list, tmp_path):
    (mixed_list / "train.csv").write_text("other.mp4 2\n")
    clean = tmp_path / "lists" / "clean.csv"
    check_list(str(mixed_list / "train.csv"), str(tmp_path / "report.csv"), clean_list=str(clean))
    assert clean.read_text() == f"{mixed_list / 'other.mp4'} 2\n"
    above = tmp_path / "clean.csv"
    check_list(str(mixed_list / "train.csv"), str(tmp_path / "report.csv"), clean_list=str(above))
    assert above.read_text() == "videos/other.mp4 2\n"


def test_a_prefix_serves_the_clean_list_too(mixed_list, tmp_path):
    (tmp_path / "list.csv").write_text(f"other.mp4 2\n{mixed_list / 'good one.mp4'} 0\n/none.mp4 1\n")
    clean = tmp_path / "lists" / "clean.csv"
    prefix = str(mixed_list)
    check_list(str(tmp_path / "list.csv"), str(tmp_path / "report.csv"), clean_list=str(clean), path_prefix=prefix)
    assert clean.read_text() == 'other.mp4 2\n"good one.mp4" 0\n'


def test_names_as_labels(mixed_list, tmp_path):
    (mixed_list / "train.csv").write_text('other.mp4 "air drumming"\n')
    (tmp_path / "labels.json").write_text('{"abseiling": 0, "air drumming": 1}')
    check_list(
        str(mixed_list / "train.csv"),
        str(tmp_path / "report.csv"),
        clean_list=str(mixed_list / "clean.csv"),
        label_file=str(tmp_path / "labels.json"),
    )
    assert (mixed_list / "clean.csv").read_text() == "other.mp4 1\n"


def test_no_good_video_leaves_no_clean_list(mixed_list, tmp_path):
    (mixed_list / "train.csv").write_text("gone.mp4 0\n")
    output, clean = tmp_path / "report.csv", tmp_path / "clean.csv"
    with pytest.raises(
        ValueError, match=r"clean\.csv is not written: no video of .*train\.csv is ok; .*report\.csv says"
    ):
        check_list(str(mixed_list / "train.csv"), str(output), clean_list=str(clean))
    assert not clean.exists()
    assert len(output.read_text().splitlines()) == 2
