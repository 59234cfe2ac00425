"""The page's content, by Streamlit's own tests of scripts."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mutualnet3d.cli.web.command import PAGE
from mutualnet3d.deploy.web_page import Clip, Demo
from tests.deploy.test_activation_map import map_of
from tests.deploy.test_web_page import POINTS, NoNetwork


@pytest.fixture(autouse=True)
def _main_module(monkeypatch):
    """Restore the main module after a test: Streamlit makes its script that."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def test_a_front_of_one_point_has_no_slider_and_no_list_no_choice(monkeypatch):
    testing = pytest.importorskip("streamlit.testing.v1", reason="the extra `web` is not installed")
    predictor = NoNetwork()
    predictor.points = lambda: POINTS[2:]
    monkeypatch.setattr("mutualnet3d.deploy.web_page.open_demo", lambda *_, **__: Demo(predictor))
    monkeypatch.setattr(sys, "argv", ["page.py", "--checkpoint", "none"])
    page = testing.AppTest.from_file(PAGE, default_timeout=60).run()
    assert not page.exception
    assert not page.select_slider
    assert not page.radio
    assert any("12.3 ms, 0.123 GFLOPs" in caption.value.replace("\\", "") for caption in page.caption)
    assert [info.value for info in page.info] == ["Choose a clip."]


@pytest.mark.slow
def test_where_it_looks_is_shown_when_asked_for(monkeypatch, numbered_video):
    testing = pytest.importorskip("streamlit.testing.v1", reason="the extra `web` is not installed")
    predictor, looked = NoNetwork(), map_of(np.ones((2, 4, 4), np.float32))
    predictor.points = lambda: POINTS[2:]
    predictor.has_maps = lambda config: True
    predictor.run = predictor.map_clips = lambda video: looked  # a prediction too
    demo = Demo(predictor, [Clip("a", str(numbered_video))])
    monkeypatch.setattr("mutualnet3d.deploy.web_page.open_demo", lambda *_, **__: demo)
    monkeypatch.setattr(sys, "argv", ["page.py", "--checkpoint", "none"])
    page = testing.AppTest.from_file(PAGE, default_timeout=60).run()
    assert not page.exception
    (box,) = page.checkbox
    assert (box.label, box.value) == ("Where it looks", False)
    text = "Brighter places raised the score of bright more (Grad-CAM of blocks\\.4)."
    assert text not in [caption.value for caption in page.caption]
    page = box.check().run()
    assert not page.exception
    assert text in [caption.value for caption in page.caption]
    predictor.has_maps = lambda config: False
    assert page.run().checkbox[0].disabled
