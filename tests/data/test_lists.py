from __future__ import annotations

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutualnet3d.data import lists
from mutualnet3d.data.lists import Video, path_in_list, read_kinetics_list, write_list


def write(tmp_path, text, name="train.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def read(tmp_path, text, num_classes=3, **options):
    """Path and label of each video."""
    videos = read_kinetics_list(write(tmp_path, text), num_classes, path_prefix="/v", **options)
    return [(video.path, video.label) for video in videos]


@pytest.fixture
def names(tmp_path):
    return write(tmp_path, "air drumming\ndrumming\nLifting one end, then dropping it\n", "names.txt")


def test_paths_are_relative_to_the_list_and_may_have_spaces(tmp_path):
    path = write(tmp_path, "a/one.mp4 0\n\nmy videos/two words.mp4 12\n/abs/three.mp4 3\n")
    assert read_kinetics_list(path, num_classes=13) == [
        Video(str(tmp_path / "a/one.mp4"), 0, f"{path}:1"),
        Video(str(tmp_path / "my videos/two words.mp4"), 12, f"{path}:3"),
        Video("/abs/three.mp4", 3, f"{path}:4"),
    ]


def test_prefix_and_separator(tmp_path):
    path = write(tmp_path, "one.mp4, 1\n")
    (video,) = read_kinetics_list(path, 2, path_prefix="/videos", separator=",")
    assert (video.path, video.label) == (os.path.join("/videos", "one.mp4"), 1)


@pytest.mark.parametrize(
    "text",
    [
        "my one.mp4 1\ntwo.mp4 2\n",
        "my one.mp4,1\ntwo.mp4, 2\n",
        "my one.mp4, 1\ntwo.mp4 , 2\n",
        "my one.mp4\t1\ntwo.mp4\t2\n",
        "my one.mp4;1\ntwo.mp4 ; 2\n",
        '"my one.mp4" 1\n"two.mp4"   2\n',
        '"my one.mp4","1"\ntwo.mp4,2\n',
        "path label\nmy one.mp4 1\ntwo.mp4 2\n",
        "\npath,CLASS_ID\nmy one.mp4,1\ntwo.mp4,2\n",
        '"path","label"\n"my one.mp4",1\n"two.mp4",2\n',
        "\ufeffmy one.mp4 1\r\ntwo.mp4 2\r\n",
        "  my one.mp4 1  \n\n\ttwo.mp4 2",
    ],
)
def test_separators_quotes_headers_and_line_ends(tmp_path, text):
    assert read(tmp_path, text) == [("/v/my one.mp4", 1), ("/v/two.mp4", 2)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "::"])
def test_the_given_separator_comes_first_and_the_others_are_tried(tmp_path, separator):
    text = f"a b,c.mp4{separator}1\n"
    assert read(tmp_path, text, separator=separator) == [("/v/a b,c.mp4", 1)]
    assert read(tmp_path, "a b.mp4 1\n", separator=separator) == [("/v/a b.mp4", 1)]


@pytest.mark.parametrize("path", ["s3://bucket/one.mp4", "manifold://x/one.mp4", "/abs/one.mp4"])
def test_absolute_paths_and_those_with_a_scheme_stay(tmp_path, path):
    assert read(tmp_path, f"{path} 1\n") == [(path, 1)]


def test_skipped_rows_count_as_lines(tmp_path):
    path = write(tmp_path, "# made by hand\n\npath label\none.mp4 1\n")
    (video,) = read_kinetics_list(path, 2, skip_rows=2)
    assert video == Video(str(tmp_path / "one.mp4"), 1, f"{path}:4")
    with pytest.raises(ValueError, match=r"train\.csv: the list is empty; expected a line `path label`"):
        read_kinetics_list(path, 2, skip_rows=9)


paths = st.text(st.sampled_from("ab é ,;\"'\t\u2028/."), min_size=1, max_size=20)


@given(st.lists(st.tuples(paths, st.integers(0, 9)), min_size=1, max_size=8), st.sampled_from(",; \t"))
def test_any_path_survives_in_quotes(pairs, separator):
    lines = ['"' + path.replace('"', '""') + f'"{separator}{label}' for path, label in pairs]
    with TemporaryDirectory() as folder:
        path = write(Path(folder), "\n".join(lines))
        videos = read_kinetics_list(path, 10, path_prefix="/v", separator=separator)
    expected = [(path if path[0] == "/" else f"/v/{path}", label) for path, label in pairs]
    assert [(video.path, video.label) for video in videos] == expected


def test_labels_by_name(tmp_path, names):
    lifting = "Lifting one end, then dropping it"
    spaced = (
        f'one.mp4 air drumming\nmy two.mp4 Drumming\n"3 a.mp4" "air drumming"\n4.mp4 "{lifting}"\n5.mp4 {lifting}\n'
    )
    expected = [("/v/one.mp4", 0), ("/v/my two.mp4", 1), ("/v/3 a.mp4", 0), ("/v/4.mp4", 2), ("/v/5.mp4", 2)]
    assert read(tmp_path, spaced, label_file=names) == expected
    with_commas = spaced.replace(".mp4 ", ".mp4,").replace('.mp4" ', '.mp4",')
    assert read(tmp_path, "path,label\n" + with_commas, label_file=names) == expected
    assert read(tmp_path, "a.mp4 0\nb.mp4 drumming\n", label_file=names) == [("/v/a.mp4", 0), ("/v/b.mp4", 1)]


def test_names_that_differ_in_case_alone_are_told_apart(tmp_path):
    names = write(tmp_path, "Run\nrun\n", "names.txt")
    assert read(tmp_path, "a.mp4 run\nb.mp4 Run\n", label_file=names) == [("/v/a.mp4", 1), ("/v/b.mp4", 0)]
    with pytest.raises(ValueError, match=r"train\.csv:1: label 'RUN' is no name in .*names\.txt"):
        read(tmp_path, "a.mp4 RUN\n", label_file=names)


def test_a_first_line_whose_class_ends_like_a_header_is_data(tmp_path):
    names = write(tmp_path, "yoga class\nrest\n", "names.txt")
    assert read(tmp_path, "a.mp4 yoga class\nb.mp4 rest\n", label_file=names) == [("/v/a.mp4", 0), ("/v/b.mp4", 1)]


@pytest.mark.parametrize("text", ["one.mp4 air druming\n", "one.mp4,air druming\n", 'one.mp4 "air druming"\n'])
def test_unknown_name(tmp_path, names, text):
    with pytest.raises(
        ValueError,
        match=r"train\.csv:1: label '(air )?druming' is no name in .*names\.txt; close to it: .*'air drumming'",
    ):
        read(tmp_path, text, label_file=names)


def test_a_name_like_no_other(tmp_path, names):
    with pytest.raises(ValueError, match=r"train\.csv:2: label 'xyz' is no name in .*names\.txt$"):
        read(tmp_path, "one.mp4 drumming\ntwo.mp4 xyz\n", label_file=names)


def test_a_name_beyond_the_number_of_classes(tmp_path, names):
    with pytest.raises(
        ValueError, match=r"train\.csv:1: label must be a class from 0 to 0, got 1 \('a.mp4 drumming'\)"
    ):
        read(tmp_path, "a.mp4 drumming\n", num_classes=1, label_file=names)


def test_missing_list(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no list of videos at .*none\.csv; expected a text file with a line"):
        read_kinetics_list(str(tmp_path / "none.csv"), 2)


@pytest.mark.parametrize("text", ["", "\n  \n", "path label\n"])
def test_empty_list(tmp_path, text):
    with pytest.raises(ValueError, match=r"train\.csv: the list is empty"):
        read_kinetics_list(write(tmp_path, text), 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one.mp4\n", r"train\.csv:1: expected `path label`, got 'one\.mp4'"),
        ("one.mp4 1\ntwo.mp4\n", r"train\.csv:2: expected `path label` as in line 1, got 'two\.mp4'"),
        ("path,label\none.mp4,1\ntwo.mp4 1\n", r"train\.csv:3: expected `path,label` as in line 2, got 'two\.mp4 1'"),
        ("one.mp4\t1\ntwo.mp4\n", r"train\.csv:2: expected `path\\tlabel` as in line 1, got 'two\.mp4'"),
        ('one.mp4 1\n"two.mp4 1\n', r"train\.csv:2: expected `path label` as in line 1, got '\"two\.mp4 1'"),
        ('"" 1\n', r"train\.csv:1: expected `path label`, got '\"\" 1'"),
        (" 1\n", r"train\.csv:1: expected `path label`, got '1'"),
    ],
)
def test_line_that_is_not_path_and_label(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_kinetics_list(write(tmp_path, text), 2)


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
@pytest.mark.parametrize("label", ["2", "-1", "1.0", "fight"])
def test_label_that_is_no_class(tmp_path, label, separator):
    got = label if label == "2" else f"'{label}'"
    hint = {
        "fight": "; names of classes need a label file, a header ends with label, class or category",
        "2": "; a list that counts its classes from 1 must be written anew from 0",
    }.get(label, "")
    with pytest.raises(ValueError, match=rf"train\.csv:1: label must be a class from 0 to 1, got {got}{hint}$"):
        read_kinetics_list(write(tmp_path, f"one.mp4{separator}{label}\n"), 2)


def test_list_that_is_not_utf8(tmp_path):
    with pytest.raises(ValueError, match=r"train\.csv:2: the text must be UTF-8, got the byte 0xe9 \(invalid cont"):
        read_kinetics_list(write(tmp_path, "one.mp4 1\nété.mp4 1\n".encode("latin-1")), 2)


@pytest.mark.parametrize("options", [{"separator": ""}, {"skip_rows": -1}])
def test_options_that_no_list_can_have(tmp_path, options):
    with pytest.raises(ValueError, match=r"separator must be a character or more, skip_rows 0 or more; got '"):
        read(tmp_path, "one.mp4 1\n", **options)


def test_duplicates_are_counted_in_one_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "mutualnet3d"):
        read(tmp_path, "a.mp4 1\nb.mp4 1\n")
        assert not caplog.messages
        assert len(read(tmp_path, "a.mp4 1\nb.mp4 1\na.mp4 2\na.mp4 0\n")) == 4
    (message,) = caplog.messages
    assert message.endswith("train.csv: 2 of 4 lines repeat a path of an earlier line")


def test_missing_label_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file of label names at .*none\.txt; expected JSON or text"):
        read_kinetics_list(write(tmp_path, "a.mp4 0\n"), 2, label_file=str(tmp_path / "none.txt"))


def test_picture_paths():
    video = Video("/v/1", 0, "list:1", pictures="1_01.jpg\nsub/1_02.jpg")
    assert video.picture_paths == ["/v/1/1_01.jpg", "/v/1/sub/1_02.jpg"]
    assert Video("/v/1.mp4", 0, "list:1").picture_paths == []


def test_paths_are_relative_to_the_folder_that_they_lie_in(tmp_path):
    assert path_in_list("/data/set/a.mp4", "/data/set") == "a.mp4"
    assert path_in_list("/data/set/a.mp4", "/data/se") == "/data/set/a.mp4"
    assert path_in_list("/data/a.mp4", "/data/lists") == "/data/a.mp4"
    assert path_in_list("s3://bucket/a.mp4", "/data") == "s3://bucket/a.mp4"
    assert path_in_list(os.path.join(os.getcwd(), "x", "a.mp4"), "") == "x/a.mp4"


file_names = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: "://" not in name and not name.startswith("/")
)


@given(st.lists(st.tuples(file_names, st.integers(0, 9)), min_size=1))
def test_any_name_is_read_as_it_was_written(tmp_path_factory, entries):
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    write_list(str(path), entries)
    videos = read_kinetics_list(str(path), num_classes=10)
    assert [(os.path.relpath(video.path, path.parent), video.label) for video in videos] == [
        (os.path.normpath(name), label) for name, label in entries
    ]


def test_names_that_no_list_can_hold(tmp_path):
    with pytest.raises(ValueError, match=r"'a\\nb\.mp4': no list can hold a name with a line break; rename the file"):
        write_list(str(tmp_path / "a.csv"), [("a\nb.mp4", 0)])
    with pytest.raises(ValueError, match=r"'\\udcff\.mp4': a list is UTF-8, and this name is not; rename the file"):
        write_list(str(tmp_path / "a.csv"), [("\udcff.mp4", 0)])
    assert list(tmp_path.iterdir()) == []


class Forgetful(dict):
    """Dictionary that has nothing: each line is then read the long way."""

    def __setitem__(self, key, value):
        pass


ends = st.sampled_from(["0", "1", "2", "01", "٣", "9", "x", "run", "", "10" * 200, "1" * 5_000])
rows = st.one_of(
    st.builds("{}{}{}".format, st.sampled_from(["a.mp4", "/b", "s3://c", "d e", "a.mp4", '"q"', "x,"]), paths, ends),
    st.builds("{}.mp4 {}".format, st.integers(0, 3), st.integers(0, 2)),
)


@given(st.lists(rows, min_size=1, max_size=8), st.sampled_from(", \t"), st.booleans(), st.sampled_from(["", "/v"]))
def test_lines_read_by_their_known_label_are_those_read_in_full(rows, separator, has_names, prefix):
    with TemporaryDirectory() as folder:
        names = write(Path(folder), "zero\nrun\nmp4 1\n", "names.txt") if has_names else ""
        path = write(Path(folder), "\n".join(rows).encode())

        def outcome():
            try:
                return list(read_kinetics_list(path, 4, prefix, separator, names))
            except ValueError as error:
                return str(error)

        quick = outcome()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                lists._LineParser, "__post_init__", lambda self: object.__setattr__(self, "_class_of", Forgetful())
            )
            assert outcome() == quick


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a.mp4 1\nb\0.mp4 1\n", r"train\.csv:2: the text must be UTF-8 without NUL bytes; UTF-16 has many of them"),
        (
            "a.mp4 1\n".encode("utf-16"),
            r"train\.csv:1: .* got the byte 0xff .*; it looks like UTF-16",
        ),
        ("a.mp4 1\n".encode("utf-16-le"), r"train\.csv:1: the text must be UTF-8 without NUL bytes"),
        (b"a.mp4 1\n\xed\xa0\x80.mp4 1\n", r"train\.csv:2: the text must be UTF-8, got the byte 0xed"),
        (f"a.mp4 {10**400}", r"train\.csv:1: label must be a class from 0 to 2, got a number of more than 18 digits$"),
        ("a 1\na " + "9" * 5000, r"train\.csv:2: label must be a class from 0 to 2, got a number of more than 18"),
        (
            "a 1\n" + "a " * 50_000_000,
            r"train\.csv:2: a line may have 8192 characters, this one has 99999999; it",
        ),
    ],
)
def test_lists_that_are_none(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, text)
    assert len(str(caught.value)) < 600


def test_numbers_with_many_zeros_and_line_ends_of_windows(tmp_path):
    assert read(tmp_path, f"\ufeffa.mp4 {'0' * 5000}1\r\nb.mp4 2\r\n") == [("/v/a.mp4", 1), ("/v/b.mp4", 2)]


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a FIFO"), (tmp_path, "a folder")):
        with pytest.raises(ValueError, match=f"{path}: a list of videos must be a file; this is {kind}"):
            read_kinetics_list(str(path), 2)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "train.csv",
            "label,youtube_id,time_start,time_end,split\nyoga,abc,1,11,train\n",
            r"train\.csv:1: this is an official CSV file of Kinetics, not a list of videos; "
            r"`mutualnet3d make-lists kinetics .*train\.csv --videos FOLDER --output FOLDER` makes lists of it",
        ),
        ("missing.csv", "label,youtube_id,time_start,time_end,split\n", r"this is make-lists' list of missing videos"),
        ("train.csv", "path,status,reason,note,listed_at\n", r"this is a report of check-videos, not a list of videos"),
        (
            "train.csv",
            ",path,label\n0,a.mp4,1\n1,b.mp4,0\n",
            r"the first column has the numbers of the lines, as pandas",
        ),
        (
            "train.csv",
            "0,a.mp4,1\n1,b.mp4,0\n",
            r"a list has lines `path label`: write it with to_csv\(\.\.\., index=F",
        ),
        ("train.csv", "Unnamed: 0\tpath\tlabel\n0\ta.mp4\t1\n", r"train\.csv:1: the first column has the numbers"),
        ("yoga_test_split1.txt", "a.avi 1\nb.avi 2\n", r"a split file of HMDB-51; `mutualnet3d make-lists hmdb51`"),
        (
            "t.csv",
            "Archery/v_Archery_g01_c01.avi\n",
            r"t\.csv:1: .* has no labels: `mutualnet3d make-lists ucf101` reads it",
        ),
        (
            "t.csv",
            "Archery/v_Archery_g08_c01.avi 3\n",
            r"got 3; UCF-101's official lists count classes from 1: `mutual",
        ),
    ],
)
def test_other_files_than_lists_are_named_with_what_reads_them(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_kinetics_list(write(tmp_path, text, name), 3)


def test_lists_of_raw_frames_are_named_where_their_folders_are(tmp_path):
    path = write(tmp_path, "yoga/abc 12 1\n")
    assert read_kinetics_list(path, 2)[0].path == str(tmp_path / "yoga/abc 12")  # a path may have spaces
    (tmp_path / "yoga" / "abc").mkdir(parents=True)
    with pytest.raises(
        ValueError, match=r"train\.csv:1: this is a line `path frames label` of MMAction2's lists of raw"
    ):
        read_kinetics_list(path, 2)
    (tmp_path / "yoga" / "abc 12").touch()
    assert read_kinetics_list(path, 2)[0].path == str(tmp_path / "yoga/abc 12")
