"""What the page of tools/demo_web.py shows, apart from how: its clips, their predictions one at a time, its curve.

    demo = open_demo("output/demo/calibrated.pyth", clips="data/moving_shapes/val.csv")
    prediction = demo.predict(demo.clips[0], demo.points[-1].config)

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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iopath.common.file_io import g_pathmgr
from PIL import Image

from mutualnet3d.data.lists import read_kinetics_list
from mutualnet3d.data.video_files import VIDEO_EXTENSIONS
from mutualnet3d.extras import require
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.paths import is_folder, picture_paths, video_exists

if TYPE_CHECKING:
    import numpy as np

    from mutualnet3d.deploy import Prediction, Predictor
    from mutualnet3d.results.query_table import Row

_BLUE, _ORANGE = "#0072B2", "#D55E00"


@dataclass(frozen=True)
class Clip:
    """A video to choose.

    Args:
        name: as the page says it.
        path: path of its file or folder of pictures; that of an upload is "".
        label: name of its class, "" if it is not known.
        upload: the content of an uploaded file.

    Raises:
        ValueError: neither a path nor an upload, or both.
    """

    name: str
    path: str = ""
    label: str = ""
    upload: bytes | None = None

    def __post_init__(self) -> None:
        if bool(self.path) == (self.upload is not None):
            raise ValueError(f"clip {self.name!r} needs a path or an upload, and not both")

    def __str__(self) -> str:
        return f"{self.name} ({self.label})" if self.label else self.name

    @property
    def is_folder(self) -> bool:
        """Whether the clip is a folder of pictures."""
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
    """Return the videos of a folder (at any depth, by name) or of a Kinetics-style list (in its order); or one video,
    a file or a folder of pictures.

    Args:
        class_names: of the network; the labels of a list are theirs.
        label_file: names of the classes, if a list's labels are names.

    Raises:
        FileNotFoundError: there is neither.
        ValueError: a folder without videos, or a list that cannot be read; it names the line.
    """
    if g_pathmgr.isdir(path):
        found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
        videos = sorted(each for each in found if each.lower().endswith(VIDEO_EXTENSIONS))
        if not videos and video_exists(path):
            return (Clip(os.path.basename(os.path.abspath(path)), path),)
        if not videos:
            raise ValueError(
                f"{path}: no videos in this folder; expected files {', '.join(VIDEO_EXTENSIONS)}, or pictures"
            )
        return tuple(Clip(os.path.relpath(each, path), each) for each in videos)
    if not g_pathmgr.isfile(path):
        raise FileNotFoundError(f"no folder of videos and no list of them at {path}")
    if path.lower().endswith(VIDEO_EXTENSIONS):
        return (Clip(os.path.basename(path), path),)
    folder = os.path.dirname(path)
    return tuple(
        Clip(video.path.removeprefix(os.path.join(folder, "")), video.path, class_names[video.label])
        for video in read_kinetics_list(path, len(class_names), label_file=label_file)
    )


class Demo:
    """A predictor for many visitors at once, and the clips that they choose from.

    All predictions are made in one thread: one at a time, so that each has the machine and its milliseconds are those
    of one clip; and always the same, which keeps the threads that PyTorch has started for it.

    Args:
        predictor: measured at once, if it has not been.
        clips: may be none: there are uploads.

    Attributes:
        points: the front over milliseconds measured here, the cheapest first.
        others: what was measured besides.
    """

    def __init__(self, predictor: Predictor, clips: Sequence[Clip] = ()):
        self.predictor = predictor
        self.clips = tuple(clips)
        self.points: tuple[Row, ...] = predictor.points()
        self.others = tuple(row for row in predictor.table.rows if row not in self.points)
        self._thread = ThreadPoolExecutor(1, "predictor")

    def predict(self, clip: Clip, config: SubnetConfig) -> Prediction:
        """What a sub-network makes of a clip; waits until those who came before are done.

        Raises:
            VideoDecodeError: the clip cannot be read. The message calls an upload by its name.
            ValueError: the predictor's.
        """
        return self._thread.submit(self._predict, clip, config).result()

    def _predict(self, clip: Clip, config: SubnetConfig) -> Prediction:
        if clip.upload is None:
            return self.predictor.predict(clip.path, config=config)
        # On Linux this file has no name: whatever happens, SIGKILL too, nobody's video stays behind in a folder.
        with tempfile.TemporaryFile() as file:
            file.write(clip.upload)
            file.flush()
            path = f"/proc/self/fd/{file.fileno()}"
            try:
                return self.predictor.predict(path, config=config)
            except VideoDecodeError as error:
                raise VideoDecodeError(str(error).replace(path, clip.name)) from error
            except ValueError as error:
                raise ValueError(str(error).replace(path, clip.name)) from error

    def about(self) -> str:
        """One line: what runs, by what, on what."""
        has, measured = self.predictor.table.context, len(self.points) + len(self.others)
        parts = [
            str(has.get("model", "network")),
            f"{len(self.predictor.class_names)} classes",
            f"back end {self.predictor.backend} on {has.get('device', 'this machine')}",
            f"{len(self.points)} of {measured} measured sub-networks are on the front",
        ]
        return " · ".join(parts)


@functools.cache
def open_demo(
    checkpoint: str,
    table: str | None = None,
    clips: str = "",
    label_file: str = "",
    backend: str = "auto",
    threads: int | None = None,
) -> Demo:
    """The demo of a checkpoint or bundle, the same one whenever it is asked for: Streamlit runs the page's script anew
    for every visitor and every move of the slider.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: as of `Predictor.load`, `Predictor.points`, `find_clips`.
    """
    from mutualnet3d.deploy import Predictor

    predictor = Predictor.load(checkpoint, table=table, backend=backend, threads=threads)
    return Demo(predictor, find_clips(clips, predictor.class_names, label_file) if clips else ())


def label_of_point(row: Row) -> str:
    """What the slider says: `12.3 ms, 0.0195 GFLOPs`."""
    return f"{row.milliseconds:.3g} ms, {row.gflops:.3g} GFLOPs"


def plain(text: str) -> str:
    """Text that comes out of Streamlit's Markdown as it is: a file may be named `![](http://...)`, which would be
    loaded."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def pngs(frames_THWC: np.ndarray) -> list[bytes]:
    """Each frame, uint8 RGB, as a PNG file of its own pixels."""
    files = []
    for frame_HWC in frames_THWC:
        file = io.BytesIO()
        Image.fromarray(frame_HWC).save(file, "png")
        files.append(file.getvalue())
    return files


def curve_figure(points: Sequence[Row], chosen: int, others: Sequence[Row] = ()) -> Any:
    """Accuracy over measured milliseconds as plotly's figure.

    Args:
        points: the front, the cheapest first.
        chosen: which of them is marked and named.
        others: sub-networks behind the front, drawn pale.

    Raises:
        ModuleNotFoundError: plotly is not installed; it says what to install.
    """
    go = require("plotly.graph_objects", "web")
    here = points[chosen]

    def trace(rows: Sequence[Row], **look: Any) -> Any:
        return go.Scatter(
            x=[row.milliseconds for row in rows],
            y=[row.top1 for row in rows],
            customdata=[[str(row.config), row.gflops] for row in rows],
            hovertemplate="<b>%{customdata[0]}</b><br>%{x:.3g} ms, %{customdata[1]:.3g} GFLOPs<br>"
            "top-1 %{y:.2f} %<extra></extra>",
            **look,
        )

    behind = trace(others, mode="markers", marker={"size": 8, "color": _BLUE, "opacity": 0.35})
    line = trace(points, mode="lines+markers", line={"color": _BLUE, "width": 2.5}, marker={"size": 9, "color": _BLUE})
    mark = go.Scatter(
        x=[here.milliseconds],
        y=[here.top1],
        mode="markers",
        marker={"size": 20, "color": "rgba(0,0,0,0)", "line": {"color": _ORANGE, "width": 4}},
        hoverinfo="skip",
    )
    # A front rises: above it on the left and below it on the right there is nothing.
    above = 2 * here.milliseconds > points[0].milliseconds + points[-1].milliseconds
    name = {
        "x": here.milliseconds,
        "y": here.top1,
        "text": f"<b>{here.config}</b><br>top-1 {here.top1:.1f} %",
        "showarrow": False,
        "align": "right" if above else "left",
        "xanchor": "right" if above else "left",
        "yanchor": "bottom" if above else "top",
        "xshift": -10 if above else 10,
        "yshift": 10 if above else -10,
        "font": {"color": _ORANGE, "size": 14},
    }
    accuracies = [row.top1 for row in (*points, *others)]
    lowest, highest = min(accuracies), max(accuracies)
    room = 0.25 * (highest - lowest) or 1.0
    return go.Figure(
        [behind, line, mark],
        layout={
            "xaxis": {"title": {"text": "milliseconds per clip, measured here"}},
            "yaxis": {"title": {"text": "top-1 accuracy, %"}, "range": [lowest - room, highest + room]},
            "annotations": [name],
            "showlegend": False,
            "height": 460,
            "margin": {"t": 20, "r": 20, "b": 50, "l": 60},
        },
    )
