"""Segments of a predictor: each window is scored as `predict` scores the frames of its time, on every back end."""

from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.deploy import Predictor, SegmentedVideo, SegmentRules
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.reader import VideoReader
from tests.conftest import numbered_frames
from tests.deploy.networks import CLASS_NAMES, FULL, SMALL


@pytest.fixture(scope="module")
def predictor(networks):
    return Predictor(networks, "pytorch", threads=1)


def test_a_window_is_what_predict_makes_of_its_frames(predictor, video):
    """30 frames, 24 a second; a window is eight of them."""
    result = predictor.segments(video, every=0.25, config=SMALL, batch_size=3)
    with VideoReader(video) as reader:
        frames = np.stack(list(reader.read(range(30))))
    assert result.windows.start_N.tolist() == [0, 0.25, 0.5, 0.75]
    for number, score_K in enumerate(result.windows.score_NK):
        alone = predictor.predict(frames[6 * number : 6 * number + 8], config=SMALL, fps=24.0, top=len(CLASS_NAMES))
        expected = {label.index: label.score for label in alone.labels}
        assert score_K.tolist() == pytest.approx([expected[index] for index in range(len(CLASS_NAMES))], abs=1e-6)
    assert (result.config, result.backend, result.source, result.every) == (SMALL, "pytorch", video, 0.25)
    assert result.duration_seconds == pytest.approx(1.25)
    assert (result.num_frames, result.num_lost, result.num_damaged, result.lost) == (8, 0, 0, ())


def test_the_result_in_words_and_in_plain_values(predictor, video):
    result = predictor.segments(video, every=0.5, rules=SegmentRules(smooth=1, top=2))
    assert isinstance(result, SegmentedVideo)
    assert repr(result).endswith(f"segments of 2 windows; {FULL} on pytorch>")
    values = result.to_json()
    assert values["segments"] == [segment.to_json() for segment in result.segments]
    assert [len(segment["labels"]) for segment in values["segments"]] == [2] * len(result.segments)
    assert values["windows"] == {"number": 2, "every": 0.5, "span": pytest.approx(1 / 3)}
    assert values["rules"] == {"smooth": 1, "min_score": 0.0, "min_seconds": 0.0}
    assert (values["config"], values["top1"]) == (str(FULL), 90.0)
    assert values["frames"] == {"number": result.num_frames, "lost": 0, "damaged": 0}
    assert result.seconds >= result.network_seconds > 0
    assert result.times_real_time == pytest.approx(1.25 / result.seconds)
    assert result.with_rules(result.rules) == result.segments
    assert result.with_rules(SegmentRules(min_score=1.0)) == ()


def test_budgets_are_of_a_window(predictor, video, networks):
    cheap = networks.gflops(SMALL)
    assert predictor.segments(video, gflops=1.01 * cheap).config == SMALL
    assert predictor.segments(video).config == FULL
    with pytest.raises(ValueError, match="not both"):
        predictor.segments(video, gflops=1.0, config=FULL)
    with pytest.raises(ValueError, match="batch_size is 0; it must be"):
        predictor.segments(video, batch_size=0)
    with pytest.raises(ValueError, match="every is 0; it must be"):
        predictor.segments(video, every=0)
    with pytest.raises(ValueError, match="a file tells its own"):
        predictor.segments(video, fps=10.0)
    with pytest.raises(VideoDecodeError, match=r"nowhere\.mp4"):
        predictor.segments("nowhere.mp4")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_back_ends_agree(exported, backend):
    _, bundle = exported
    pytest.importorskip("onnxruntime" if backend == "onnxruntime" else "openvino")
    frames = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
    frames[30:] //= 4
    results = [
        Predictor.load(bundle.path, backend=name, threads=1).segments(frames, every=0.25, fps=24.0, batch_size=4)
        for name in ("pytorch", backend)
    ]
    assert np.abs(results[0].windows.score_NK - results[1].windows.score_NK).max() < 1e-3
    spans = [[(segment.start, segment.end, segment.label) for segment in result.segments] for result in results]
    assert spans[0] == spans[1]


def test_frames_in_memory(predictor):
    result = predictor.segments(numbered_frames(40), every=0.25, config=SMALL, fps=24.0)
    assert (result.source, len(result.windows)) == ("frames", 6)
