from __future__ import annotations

import re

import pytest

from mutualnet3d.data.frame_lists import read_frame_list
from mutualnet3d.data.lists import Video

HEADER = "original_vido_id video_id frame_id path labels\n"


def write_list(folder, *rows, name="val.csv", header=HEADER):
    path = folder / name
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("rows", "path", "names"),
    [
        # Not consecutive, in one folder.
        (["1 0 0 1/a.jpg 0", "2 1 0 2/a.jpg 0", "1 0 1 1/b.jpg 0"], "/f/1", "a.jpg\nb.jpg"),
        # In several folders: their common one.
        (["1 0 0 x/1/a.jpg 0", "1 0 1 x/2/b.jpg 0", "1 0 2 x/10/c.jpg 0"], "/f/x", "1/a.jpg\n2/b.jpg\n10/c.jpg"),
        (["1 0 0 x/1/a.jpg 0", "2 1 0 2/a.jpg 0", "1 0 1 y/b.jpg 0"], "/f", "x/1/a.jpg\ny/b.jpg"),
        (["1 0 0 a.jpg 0", "1 0 1 b.jpg 0"], "/f", "a.jpg\nb.jpg"),
        (["1 0 0 /d/1/a.jpg 0", "1 0 1 /d/1/b.jpg 0"], "/d/1", "a.jpg\nb.jpg"),
        (["1 0 0 /d/a.jpg 0", "1 0 1 /e/b.jpg 0"], "/", "d/a.jpg\ne/b.jpg"),
        (["1 0 0 s3://x/1/a.jpg 0", "1 0 1 s3://x/1/b.jpg 0"], "s3://x/1", "a.jpg\nb.jpg"),
        (["1 0 0 s3://x/a.jpg 0", "1 0 1 s3://y/b.jpg 0"], "s3://", "x/a.jpg\ny/b.jpg"),
        # As some writers quote.
        (['"1" "0" 0 "my 1/a.jpg" 0', '"1" 0 1 "my 1/b.jpg" 0'], "/f/my 1", "a.jpg\nb.jpg"),
        # Numbers that say nothing leave the list's order.
        (["1 0 0 1/b.jpg 0", "1 0 0 1/a.jpg 0"], "/f/1", "b.jpg\na.jpg"),
    ],
)
def test_pictures_are_relative_to_their_common_folder(tmp_path, rows, path, names):
    listed = write_list(tmp_path, *rows, header="\ufeff" + HEADER.replace("\n", "\r\n"))
    video = read_frame_list(listed)["1"].video("/f", 4, "val.csv:2")
    assert video == Video(path, 4, "val.csv:2", pictures=names)
    in_rows = [re.search(r'[^ "]*(my [^ "]*)?\.jpg', row)[0] for row in rows if row.startswith(("1", '"1'))]
    assert video.picture_paths == [name if re.match(r"/|s3:", name) else f"/f/{name}" for name in in_rows]


def test_a_video_keeps_its_first_line_and_label(tmp_path):
    videos = read_frame_list(write_list(tmp_path, "7 0 0 7/a.jpg 0", '86 1 0 86/1.jpg "2,1"', "", "7 0 1 7/b.jpg 1"))
    assert {name: (item.line, item.label, item.last_id) for name, item in videos.items()} == {
        "7": (2, "0", 1),
        "86": (3, '"2,1"', 0),
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["1 0 0 1/a.jpg"],
            r"val\.csv:2: expected `original_vido_id video_id frame_id path labels`, got '1 0 0 1/a\.jpg'",
        ),
        (["1 0 0 1/a.jpg 0", "1 0 x 1/b.jpg 0"], r"val\.csv:3: expected `original_vido_id .*`, got '1 0 x 1/b\.jpg 0'"),
        (["1 0 0 my 1/a.jpg 0"], r"val\.csv:2: expected `original_vido_id .*`, got '1 0 0 my 1/a\.jpg 0'"),
        (
            ["1 0 3 1/a.jpg 0", "1 0 4 1/b.jpg 0", "1 0 2 1/c.jpg 0"],
            r"val\.csv:4: the frame_id must not fall within a video, got 2 after 4 \(video 1\)",
        ),
        (
            ["1 0 3 1/a.jpg 0", "2 0 0 2/b.jpg 0", "1 0 2 1/c.jpg 0"],
            r"val\.csv:4: the frame_id must not fall within a video, got 2 after 3 \(video 1\)",
        ),
        ([], r"val\.csv: the list is empty; expected a line `original_vido_id video_id frame_id path labels` for each"),
    ],
)
def test_frame_lists_that_cannot_be(tmp_path, rows, message):
    path = write_list(tmp_path, *rows)
    with pytest.raises(ValueError, match=message):
        read_frame_list(path)


def test_frame_list_without_its_header(tmp_path):
    path = write_list(tmp_path, "1 0 0 1/a.jpg 0", header="")
    with pytest.raises(
        ValueError, match=r"val\.csv:1: expected the header `original_vido_id .*`, got '1 0 0 1/a\.jpg 0'"
    ):
        read_frame_list(path)


def test_frame_list_that_is_not_utf8(tmp_path):
    path = write_list(tmp_path)
    (tmp_path / "val.csv").write_bytes(HEADER.encode() + b"1 0 0 \xe9/a.jpg 0\n")
    with pytest.raises(ValueError, match=r"val\.csv:2: the text must be UTF-8 \(invalid continuation byte\)"):
        read_frame_list(path)
