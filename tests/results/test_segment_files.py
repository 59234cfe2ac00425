from __future__ import annotations

import csv
import io
import re

import numpy as np

from mutualnet3d.results.label import Label
from mutualnet3d.results.segment_files import csv_text, save_window_scores, srt_text
from mutualnet3d.results.segments import Segment, WindowScores

SEGMENTS = [
    Segment(0.0, 61.5, (Label("run, fast", 0, 0.875), Label("sit", 1, 0.1))),
    Segment(61.5, 3723.4567, (Label("a --> <b>\n{c}", 2, 0.5), Label("run, fast", 0, 0.25))),
]


def test_a_table_has_a_header_and_a_line_for_each_segment():
    rows = list(csv.reader(io.StringIO(csv_text(SEGMENTS))))
    assert rows == [
        ["start", "end", "label", "score", "label_2", "score_2"],
        ["0.000", "61.500", "run, fast", "0.8750", "sit", "0.1000"],
        ["61.500", "3723.457", "a --> <b>\n{c}", "0.5000", "run, fast", "0.2500"],
    ]
    assert csv_text([]) == "start,end,label,score\n"


def test_subtitles():
    assert srt_text(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:01:01,500\nrun, fast 88 %\nsit 10 %\n"
        "\n"
        "2\n00:01:01,500 --> 01:02:03,457\na --) (b) (c) 50 %\nrun, fast 25 %\n"
    )
    assert srt_text([]) == ""
    times = re.findall(r"(\S+) --> (\S+)", srt_text([Segment(359999.9996, 360001.0, SEGMENTS[0].labels)]))
    assert times == [("100:00:00,000", "100:00:01,000")]


def test_scores_are_read_back(tmp_path):
    scores = WindowScores(np.eye(3, dtype=np.float32), np.arange(3.0), 2.0, 4.5, ("a", "b", "c"))
    path = tmp_path / "scores.npz"
    save_window_scores(str(path), scores, "w1.0-s32-t4")
    with np.load(path) as file:
        assert np.array_equal(file["scores"], scores.score_NK)
        assert file["starts"].tolist() == [0, 1, 2]
        assert (float(file["span_seconds"]), float(file["duration_seconds"])) == (2.0, 4.5)
        assert (file["classes"].tolist(), str(file["config"])) == (["a", "b", "c"], "w1.0-s32-t4")
