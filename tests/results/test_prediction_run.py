from __future__ import annotations

import json
import os

import pytest

from mutualnet3d.files.journal import JournalInUse
from mutualnet3d.results import listed_run
from mutualnet3d.results.listed_run import difference_text, list_text
from mutualnet3d.results.prediction_rows import unread_record
from mutualnet3d.results.prediction_run import PredictionRun, check_output

ASKED = {"the list": "2 files (12ab)", "--gflops": "0.5"}


@pytest.fixture
def output(tmp_path):
    return str(tmp_path / "new" / "results.jsonl")


def begin(output, numbers=(), finishes=False, **changes):
    """Do part of a run; return how many files were done before, and what was chosen then."""
    with PredictionRun(output, 2, {**ASKED, **changes}) as run:
        before = run.journal.num_done, dict(run.chosen)
        run.choose({"top": 1})
        for number in numbers:
            run.journal.add(number, unread_record(f"{number}.mp4", "bad", "why"))
        if finishes:
            run.finish(1)
    return before


def names(output):
    return sorted(os.listdir(os.path.dirname(output)))


def test_a_run_goes_on_until_it_is_complete(output):
    assert begin(output, [1]) == (0, {})
    assert names(output) == ["results.jsonl.journal", "results.jsonl.run.json"]
    assert begin(output, [0], finishes=True) == (1, {"top": 1})
    assert names(output) == ["results.jsonl", "results.jsonl.run.json"]
    with open(output) as file:
        assert [json.loads(line)["source"] for line in file] == ["0.mp4", "1.mp4"]
    with PredictionRun(output, 2, ASKED) as run:
        assert (run.counts, run.chosen) == ({"bad": 2}, {"top": 1})
    assert names(output) == ["results.jsonl", "results.jsonl.run.json"]


def test_a_kill_between_the_results_and_their_end_is_no_loss(output):
    begin(output, [0, 1])
    with open(output, "w") as file:
        file.write("whole, but not known as such")
    assert begin(output, finishes=True)[0] == 2
    with open(output) as file:
        assert len(file.readlines()) == 2


def test_a_full_disk_at_the_end_keeps_the_journal(output, monkeypatch):
    begin(output, [0, 1])

    def full(path, text):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(listed_run, "write_text", full)
        with pytest.raises(OSError, match="the disk is full"), PredictionRun(output, 2, ASKED) as run:
            run.finish(1)
    assert begin(output, finishes=True)[0] == 2


def test_results_that_were_removed_are_made_anew(output):
    begin(output, [0, 1], finishes=True)
    os.remove(output)
    assert begin(output)[0] == 0


def test_another_run_is_refused_and_overwrite_begins_anew(output):
    begin(output, [0])
    message = r"results\.jsonl was begun with --gflops 0\.5, not 0\.6; --overwrite begins anew"
    for _ in range(2):
        with pytest.raises(ValueError, match=message), PredictionRun(output, 2, {**ASKED, "--gflops": "0.6"}):
            pass
    assert begin(output) == (1, {"top": 1})
    with PredictionRun(output, 2, {**ASKED, "--gflops": "0.6"}, overwrite=True) as run:
        assert (run.journal.num_done, run.chosen) == (0, {})
        run.choose({"top": 1})
    with PredictionRun(output, 2, {**ASKED, "--gflops": "0.6"}) as run:
        assert run.journal.num_done == 0


def test_a_run_that_chose_nothing_leaves_nothing(output):
    with PredictionRun(output, 2, {**ASKED, "--gflops": "0.0"}):
        pass
    assert names(output) == []
    begin(output, [0])
    with PredictionRun(output, 2, ASKED):
        pass
    assert begin(output)[0] == 1


def test_results_of_unknown_origin_are_left_alone(output):
    os.makedirs(os.path.dirname(output))
    with open(output, "w") as file:
        file.write("mine")
    with pytest.raises(ValueError, match=r"results\.jsonl is there already, without .*results\.jsonl\.run\.json"):
        begin(output)
    assert names(output) == ["results.jsonl"]


def test_two_runs_at_once(output):
    with PredictionRun(output, 2, ASKED), pytest.raises(JournalInUse), PredictionRun(output, 2, ASKED):
        pass
    assert begin(output)[0] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "no description of a run, whose format is 'mutualnet3d.predictions'"),
        ({"format": "mutualnet3d.bundle", "version": 1}, "no description of a run"),
        ({"format": "mutualnet3d.predictions", "version": 2}, "is of version 2, which a newer release wrote"),
        ({"format": "mutualnet3d.predictions", "version": 1, "asked": 3}, "asked, chosen and counts must be objects"),
    ],
)
def test_a_description_that_is_none(output, content, message):
    begin(output, [0])
    with open(f"{output}.run.json", "w") as file:
        json.dump(content, file)
    with pytest.raises(ValueError, match=message):
        begin(output)


def test_outputs_are_looked_at_first(tmp_path):
    check_output(str(tmp_path / "new" / "a.csv"), "--output")
    with pytest.raises(ValueError, match=r"--output: .* is a folder"):
        check_output(str(tmp_path), "--output")
    with pytest.raises(ValueError, match=r"--output: .*a\.txt: the extension says the format"):
        check_output(str(tmp_path / "a.txt"), "--output")


def test_texts_for_people():
    assert (
        difference_text({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
        == "a 1, which is not given now; b 2, not 3; no c, which is 4 now"
    )
    assert difference_text(ASKED, dict(ASKED)) == ""
    assert list_text(["a", "b"]).startswith("2 files (")
    assert list_text(["a", "b"]) != list_text(["b", "a"])
    list_text(["\udcff"])
