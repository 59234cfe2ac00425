from __future__ import annotations

import os

import numpy as np
import pytest

from mutualnet3d.results.feature_run import FeatureRun, check_output

ASKED = {"the list": "3 files (12ab)"}
ABOUT = {"config": "w0.5-s48-t2", "backend": "pytorch", "layer": ""}


def begin(output, values, finishes=False, **settings):
    """Do some files of a run, number -> value of its vectors; return how many were done before."""
    with FeatureRun(output, 3, ASKED, **settings) as run:
        before = run.journal.num_done
        run.choose({"about": ABOUT})
        for number, value in values.items():
            record = {"source": f"{number}.mp4", "label": None, "starts": [0.0] * number, "ends": [1.0] * number}
            run.add(number, record, np.full((number, 4), value))
        if finishes:
            run.finish(ABOUT)
    return before


def test_a_run_goes_on_and_leaves_its_features_alone(tmp_path):
    output = str(tmp_path / "a.npz")
    assert begin(output, {2: 0.25, 0: 0.5}) == 0
    with open(f"{output}.vectors", "ab") as file:  # of a file whose line a kill has taken
        file.write(b"abc")
    assert begin(output, {1: 0.75}, finishes=True) == 2
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "a.npz.run.json"]
    with np.load(output) as file:
        assert file["features"].tolist() == [[0.75] * 4, [0.25] * 4, [0.25] * 4]
        assert file["video"].tolist() == ["1.mp4", "2.mp4", "2.mp4"]
    with FeatureRun(output, 3, ASKED) as run:
        assert (run.counts, run.chosen) == ({"ok": 3}, {"about": ABOUT})
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "a.npz.run.json"]


def test_features_that_are_gone_are_an_error_and_overwrite_begins_anew(tmp_path):
    output = str(tmp_path / "a.npz")
    begin(output, {0: 1.0, 1: 1.0, 2: 1.0})
    os.truncate(f"{output}.vectors", 20)
    with pytest.raises(ValueError, match=r"a\.npz\.vectors is not whole: .*; --overwrite begins anew"):
        begin(output, {}, finishes=True)
    assert begin(output, {0: 1.0, 1: 1.0, 2: 2.0}, finishes=True, overwrite=True) == 0
    with np.load(output) as file:
        assert file["features"][:, 0].tolist() == [1.0, 2.0, 2.0]


def test_outputs_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        check_output(str(tmp_path), "--output")
    with pytest.raises(ValueError, match=r"allowed: \.npz, \.parquet"):
        check_output(str(tmp_path / "a.csv"), "--output")
