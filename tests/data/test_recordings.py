from __future__ import annotations

import re

import pytest

from mutualnet3d.data.recordings import KNOWN_PATTERNS, likely_pattern, recording_of, split_recordings

UCF = {
    name: [f"{name}/v_{name}_g{group:02d}_c{clip:02d}.avi" for group in range(1, 26) for clip in range(1, 5)]
    for name in ("Archery", "Bowling")
}
HMDB = {
    "brush_hair": [f"April_09_brush_hair_u_nm_np1_ba_goo_{number}.avi" for number in range(3)]
    + ["Brushing_Hair_with_Beth_brush_hair_h_nm_np1_le_goo_0.avi"],
    "wave": ["20060723sfjffbartsinger_wave_f_cm_np1_ba_med_0.avi", "A_Beautiful_Mind_2_wave_u_nm_np1_fr_med_1.avi"],
}

KINETICS = {
    "yoga": ["id1_000001_000011.mp4", "id1_000021_000031.mp4", "id2_000001_000011.mp4"],
    "zumba": ["id3_000001_000011.mp4"],
}


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        (UCF, "UCF-101"),
        (HMDB, "HMDB-51"),
        (KINETICS, "Kinetics"),
        ({"a": ["tom_part1.mp4", "tom_part2.mp4", "ann-3.mp4"], "b": ["eve_clip_1.mp4"]}, "numbered clips"),
        # One clip of each recording, one recording of each class, and numbers alone.
        ({"a": ["id1_000001_000011.mp4", "id2_000021_000031.mp4"], "b": ["id3_000001_000011.mp4"]}, ""),
        ({"run": ["run_1.mp4", "run_2.mp4"], "jump": ["jump_1.mp4", "jump_2.mp4"]}, ""),
        ({"a": ["001.mp4", "002.mp4"], "b": ["fi003.mp4", "fi004.mp4"]}, ""),
    ],
)
def test_patterns_are_offered_for_names_of_several_clips_of_a_source(classes, name):
    assert likely_pattern(classes) == (name, KNOWN_PATTERNS.get(name, ""))


def test_a_pattern_names_the_source():
    assert recording_of("a/v_Archery_g01_c04.avi", re.compile(r"(.+)_c\d+")) == "v_Archery_g01"
    assert recording_of("a/person07_run_d1.avi", re.compile(r"person\d+")) == "person07"
    with pytest.raises(ValueError, match=r"a/x\.avi: its name tells no recording by the pattern 'person\\\\d\+'"):
        recording_of("a/x.avi", re.compile(r"person\d+"))


def test_all_clips_of_a_source_come_into_one_split():
    pattern = re.compile(KNOWN_PATTERNS["UCF-101"])
    train, val = split_recordings(UCF, pattern, 0.2, 0)
    assert {name: (len(train[name]), len(val[name])) for name in UCF} == dict.fromkeys(UCF, (80, 20))
    for name in UCF:
        assert sorted(train[name] + val[name]) == sorted(UCF[name])
        assert not {recording_of(path, pattern) for path in train[name]} & {
            recording_of(path, pattern) for path in val[name]
        }
    assert split_recordings(UCF, pattern, 0.2, 0) == (train, val)
    assert split_recordings(UCF, pattern, 0.2, 1) != (train, val)


def test_sources_of_several_classes_and_of_one():
    people = {action: [f"p{person}_{action}.avi" for person in range(10)] for action in ("run", "walk", "wave")}
    people["single"] = ["p3_single.avi"]
    pattern = re.compile(r"p\d+")
    train, val = split_recordings(people, pattern, 0.3, 0)
    assert [len(val[name]) for name in people] == [3, 3, 3, 0]
    tested = {recording_of(path, pattern) for paths in val.values() for path in paths}
    assert tested.isdisjoint(recording_of(path, pattern) for paths in train.values() for path in paths)
    # Where the share is less than each recording, the smallest is taken; the only one is for training.
    few = {"a": [f"big_{number}" for number in range(8)] + ["small_0", "small_1"], "b": ["lone_0", "lone_1"]}
    train, val = split_recordings(few, re.compile(r"(.+)_\d"), 0.1, 0)
    assert val == {"a": ["small_0", "small_1"], "b": []}
