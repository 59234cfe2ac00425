from __future__ import annotations

import json
import logging
import re

import pytest

from mutualnet3d.data.find_videos import FoundVideos, find_videos
from mutualnet3d.data.lists import Video
from mutualnet3d.data.ssv2 import read_ssv2, read_ssv2_frames, read_ssv2_videos
from tests.data.test_frame_lists import write_list

LABELS = {"Holding something": "0", "Moving something and something closer": "1", "Letting something drop": "2"}
ENTRIES = [
    {
        "id": "74225",
        "label": "moving a cup and a pen closer",
        "template": "Moving [something] and [something] closer",
        "placeholders": ["a cup", "a pen"],
    },
    {"id": "86", "label": "holding a pen", "template": "Holding [something]", "placeholders": ["a pen"]},
]


def write_json(folder, entries=ENTRIES, split="validation", labels=LABELS, prefix="something-something-v2-"):
    """Write the official files; return the path of the split's."""
    (folder / f"{prefix}labels.json").write_text(json.dumps(labels))
    path = folder / f"{prefix}{split}.json"
    path.write_text(json.dumps(entries))
    return str(path)


@pytest.mark.parametrize("prefix", ["something-something-v2-", ""])
@pytest.mark.parametrize(("split", "name"), [("train", "train"), ("val", "validation"), ("test", "validation")])
def test_the_class_is_the_template_without_brackets(tmp_path, prefix, split, name):
    path = write_json(tmp_path, split=name, prefix=prefix)
    assert read_ssv2_videos(str(tmp_path), split, 3) == [
        Video(f"{tmp_path}/20bn-something-something-v2/74225.webm", 1, f"{path}: entry 1 (id 74225)"),
        Video(f"{tmp_path}/20bn-something-something-v2/86.webm", 0, f"{path}: entry 2 (id 86)"),
    ]


def test_videos_are_where_the_first_is(tmp_path):
    write_json(tmp_path)
    places = []
    for name in ("", "videos", "20bn-something-something-v2"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "74225.webm").touch()
        places.append(read_ssv2_videos(str(tmp_path), "val", 3)[1].path)
    assert places == [
        str(tmp_path / name) for name in ("86.webm", "videos/86.webm", "20bn-something-something-v2/86.webm")
    ]
    assert read_ssv2_videos(str(tmp_path), "val", 3, path_prefix="s3://b/v")[1].path == "s3://b/v/86.webm"


def test_ids_may_be_numbers(tmp_path):
    write_json(tmp_path, [{"id": 86, "template": "Holding [something]"}])
    assert read_ssv2_videos(str(tmp_path), "val", 3, path_prefix="/v")[0].path == "/v/86.webm"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"id": "1"}, r"-validation\.json: expected a list of entries with `id` and `template`, got \{'id': '1'\}"),
        ([], r"-validation\.json: expected a list of entries with `id` and `template`, got \[\]"),
        ([ENTRIES[0], 7], r"-validation\.json: entry 2: an entry must have `id` and `template`, got 7"),
        (
            [{"id": "5"}],
            r"-validation\.json: entry 1 \(id 5\): an entry must have `id` and `template`, got \{'id': '5'\}",
        ),
        ([{"id": "", "template": "x"}], r"-validation\.json: entry 1: an entry must have `id` and `template`"),
        (
            [{"id": "5", "template": "Hoding [something]"}],
            r"-validation\.json: entry 1 \(id 5\): the template 'Hoding something' is no class in .*v2-labels\.json; "
            r"close to it: 'Holding something'",
        ),
        (
            [{"id": "5", "template": "Letting something drop"}],
            r"entry 1 \(id 5\): label must be a class from 0 to 1, got 2 \('Letting something drop'\)",
        ),
        (
            [*ENTRIES, ENTRIES[0]],
            r"entry 3 \(id 74225\): ids must differ, but this one is at .*entry 1 \(id 74225\) already",
        ),
    ],
)
def test_entries_that_cannot_be(tmp_path, entries, message):
    write_json(tmp_path, entries)
    with pytest.raises(ValueError, match=message):
        read_ssv2_videos(str(tmp_path), "val", 2)


def test_files_that_are_not_json(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    (tmp_path / "train.json").write_text('[\n{"id": "1"\n')
    with pytest.raises(ValueError, match=r"train\.json:3: the file must be JSON: "):
        read_ssv2_videos(str(tmp_path), "train", 3)


@pytest.mark.parametrize("read", [read_ssv2, read_ssv2_videos, read_ssv2_frames])
def test_no_such_split(tmp_path, read):
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'validation'"):
        read(str(tmp_path), "validation", 3)


JSON_FILES = "something-something-v2-validation.json, validation.json"


@pytest.mark.parametrize(
    ("read", "files", "message"),
    [
        (read_ssv2, (), f"no list of the split 'test' in FOLDER; looked for val.csv, {JSON_FILES}"),
        (read_ssv2_videos, (), f"no JSON file of the split 'test' in FOLDER; looked for {JSON_FILES}"),
        (
            read_ssv2_videos,
            ("validation.json",),
            "no file of labels in FOLDER; looked for something-something-v2-labels.json, labels.json",
        ),
        (read_ssv2_frames, ("validation.json",), "no frame list of the split 'test' in FOLDER; looked for val.csv"),
        (
            read_ssv2_frames,
            ("validation.json", "val.csv"),
            "no file of labels in FOLDER; looked for something-something-v2-labels.json, labels.json",
        ),
    ],
)
def test_missing_files_are_named(tmp_path, read, files, message):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message.replace('FOLDER', str(tmp_path)))}$"):
        read(str(tmp_path), "test", 3)


def test_frame_lists_take_labels_from_the_json_by_id(tmp_path):
    path = write_json(tmp_path)
    rows = ['86 0 0 86/86_000001.jpg ""', '86 0 1 86/86_000002.jpg "2"', '74225 1 0 74225/74225_000001.jpg ""']
    write_list(tmp_path, *rows)
    videos = read_ssv2_frames(str(tmp_path), "val", 3, path_prefix="/frames")
    assert videos == [
        Video("/frames/74225", 1, f"{path}: entry 1 (id 74225)", pictures="74225_000001.jpg"),
        Video("/frames/86", 0, f"{path}: entry 2 (id 86)", pictures="86_000001.jpg\n86_000002.jpg"),
    ]
    assert videos[1].picture_paths == ["/frames/86/86_000001.jpg", "/frames/86/86_000002.jpg"]
    assert read_ssv2_frames(str(tmp_path), "test", 3)[0].path == f"{tmp_path}/74225"


def test_videos_without_pictures_are_reported_as_missing(tmp_path):
    write_json(tmp_path)
    write_list(tmp_path, '86 0 0 86/86_000001.jpg ""')
    for name in ("86", "74225"):
        (tmp_path / name).mkdir()
    (tmp_path / "86" / "86_000001.jpg").touch()
    videos = read_ssv2_frames(str(tmp_path), "val", 3)
    assert (videos[0].path, videos[0].pictures) == (f"{tmp_path}/74225", "")
    assert find_videos(videos) == FoundVideos(existing=[videos[1]], missing=[videos[0]])


def test_pictures_of_videos_that_no_json_file_has_are_left_out(tmp_path, caplog):
    write_json(tmp_path)
    listed = write_list(tmp_path, '86 0 0 86/1.jpg ""', '9 1 0 9/1.jpg ""', '10 2 0 10/1.jpg ""')
    with caplog.at_level(logging.WARNING, "mutualnet3d"):
        assert len(read_ssv2_frames(str(tmp_path), "val", 3)) == 2
    assert caplog.messages == [
        f"{listed}: 2 of 3 videos are left out: no JSON file has them; the first is 9, at line 3"
    ]


def test_labels_of_the_list_where_there_is_no_json(tmp_path):
    rows = ('86 0 0 86/1.jpg "2,1"', "86 0 1 86/2.jpg 2", "", "7 1 0 7/1.jpg 0")
    path = write_list(tmp_path, *rows, name="train.csv")
    assert read_ssv2_frames(str(tmp_path), "train", 3, path_prefix="f") == [
        Video("f/86", 2, f"{path}:2", pictures="1.jpg\n2.jpg"),
        Video("f/7", 0, f"{path}:5", pictures="1.jpg"),
    ]


def test_pictures_come_before_videos_and_the_log_says_which(tmp_path, caplog):
    json_path = write_json(tmp_path)
    with caplog.at_level(logging.INFO, "mutualnet3d"):
        videos = read_ssv2(str(tmp_path), "test", 3, path_prefix="/v")
        list_path = write_list(tmp_path, '86 0 0 86/1.jpg ""')
        pictures = read_ssv2(str(tmp_path), "test", 3, path_prefix="/v")
    assert [videos[1].path, pictures[1].path, pictures[1].pictures] == ["/v/86.webm", "/v/86", "1.jpg"]
    assert caplog.messages == [
        f"Something-Something V2, test: .webm videos, listed in {json_path}",
        f"Something-Something V2, test: pictures, listed in {list_path}",
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["1 0 0 1/a.jpg 0", '2 0 0 2/b.jpg ""'],
            r"val\.csv:3: the video 2 has no label here, and there is no JSON file to give it one; "
            r"looked for something-something-v2-validation\.json, validation\.json",
        ),
        (["1 0 0 1/a.jpg 3"], r"val\.csv:2: label must be a class from 0 to 2, got '3'"),
        (['1 0 0 1/a.jpg "x,1"'], r"val\.csv:2: label must be a class from 0 to 2, got 'x'"),
        ([], r"val\.csv: the list is empty; expected a line `original_vido_id video_id frame_id path labels` for each"),
    ],
)
def test_labels_of_frame_lists_that_cannot_be(tmp_path, rows, message):
    write_list(tmp_path, *rows)
    with pytest.raises(ValueError, match=message):
        read_ssv2_frames(str(tmp_path), "val", 3)
