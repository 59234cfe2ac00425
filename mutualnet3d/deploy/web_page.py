"""Data of the page of `mutualnet3d web`: its clips, and their predictions.

    demo = open_demo("output/demo/calibrated.pyth", clips="data/moving_shapes/val.csv")
    prediction = demo.predict(demo.clips[0], demo.points[-1])

Legend: T frames, S side of the square.
"""

from __future__ import annotations

import functools
import io
import os
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iopath.common.file_io import g_pathmgr
from PIL import Image

from mutualnet3d.data.any_list import read_any_list
from mutualnet3d.data.video_files import VIDEO_EXTENSIONS, find_picture_folders, find_video_files
from mutualnet3d.results.table_text import views_text
from mutualnet3d.video.open_file import path_of_open_file
from mutualnet3d.video.paths import is_folder, picture_paths

if TYPE_CHECKING:
    import numpy as np

    from mutualnet3d.deploy.activation_map import ActivationMap
    from mutualnet3d.deploy.prediction import Prediction, ReadVideo
    from mutualnet3d.deploy.predictor import Predictor
    from mutualnet3d.results.query_table import Row


@dataclass(frozen=True)
class Clip:
    """Video on the page.

    Args:
        name: name on the page.
        path: path of its file; "" for an upload.
        label: name of its class; "": unknown.
        upload: content of an uploaded file; None without any.

    Raises:
        ValueError: there is neither a path nor an upload, or both.
    """

    name: str
    path: str = ""
    label: str = ""
    upload: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if bool(self.path) == (self.upload is not None):
            raise ValueError(f"clip {self.name!r} needs a path or an upload, and not both")

    def __str__(self) -> str:
        return f"{self.name} ({self.label})" if self.label else self.name

    @property
    def is_folder(self) -> bool:
        """True for a folder of pictures."""
        return self.upload is None and is_folder(self.path)

    def read(self) -> bytes:
        """Return the content of the file, or of the folder's middle picture, for the browser."""
        if self.upload is not None:
            return self.upload
        path = self.path
        if self.is_folder:
            pictures = picture_paths(path)
            path = pictures[len(pictures) // 2]
        with g_pathmgr.open(path, "rb") as file:
            content: bytes = file.read()
            return content


def find_clips(path: str, class_names: Sequence[str], label_file: str = "") -> tuple[Clip, ...]:
    """Return the videos of a folder, of a Kinetics-style list (in its order), or a single video.

    A folder is searched at any depth, and its videos are sorted by name; if it has no video files, its folders of
    pictures count. A single video is a file or a folder of pictures.

    Args:
        path: path of the folder, list or video.
        class_names: names of the network's classes, whose numbers are a list's labels.
        label_file: path of the file of class names, for a list whose labels are names; "": numbers.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the folder has no videos, or the list cannot be read; the message names the line.
    """
    if g_pathmgr.isdir(path):
        videos = find_video_files(path) or find_picture_folders(path)
        if videos == ["."]:
            return (Clip(os.path.basename(os.path.abspath(path)), path),)
        if not videos:
            raise ValueError(
                f"{path}: no videos in this folder; expected files {', '.join(VIDEO_EXTENSIONS)}, or pictures"
            )
        return tuple(Clip(video, os.path.normpath(os.path.join(path, video))) for video in videos)
    if not g_pathmgr.isfile(path):
        raise FileNotFoundError(f"no folder of videos and no list of them at {path}")
    if path.lower().endswith(VIDEO_EXTENSIONS):
        return (Clip(os.path.basename(path), path),)
    folder = os.path.dirname(path)
    listed_videos, label_sets = read_any_list(path, len(class_names), label_file=label_file)
    names: Sequence[str] = class_names
    if label_sets is not None:
        names = [", ".join(class_names[number] for number in classes) for classes in label_sets.classes()]
    prefix = os.path.join(folder, "")
    return tuple(Clip(listed.path.removeprefix(prefix), listed.path, names[listed.label]) for listed in listed_videos)


class Demo:
    """Predictor for many visitors at once, with the clips that they choose from.

    Videos are read in the threads of their visitors, several at a time. All networks run in the same thread, one at a
    time, so that a network has the machine to itself and its milliseconds are those of one clip; PyTorch keeps the
    threads that it has started for this thread.

    Args:
        predictor: predictor, which is measured at once unless it has been.
        clips: videos to choose from; empty for uploads alone.

    Attributes:
        points: front over milliseconds of a video measured here, the cheapest first.
        others: other measured rows.
    """

    def __init__(self, predictor: Predictor, clips: Sequence[Clip] = ()):
        self.predictor = predictor
        self.clips = tuple(clips)
        self.points: tuple[Row, ...] = predictor.points()
        measured = (row for row in predictor.table.rows if row.views.count == 1 or row.pass_milliseconds is not None)
        self.others = tuple(row for row in measured if row not in self.points)
        self._thread = ThreadPoolExecutor(1, "predictor")

    def predict(self, clip: Clip, row: Row) -> Prediction:
        """Predict a clip by the sub-network and with the views of a row.

        The clip waits for the predictions whose clips were read before.

        Args:
            clip: clip on the page.
            row: row of the front.

        Raises:
            VideoDecodeError: the clip cannot be read. The message has the name of an upload.
            BusyError: too many clips are being read.
            ValueError: the predictor refuses the clip.
        """
        return self._thread.submit(self.predictor.run, self._read(clip, row)).result()

    def predict_with_map(self, clip: Clip, row: Row) -> tuple[Prediction, ActivationMap]:
        """Predict a clip as `predict` does, with a map of the places that the network looked at.

        Args:
            clip: clip on the page.
            row: row of the front.

        Raises:
            VideoDecodeError, BusyError, ValueError: errors of `predict`; the bundle lacks PyTorch's network.
        """
        read = self._read(clip, row)
        prediction = self._thread.submit(self.predictor.run, read)
        activation_map = self._thread.submit(self.predictor.map_clips, read)
        return prediction.result(), activation_map.result()

    def _read(self, clip: Clip, row: Row) -> ReadVideo:
        if clip.upload is None:
            return self.predictor.read(clip.path, config=row.config, views=row.views)
        # On Linux this file has no name: whatever happens, SIGKILL too, no visitor's video is left in a folder.
        with tempfile.TemporaryFile() as file:
            file.write(clip.upload)
            file.flush()
            with path_of_open_file(file.fileno(), clip.name) as path:
                return self.predictor.read(path, config=row.config, views=row.views)

    def about(self) -> str:
        """Return a line with network, back end, machine and sub-networks."""
        table, measured = self.predictor.table, len(self.points) + len(self.others)
        parts = [
            str(table.context.get("model", "network")),
            f"{len(self.predictor.class_names)} classes",
            f"back end {self.predictor.backend} on {table.facts.get('device', 'this machine')}",
            f"{len(self.points)} of {measured} measured {self._rows_text()} are on the front",
        ]
        if not all(row.settled for row in (*self.points, *self.others)):
            parts.append("the machine was busy: times with ? did not settle")
        return " · ".join(parts)

    def _rows_text(self) -> str:
        several = any(row.views.count > 1 for row in (*self.points, *self.others))
        return "sub-networks and views" if several else "sub-networks"


@functools.cache
def open_demo(
    checkpoint: str,
    table: str | None = None,
    clips: str = "",
    label_file: str = "",
    backend: str = "auto",
    threads: int | None = None,
) -> Demo:
    """Return the demo of a checkpoint or bundle, the same object for the same arguments.

    Its videos are read in processes with a limit of time and memory.

    Streamlit runs the page's script anew for every visitor and every move of the slider.

    Args:
        checkpoint: path of the checkpoint or bundle.
        table: path of the query table; None: query_table.json beside the checkpoint.
        clips: path of a folder, list or video, see `find_clips`; "": uploads alone.
        label_file: path of the file of class names; "": numbers.
        backend: name of the back end, see `Predictor.load`.
        threads: number of threads of the CPU, see `Predictor.load`.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: errors of `Predictor.load`, `Predictor.points` and
            `find_clips`.
    """
    from mutualnet3d.data.limited_reader import LimitedClipReader
    from mutualnet3d.deploy.backend_choice import check_choice
    from mutualnet3d.deploy.predictor import Predictor, load_networks

    check_choice(backend, threads)
    networks = load_networks(checkpoint, table)
    page_clips = find_clips(clips, networks.class_names, label_file) if clips else ()
    reader = LimitedClipReader(networks.preprocessing)  # last: it starts a process
    try:
        return Demo(Predictor(networks, backend=backend, threads=threads, reader=reader), page_clips)
    except BaseException:
        reader.close()
        raise


def label_of_point(row: Row) -> str:
    """Return the slider's text of a row, its costs of a video.

    Examples are `12.3 ms, 0.0195 GFLOPs`, `61.5 ms, 0.0975 GFLOPs, 5 x 1 views`, and `12.3? ms` for a time that did not
    settle.
    """
    text = f"{row.milliseconds_of_video:.3g}{'' if row.settled else '?'} ms, {row.gflops_of_video:.3g} GFLOPs"
    return text if row.views.count == 1 else f"{text}, {views_text(row.views)}"


def label_of_accuracy(row: Row) -> str:
    """Return the name of a row's accuracy, with its number of views."""
    return f"{'mAP' if row.mean_ap is not None else 'Top-1'}, {views_text(row.views)}"


def escape_markdown(text: str) -> str:
    """Return text that Streamlit's Markdown shows literally.

    A file may be named `![](http://...)`, which a browser would load.
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def pngs(frames_THWC: np.ndarray) -> list[bytes]:
    """Return the frames, uint8 RGB, as PNG files of the same size."""
    files = []
    for frame_HWC in frames_THWC:
        file = io.BytesIO()
        Image.fromarray(frame_HWC).save(file, "png")
        files.append(file.getvalue())
    return files
