from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from mutualnet3d.data.file_reader import FileClips, UnreadFile
from mutualnet3d.data.outage import DataAway
from mutualnet3d.deploy import file_stages
from mutualnet3d.deploy.file_stages import FileWork, run_files
from mutualnet3d.process_pool import LostItem
from mutualnet3d.results.row import Views
from mutualnet3d.shapes import ClipShape
from tests.deploy.test_stages import CHEAP, DEAR, FIRST, LAST, Made

DIED, LATE = LostItem("it died", 1, died=True), LostItem("took longer than 3 seconds", 1)


@pytest.fixture
def pool(monkeypatch):
    """Reading in this process, as processes would do it. Attributes: the requests, in order; answers in place of the
    next readings of a path."""

    class Pool:
        def __init__(self):
            self.requests, self.answers = [], {}

        def map(self, reader, requests, *, workers, timeout, memory):
            waiting = []
            for place, request in enumerate(requests):
                self.requests.append(request)
                waiting.append((place, request))
                if len(waiting) == workers:
                    yield self.read(reader, *waiting.pop())  # the last first: not in order
            while waiting:
                yield self.read(reader, *waiting.pop())

        def read(self, reader, place, request):
            answers = self.answers.get(request.path)
            return place, answers.pop(0) if answers else reader(request)

    made = Pool()
    monkeypatch.setattr(file_stages, "map_in_processes", made.map)
    return made


def read(request):
    """Return clips as `tests.deploy.test_stages.Made` has them: the path is the number of the pixels."""
    views = request.num_spans * request.num_crops
    views_of = {
        shape: np.full((views, shape.frames, shape.size, shape.size, 3), int(request.path), np.uint8)
        for shape in request.shapes
    }
    return FileClips(views_of, 0.002, 0.001)


def work_of(made, stages=(FIRST, LAST), batch_size=4, workers=3):
    def shapes_of(config):
        return (ClipShape(config.frames, config.size),)

    return FileWork(stages, shapes_of, read, made.forward, "sum", batch_size, workers, timeout=3.0)


@pytest.mark.parametrize("last", [LAST, replace(LAST, views=Views())])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_results_are_those_of_one_process(pool, last, batch_size):
    videos = [9, 1, 8, 2, 3, 7, 5, 4, 6]
    stages = (FIRST, last)
    expected = Made().run(videos, stages, batch_size)
    results = dict(run_files(list(map(str, videos)), work_of(Made(), stages, batch_size)))
    assert sorted(results) == list(range(9))
    for number, result in enumerate(expected):
        other = results[number]
        assert (other.source, other.runs) == (result.source, result.runs)
        assert torch.equal(other.score_K, result.score_K)
        assert np.array_equal(other.frames, result.frames)
        num_reads = len(other.runs) if last.views.count > 1 else 1  # clips of one view each are read at once
        assert (other.timing.decode, other.timing.prepare) == pytest.approx((2.0 * num_reads, 1.0 * num_reads))


def test_passes_are_full_and_of_one_stage_each(pool):
    made = Made()
    list(run_files([str(1 + number % 4) for number in range(40)], work_of(made, batch_size=4)))
    sizes = [size for config, size in made.batches if config == CHEAP]
    assert sizes == [4] * 10
    assert all(size <= 4 for config, size in made.batches if config == DEAR)
    assert sum(size for config, size in made.batches if config == DEAR) == 2 * 40


def test_files_are_asked_for_as_they_are_needed(pool):
    results = run_files([str(number % 9) for number in range(100)], work_of(Made(), (FIRST,), batch_size=2))
    next(results)
    assert len(pool.requests) < 12
    results.close()


def test_clips_of_two_stages_of_one_view_are_read_at_once(pool):
    list(run_files(["1", "9"], work_of(Made(), (FIRST, replace(LAST, views=Views())))))
    assert [len(request.shapes) for request in pool.requests] == [2, 2]
    pool.requests.clear()
    list(run_files(["1", "9"], work_of(Made())))
    asked = [(request.path, len(request.shapes), request.num_spans) for request in pool.requests]
    assert asked == [("1", 1, 1), ("9", 1, 1), ("1", 1, 2)]


def test_a_process_that_dies_once_costs_nothing(pool):
    pool.answers = {"2": [DIED], "3": [DIED, DIED], "4": [LATE], "1": [UnreadFile("missing", "gone")]}
    results = dict(run_files(["1", "2", "3", "4", "5"], work_of(Made())))
    assert [results[number].runs != [] for number in (1, 4)] == [True, True]
    assert [results[number] for number in (0, 2, 3)] == [
        UnreadFile("missing", "gone"),
        UnreadFile("bad", "3: it died"),
        UnreadFile("bad", "4: took longer than 3 seconds"),
    ]
    assert [request.path for request in pool.requests].count("3") == 2


def test_a_file_that_breaks_between_two_stages_is_bad(pool):
    first = read(type("Request", (), {"path": "1", "shapes": [ClipShape(2, 32)], "num_spans": 1, "num_crops": 1}))
    pool.answers = {"1": [first, UnreadFile("bad", "broken now")]}
    results = dict(run_files(["1", "9"], work_of(Made())))
    assert results[0] == UnreadFile("bad", "broken now")
    assert len(results[1].runs) == 1


def test_an_error_of_the_network_ends_the_work(pool):
    def forward(config, clips):
        raise ValueError("a damaged network")

    work = replace(work_of(Made()), forward=forward)
    with pytest.raises(ValueError, match="a damaged network"):
        list(run_files(list("123456789"), work))


def test_a_disk_that_is_away_ends_the_work(pool, tmp_path):
    videos = [tmp_path / "videos" / f"{number}" for number in range(3)]
    videos[0].parent.mkdir()
    for video in videos:
        video.write_text("")
    with pytest.raises(DataAway, match="data disk away"):
        list(run_files(list(map(str, videos)), replace(work_of(Made()), reader=gone)))


def gone(request):
    shutil.rmtree(os.path.dirname(request.path), ignore_errors=True)
    return UnreadFile("missing", f"{request.path} is gone")
