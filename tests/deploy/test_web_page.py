"""Data of the page, on a predictor without a network."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mutualnet3d.deploy.web_page import Clip, Demo, escape_markdown, find_clips, label_of_accuracy, label_of_point, pngs
from mutualnet3d.results.query_table import QueryTable, Row, Views
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.open import open_video
from tests.conftest import numbered_frames, write_video

SMALL, LARGE = SubnetConfig(0.5, 32, 2), SubnetConfig(1.0, 320, 4)
CLASSES = ("dark", "bright")
POINTS = (
    Row(SMALL, gflops=0.01, params=1, milliseconds=2.0, top1=50.0, top5=100.0),
    Row(SubnetConfig(0.8, 48, 4), gflops=0.05, params=1, milliseconds=3.0, top1=80.0, top5=100.0),
    Row(LARGE, gflops=0.123456, params=1, milliseconds=12.345, top1=90.0, top5=100.0),
)
BEATEN = Row(SubnetConfig(1.0, 48, 4), gflops=0.06, params=1, milliseconds=8.0, top1=40.0, top5=100.0)


class NoNetwork:
    """A predictor that reads the first frame, and calls `during` while it reads and `running` as its network's run."""

    backend, class_names = "none", CLASSES
    table = QueryTable((*POINTS, BEATEN), {"model": "x3d", "backends": {"pytorch": {"device": "a PC"}}})

    def __init__(self, during=lambda: None, running=lambda: None):
        self.during, self.running = during, running

    def points(self):
        return POINTS

    def read(self, source, config=None, views=None):
        self.during()
        with open_video(source) as video:
            (frame_HWC,) = video.read([0])
        return SimpleNamespace(config=config, views=views, frames=frame_HWC[None])

    def run(self, video):
        self.running()
        return video


@pytest.fixture
def temp_folder(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_clips_of_a_folder_a_list_and_a_video(tmp_path):
    for name in ("b.mp4", "a/c.MKV", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text("b.mp4 1\na/c.MKV 0\n")
    (tmp_path / "names.txt").write_text("dark\nbright\n")
    (tmp_path / "named.csv").write_text("/elsewhere/b.mp4 bright\n")
    video, other = str(tmp_path / "b.mp4"), str(tmp_path / "a/c.MKV")

    assert find_clips(str(tmp_path), CLASSES) == (Clip("a/c.MKV", other), Clip("b.mp4", video))
    listed = find_clips(str(tmp_path / "list.csv"), CLASSES)
    assert listed == (Clip("b.mp4", video, "bright"), Clip("a/c.MKV", other, "dark"))
    assert [str(clip) for clip in listed] == ["b.mp4 (bright)", "a/c.MKV (dark)"]
    named = find_clips(str(tmp_path / "named.csv"), CLASSES, str(tmp_path / "names.txt"))
    assert named == (Clip("/elsewhere/b.mp4", "/elsewhere/b.mp4", "bright"),)
    assert find_clips(video, CLASSES) == (Clip("b.mp4", video),)


def test_a_folder_of_pictures_is_a_clip(tmp_path):
    folder = tmp_path / "wave"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(np.full((4, 5, 3), 20 * number, np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "list.csv").write_text("wave 1\n")
    (clip,) = find_clips(str(folder), CLASSES)
    assert clip == Clip("wave", str(folder))
    (listed,) = find_clips(str(tmp_path / "list.csv"), CLASSES)
    assert listed == Clip("wave", str(folder), "bright")
    assert clip.is_folder
    assert clip.read() == (folder / "6.png").read_bytes()
    assert Demo(NoNetwork()).predict(clip, POINTS[0]).frames.max() == 0
    assert not Clip("a", upload=b"").is_folder
    (clip,) = find_clips(str(tmp_path), CLASSES)  # and folders of such
    assert clip == Clip("wave", str(folder))
    # A folder of videos is one, whatever pictures lie beside them.
    (folder / "a.mp4").touch()
    assert find_clips(str(folder), CLASSES) == (Clip("a.mp4", str(folder / "a.mp4")),)


def test_clips_that_are_none(tmp_path):
    with pytest.raises(ValueError, match=r"no videos in this folder; expected files \.mp4, \.avi.*, or pictures"):
        find_clips(str(tmp_path), CLASSES)
    with pytest.raises(FileNotFoundError, match=rf"no folder of videos and no list of them at {tmp_path}/none"):
        find_clips(str(tmp_path / "none"), CLASSES)
    (tmp_path / "list.csv").write_text("b.mp4 2\n")
    with pytest.raises(ValueError, match=r"list\.csv:1: label must be a class from 0 to 1, got 2"):
        find_clips(str(tmp_path / "list.csv"), CLASSES)
    for fields in ({}, {"path": "a", "upload": b""}):
        with pytest.raises(ValueError, match="clip 'x' needs a path or an upload, and not both"):
            Clip("x", **fields)


def test_an_upload_is_read_as_its_file_is_and_leaves_none(tmp_path, temp_folder):
    path = write_video(tmp_path / "clip.mp4", numbered_frames(10) + np.uint8(40))
    seen = []
    demo = Demo(NoNetwork(lambda: seen.append(os.listdir(temp_folder))))
    of_file = demo.predict(Clip("clip.mp4", str(path)), POINTS[0])
    of_upload = demo.predict(Clip("clip.mp4", upload=path.read_bytes()), POINTS[0])
    np.testing.assert_array_equal(of_upload.frames, of_file.frames)
    assert (of_file.config, of_file.views) == (of_upload.config, of_upload.views) == (SMALL, Views())
    assert of_upload.frames.min() == of_upload.frames.max() == 40
    assert seen == [[], []]  # nobody else sees the upload even while it is read
    assert os.listdir(temp_folder) == []
    assert Clip("a", str(path)).read() == Clip("b", upload=path.read_bytes()).read() == path.read_bytes()


def test_a_broken_upload_is_called_by_its_name_and_leaves_no_file(temp_folder):
    with pytest.raises(VideoDecodeError, match=r"^my clip\.mp4: ") as caught:
        Demo(NoNetwork()).predict(Clip("my clip.mp4", upload=b"not a video"), POINTS[0])
    assert "/proc" not in str(caught.value)
    assert "\n" not in str(caught.value)

    def fail(path, config, views):
        raise ValueError(f"{path}: too short")

    predictor = NoNetwork()
    predictor.read = fail
    with pytest.raises(ValueError, match=r"^my clip\.mp4: too short$"):
        Demo(predictor).predict(Clip("my clip.mp4", upload=b"x"), POINTS[0])
    assert os.listdir(temp_folder) == []


def test_networks_run_one_at_a_time_in_one_thread_and_reading_waits_for_none(numbered_video):
    inside, most, threads = [], [], set()
    all_read = threading.Barrier(4, timeout=30)  # broken unless four visitors' clips are read at the same time

    def running():
        inside.append(1)
        most.append(len(inside))
        threads.add(threading.get_ident())
        time.sleep(0.005)
        inside.pop()

    demo = Demo(NoNetwork(all_read.wait, running))
    with ThreadPoolExecutor(4) as visitors:
        list(visitors.map(lambda _: demo.predict(Clip("a", str(numbered_video)), POINTS[0]), range(12)))
    assert most == [1] * 12
    assert len(threads) == 1


def test_a_clip_with_a_map_is_read_once(numbered_video):
    seen = []
    predictor = NoNetwork(lambda: seen.append("read"))
    predictor.map_clips = lambda video: ("map", video)
    prediction, activation_map = Demo(predictor).predict_with_map(Clip("a", str(numbered_video)), POINTS[0])
    assert seen == ["read"]
    assert activation_map == ("map", prediction)


def test_what_the_page_says():
    assert (
        Demo(NoNetwork()).about()
        == "x3d · 2 classes · back end none on a PC · 3 of 4 measured sub-networks are on the front"
    )
    assert label_of_point(POINTS[2]) == "12.3 ms, 0.123 GFLOPs"
    several = replace(POINTS[2], views=Views(5, 1), pass_milliseconds=50.0)
    assert label_of_point(several) == "50 ms, 0.617 GFLOPs, 5 x 1 views"
    assert label_of_accuracy(POINTS[2]) == "Top-1, one view"
    assert label_of_accuracy(replace(POINTS[2], views=Views(10, 3))) == "Top-1, 10 x 3 views"
    assert repr(Clip("a.mp4", upload=b"x" * 1000)) == "Clip(name='a.mp4', path='', label='')"
    predictor = NoNetwork()
    predictor.points = lambda: (replace(POINTS[0], settled=False), *POINTS[1:])
    demo = Demo(predictor)
    assert demo.about().endswith(" · the machine was busy: times with ? did not settle")
    assert label_of_point(demo.points[0]) == "2? ms, 0.01 GFLOPs"
    predictor.points = lambda: (*POINTS[:2], several)
    predictor.table = QueryTable((*POINTS, several, replace(POINTS[0], views=Views(5, 1))), {"views": "5 x 1"})
    assert "3 of 4 measured sub-networks and views are on the front" in Demo(predictor).about()  # one is forecast
    assert escape_markdown("![a_b](http://c)") == r"\!\[a\_b\]\(http\:\/\/c\)"
    assert escape_markdown("a\n\n# b") == r"a \# b"  # one line, in which nothing is a heading


def test_frames_are_pngs_of_their_own_pixels():
    frames_THWC = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    read = [np.asarray(Image.open(io.BytesIO(file))) for file in pngs(frames_THWC)]
    np.testing.assert_array_equal(read, frames_THWC)
