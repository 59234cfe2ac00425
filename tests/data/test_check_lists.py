from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from mutualnet3d.data.check_lists import CheckSummary, check_lists, status_of
from mutualnet3d.data.check_videos import DAMAGED, FEWER, SHARED
from mutualnet3d.data.shared_work import OtherWork, Sharing
from tests.conftest import numbered_frames, write_video


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
    summary = check_lists(
        [str(mixed_list / "train.csv")], str(output), clean_lists=[str(clean)], min_frames=4, workers=2, timeout=60
    )
    assert str(summary) == "6 videos: 3 ok, 1 missing, 1 bad, 1 short"
    assert not summary.all_ok
    assert CheckSummary(ok=2, missing=0, bad=0, short=0).all_ok
    header, bad, missing, short = output.read_text().splitlines()
    assert header == "path,status,reason,note,listed_at"
    listed = mixed_list / "train.csv"
    assert bad.startswith(f"{mixed_list / 'bad.mp4'},bad,")
    assert bad.endswith(f",,{listed}:2")
    assert missing == f"{mixed_list / 'gone.mp4'},missing,there is no such file,,{listed}:3"
    assert short == f'{mixed_list / "short.mp4"},short,"3 frames, fewer than 4",,{listed}:5'
    # An absolute path below the list's folder is the same relative to it.
    assert clean.read_text() == '"good one.mp4" 1\nother.mp4 2\n"good one.mp4" 3\n'
    assert sorted(path.name for path in mixed_list.iterdir() if "part" in path.name) == []


def test_a_clean_list_elsewhere_finds_its_videos(mixed_list, tmp_path):
    (mixed_list / "train.csv").write_text("other.mp4 2\n")
    clean = tmp_path / "lists" / "clean.csv"
    check_lists([str(mixed_list / "train.csv")], str(tmp_path / "report.csv"), clean_lists=[str(clean)])
    assert clean.read_text() == f"{mixed_list / 'other.mp4'} 2\n"
    above = tmp_path / "clean.csv"
    check_lists([str(mixed_list / "train.csv")], str(tmp_path / "report.csv"), clean_lists=[str(above)])
    assert above.read_text() == "videos/other.mp4 2\n"


def test_a_prefix_serves_the_clean_list_too(mixed_list, tmp_path):
    (tmp_path / "list.csv").write_text(f"other.mp4 2\n{mixed_list / 'good one.mp4'} 0\n/none.mp4 1\n")
    clean = tmp_path / "lists" / "clean.csv"
    prefix = str(mixed_list)
    check_lists(
        [str(tmp_path / "list.csv")], str(tmp_path / "report.csv"), clean_lists=[str(clean)], path_prefix=prefix
    )
    assert clean.read_text() == 'other.mp4 2\n"good one.mp4" 0\n'


def test_names_as_labels(mixed_list, tmp_path):
    (mixed_list / "train.csv").write_text('other.mp4 "air drumming"\n')
    (tmp_path / "labels.json").write_text('{"abseiling": 0, "air drumming": 1}')
    check_lists(
        [str(mixed_list / "train.csv")],
        str(tmp_path / "report.csv"),
        clean_lists=[str(mixed_list / "clean.csv")],
        label_file=str(tmp_path / "labels.json"),
    )
    assert (mixed_list / "clean.csv").read_text() == "other.mp4 1\n"


def test_no_good_video_leaves_no_clean_list(mixed_list, tmp_path):
    (mixed_list / "train.csv").write_text("gone.mp4 0\n")
    output, clean = tmp_path / "report.csv", tmp_path / "clean.csv"
    with pytest.raises(
        ValueError, match=r"clean\.csv is not written: no video of .*train\.csv is ok; .*report\.csv says"
    ):
        check_lists([str(mixed_list / "train.csv")], str(output), clean_lists=[str(clean)])
    assert not clean.exists()
    assert len(output.read_text().splitlines()) == 2


def test_several_lists_and_what_they_share(tmp_path, caplog):
    for number in range(4):
        write_video(tmp_path / f"{number}.mp4", numbered_frames(4 + number))
    shutil.copy(tmp_path / "1.mp4", tmp_path / "copy.mp4")
    files = {"train": "0.mp4 0\n1.mp4 1\n2.mp4 1\n", "val": "2.mp4 1\ncopy.mp4 1\n3.mp4 0\n"}
    files["test"] = files["val"]
    paths = {name: tmp_path / f"{name}.csv" for name in files}
    for name, text in files.items():
        paths[name].write_text(text)
    report, clean = tmp_path / "report.csv", [str(tmp_path / f"{name}_clean.csv") for name in files]
    with caplog.at_level(logging.WARNING):
        summary = check_lists([str(path) for path in paths.values()], str(report), clean_lists=clean)
    assert summary == CheckSummary(9, 0, 0, 0, {FEWER: 0, DAMAGED: 0, SHARED: 4})
    assert str(summary) == "9 videos: 9 ok, 0 missing, 0 bad, 0 short; 4 in another list too"
    assert [record.getMessage() for record in caplog.records] == [
        f"{paths[name]}: 2 of 3 videos are in {paths['train']} too, 1 of them as another file of the same content; the "
        f"first: {tmp_path}/2.mp4, listed at {paths['train']}:3 too"
        for name in ("val", "test")
    ]
    assert report.read_text().splitlines()[1:3] == [
        f"{tmp_path}/2.mp4,ok,,listed at {paths['train']}:3 too,{paths['val']}:1",
        f"{tmp_path}/copy.mp4,ok,,the same file as {tmp_path}/1.mp4 ({paths['train']}:2),{paths['val']}:2",
    ]
    assert Path(clean[1]).read_text() == files["val"]
    with pytest.raises(ValueError, match=r"3 lists need as many clean lists, got 1"):
        check_lists([str(path) for path in paths.values()], str(report), clean_lists=clean[:1])


def test_a_shared_check_says_what_a_check_alone_says(mixed_list, tmp_path):
    shutil.copy(mixed_list / "other.mp4", mixed_list / "copy.mp4")
    (mixed_list / "val.csv").write_text("copy.mp4 2\ngood one.mp4 0\n")
    lists = [str(mixed_list / "train.csv"), str(mixed_list / "val.csv")]
    summaries, texts = [], []
    for sharing in (None, Sharing(block=2), Sharing(block=2)):  # the last comes when all is done
        output, clean = tmp_path / "report.csv", [str(tmp_path / "train.csv"), str(tmp_path / "val.csv")]
        summaries.append(check_lists(lists, str(output), clean_lists=clean, min_frames=4, workers=2, sharing=sharing))
        texts.append([(tmp_path / name).read_text() for name in ("report.csv", "train.csv", "val.csv")])
    assert str(summaries[0]) == "8 videos: 5 ok, 1 missing, 1 bad, 1 short; 2 in another list too"
    assert summaries == [summaries[0]] * 3
    assert texts == [texts[0]] * 3
    assert status_of(str(tmp_path / "report.csv")) == str(summaries[0])
    with pytest.raises(OtherWork, match=r"report\.csv\.work is of .*: it has min_frames 4, not 1, clean lists \["):
        check_lists(lists, str(tmp_path / "report.csv"), sharing=Sharing(block=2))
    (mixed_list / "val.csv").write_text("copy.mp4 2\n")
    with pytest.raises(OtherWork, match=r"it has .*val\.csv with SHA-256 \w{64}, not with SHA-256 \w{64}"):
        check_lists(lists, str(output), clean_lists=clean, min_frames=4, sharing=Sharing(block=2))
