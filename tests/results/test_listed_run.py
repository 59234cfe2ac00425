"""Rules of all runs over lists; tests/results/test_prediction_run.py has their stops, their ends and the errors."""

from __future__ import annotations

import pytest

from mutualnet3d.results.feature_run import FeatureRun
from mutualnet3d.results.listed_run import difference_text, list_text
from mutualnet3d.results.prediction_run import PredictionRun


def test_a_run_of_another_kind_is_refused(tmp_path):
    output = str(tmp_path / "results.parquet")
    with PredictionRun(output, 1, {}) as run:
        run.choose({"top": 1})
    with pytest.raises(ValueError, match=r"no description of a run, whose format is 'mutualnet3d\.features'"):
        FeatureRun(output, 1, {}).__enter__()


def test_texts_of_lists_and_of_differences():
    assert list_text(["a", "b"]) == list_text(["a", "b"]) != list_text(["b", "a"])
    assert list_text(["a", "b"]).startswith("2 files (")
    assert difference_text({"--top": "1"}, {"--top": "1"}) == ""
    assert (
        difference_text({"--top": "1"}, {"--gflops": "2"})
        == "--top 1, which is not given now; no --gflops, which is 2 now"
    )
