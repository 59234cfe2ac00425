from __future__ import annotations

import pytest

from mutualnet3d.data.list_labels import LabelSets, ListLabels
from mutualnet3d.data.lists import read_kinetics_list


def test_sets_are_numbered_in_the_order_in_which_they_come():
    sets = LabelSets(5)
    assert [sets.number_of(classes) for classes in ((3, 1), (2,), (), (1, 3, 3))] == [0, 1, 2, 0]
    assert (len(sets), sets.texts(), sets.classes()) == (3, ["1,3", "2", "-"], [(1, 3), (2,), ()])
    assert sets.matrix().astype(int).tolist() == [[0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "classes"), [("2", (2,)), ("0,2", (0, 2)), ("Sit, RUN", (0, 1)), ("a, b", (3,)), ("run,a, b", None)]
)
def test_labels_of_a_line(text, classes):
    """By numbers and names; a name may have a comma, where it stands alone."""
    sets = LabelSets(4)
    number = ListLabels("labels.json", {"run": 0, "sit": 1, "eat": 2, "a, b": 3}, sets).id_of(text)
    assert (None if number is None else sets.classes()[number]) == classes


def test_a_list_with_several_labels_a_line(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text('path label\na b.mp4 3,17\nc.mp4 2\n"d,e.mp4" 17, 3\nf.mp4 -\n')
    sets = LabelSets(18)
    videos = read_kinetics_list(str(path), 18, label_sets=sets)
    assert [video.path for video in videos] == [
        str(tmp_path / name) for name in ("a b.mp4", "c.mp4", "d,e.mp4", "f.mp4")
    ]
    assert [sets.texts()[video.label] for video in videos] == ["3,17", "2", "3,17", "-"]
    with pytest.raises(ValueError, match=r"train\.csv:2: label must be a class from 0 to 16, got '17'"):
        read_kinetics_list(str(path), 17, label_sets=LabelSets(17))
    with pytest.raises(ValueError, match=r"train\.csv:3: expected `path,label` as in line 2"):
        read_kinetics_list(str(path), 18)
