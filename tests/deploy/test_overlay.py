from __future__ import annotations

import numpy as np
import pytest

from mutualnet3d.deploy.overlay import draw_overlay
from mutualnet3d.deploy.prediction import Label, Prediction, Timing
from mutualnet3d.plots import fonts
from mutualnet3d.results.query_table import Row
from mutualnet3d.shapes import SubnetConfig

FRONT = tuple(
    Row(SubnetConfig(0.5 + number / 10, 32 + 16 * number, 4), 0.1 + number, 1000, 5.0 + number, 60.0 + number, 90.0)
    for number in range(5)
)
ORANGE = (255, 150, 60)
SIZES = [(160, 120), (160, 90), (320, 568), (640, 480), (1920, 1080)]


def prediction(*labels: tuple[str, float], config: SubnetConfig = FRONT[2].config) -> Prediction:
    return Prediction(
        source="frames",
        labels=tuple(Label(name, number, score) for number, (name, score) in enumerate(labels)),
        config=config,
        gflops=1.234,
        row=None,
        backend="pytorch",
        views=1,
        timing=Timing(1.0, 2.0, 3.0),
        frames=np.zeros((1, 2, 2, 3), np.uint8),
    )


SAID = prediction(("air drumming", 0.75), ("zumba", 0.2), ("yoga", 0.05))


def picture(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def is_orange(frame_HWC: np.ndarray) -> np.ndarray:
    return (frame_HWC == ORANGE).all(axis=-1)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_only_what_is_drawn_on_changes(width, height):
    given = picture(width, height)
    before = given.copy()
    drawn = draw_overlay(given, SAID, milliseconds=12.3, budget=20, front=FRONT)
    np.testing.assert_array_equal(given, before)
    assert (drawn.dtype, drawn.shape) == (np.uint8, given.shape)
    changed = (drawn != given).any(axis=-1)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    gaps = np.flatnonzero(np.diff(rows) > 1)
    assert len(gaps) == 1  # two panels, one above the other
    assert rows[0] <= 10
    assert rows[-1] >= height - 11
    assert 0 < columns[0] <= 10
    assert columns[-1] < width - 1
    assert changed.mean() < (0.75 if width == 160 else 0.4)
    np.testing.assert_array_equal(drawn, draw_overlay(given, SAID, milliseconds=12.3, budget=20, front=FRONT))


def test_bars_are_as_long_as_scores():
    """Of a bar below the letters of 'a' there is a row of pure blue."""
    drawn = draw_overlay(np.zeros((480, 640, 3), np.uint8), prediction(("a", 0.8), ("a", 0.4), ("a", 0.0)))
    blue = (drawn == (0, 114, 178)).all(axis=-1)
    lengths = blue.sum(axis=1)
    runs = np.split(lengths, np.flatnonzero(np.diff((lengths > 0).astype(int))) + 1)
    longest = [int(run.max()) for run in runs if run.max() > 0]
    assert len(longest) == 3
    assert longest[1] == pytest.approx(longest[0] / 2, abs=1)
    assert longest[2] == 1


@pytest.mark.parametrize("place", range(len(FRONT)))
def test_the_sub_network_in_use_is_marked_on_the_front(place):
    black = np.zeros((480, 640, 3), np.uint8)
    drawn = draw_overlay(black, prediction(("a", 1.0), config=FRONT[place].config), front=FRONT)
    orange = is_orange(drawn)
    rows, columns = np.nonzero(orange)
    every = orange | (drawn == (90, 90, 90)).all(axis=-1)
    # Each column begins where its share of the width does, and is as high as its place.
    first, last = np.flatnonzero(every.sum(axis=0) > 3)[[0, -1]]
    step = (last - first + 1) / len(FRONT)
    assert columns.min() == pytest.approx(first + place * step, abs=2)
    assert columns.max() == pytest.approx(first + (place + 1) * step, abs=4)
    highest = every[:, last].sum()
    assert np.ptp(rows) + 1 == pytest.approx(highest * (place + 1) / len(FRONT), abs=1)


def test_a_sub_network_that_is_not_on_the_front_is_not_marked():
    elsewhere = prediction(("a", 1.0), config=SubnetConfig(1.0, 8, 1))
    drawn = draw_overlay(np.zeros((480, 640, 3), np.uint8), elsewhere, front=FRONT)
    assert not is_orange(drawn).any()
    assert (drawn == (90, 90, 90)).all(axis=-1).any()


def test_what_is_over_the_budget_is_orange():
    black = np.zeros((240, 320, 3), np.uint8)

    def has_orange(**times):
        return bool(is_orange(draw_overlay(black, SAID, **times)).any())

    assert has_orange(milliseconds=20.1, budget=20)
    assert not has_orange(milliseconds=20, budget=20)
    assert not has_orange(milliseconds=1000)
    assert has_orange(budget=5.9)  # 6 in all, says the prediction
    assert not has_orange(budget=6.0)


def test_facts_are_in_the_picture():
    """Another sub-network, cost, time, budget or label gives another picture."""
    black = np.zeros((240, 320, 3), np.uint8)
    first = draw_overlay(black, SAID, milliseconds=10, budget=20)
    others = [
        draw_overlay(black, SAID, milliseconds=11, budget=20),
        draw_overlay(black, SAID, milliseconds=10, budget=21),
        draw_overlay(black, SAID, milliseconds=10),
        draw_overlay(black, prediction(("air drumming", 0.75), ("zumba", 0.2)), milliseconds=10, budget=20),
        draw_overlay(black, prediction(("yoga", 0.75), ("zumba", 0.2), ("yoga", 0.05)), milliseconds=10, budget=20),
    ]
    assert all((first != other).any() for other in others)
    fourth = draw_overlay(
        black,
        prediction(("air drumming", 0.75), ("zumba", 0.2), ("yoga", 0.05), ("no", 0.0)),
        milliseconds=10,
        budget=20,
    )
    np.testing.assert_array_equal(first, fourth)


def test_letters_of_other_scripts_are_drawn_each_as_itself(monkeypatch):
    """Boxes would all be alike; what no font shows is an escape."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra [plot])")
    monkeypatch.setattr(fonts, "system_font", lambda character: None)
    black = np.zeros((240, 320, 3), np.uint8)
    words = ("öl", "ül", "él", "ol", "жл", "фл", "中l", "国l")
    drawn = {word: draw_overlay(black, prediction((word, 0.0))).tobytes() for word in words}
    assert len(set(drawn.values())) == len(words)
    escaped = draw_overlay(black, prediction((r"\u4e2dl", 0.0)))
    assert drawn["中l"] == escaped.tobytes()


def test_long_names_are_cut_to_the_picture():
    black = np.zeros((120, 160, 3), np.uint8)
    long = prediction(("playing the didgeridoo in a very long name", 0.5))
    changed = (draw_overlay(black + 200, long) != 200).any(axis=-1)
    assert not changed[:, -2:].any()
    longer = prediction(("playing the didgeridoo in a very long name, and longer", 0.5))
    np.testing.assert_array_equal(draw_overlay(black, long), draw_overlay(black, longer))


@pytest.mark.parametrize("width", [1, 2, 9, 33, 64, 159])
@pytest.mark.parametrize("height", [1, 5, 24, 70])
def test_small_pictures_get_what_there_is_room_for(width, height):
    assert draw_overlay(picture(width, height), SAID, front=FRONT).shape == (height, width, 3)


def test_turned_pictures_are_drawn_on_too():
    given = picture(240, 320)
    turned = np.rot90(given)
    np.testing.assert_array_equal(draw_overlay(turned, SAID), draw_overlay(np.ascontiguousarray(turned), SAID))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \(4, 4, 3\)"),
        (np.zeros((4, 4), np.uint8), r"uint8 \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \(0, 4, 3\)"),
    ],
)
def test_what_is_no_picture(frame, message):
    with pytest.raises(ValueError, match=rf"a picture is uint8 \(H, W, 3\), RGB; got {message}"):
        draw_overlay(frame, SAID)
