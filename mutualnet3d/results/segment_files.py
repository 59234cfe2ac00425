"""Files of a video's segments: tables, subtitles, scores.

Times are seconds since the video's first frame.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from mutualnet3d.files.atomic import write_atomically
from mutualnet3d.log import printable
from mutualnet3d.results.segments import Segment, WindowScores


def csv_text(segments: Sequence[Segment]) -> str:
    """Return a table with a header and a line for each segment.

    The columns are `start,end,label,score`, then `label_2,score_2` and so on where segments have more labels.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    top = max((len(segment.labels) for segment in segments), default=1)
    header = ["start", "end", "label", "score"]
    writer.writerow(header + [f"{name}_{number}" for number in range(2, top + 1) for name in ("label", "score")])
    for segment in segments:
        row = [f"{segment.start:.3f}", f"{segment.end:.3f}"]
        for label in segment.labels:
            row += [label.name, f"{label.score:.4f}"]
        writer.writerow(row)
    return file.getvalue()


def srt_text(segments: Sequence[Segment]) -> str:
    """Return subtitles (SubRip): for each segment a number, `00:00:01,500 --> 00:00:04,000`, and lines `label 87 %`."""
    blocks = []
    for number, segment in enumerate(segments, start=1):
        start, end = _clock(segment.start), _clock(segment.end)
        lines = [f"{_line(label.name)} {100 * label.score:.0f} %" for label in segment.labels]
        blocks.append("\n".join([str(number), f"{start} --> {end}", *lines]) + "\n")
    return "\n".join(blocks)


def save_window_scores(path: str, scores: WindowScores, config: str) -> None:
    """Write the scores of all windows to one NumPy file (.npz), atomically.

    file = np.load(path)
    file["scores"], file["starts"], file["span_seconds"], file["duration_seconds"], file["classes"], file["config"]

    Args:
        path: path of the file.
        scores: scores, float32 (N, K); rows of NaN belong to windows with most of their frames lost.
        config: key of the sub-network.
    """
    arrays = {
        "scores": scores.score_NK,
        "starts": scores.start_N,
        "span_seconds": np.array(scores.span_seconds),
        "duration_seconds": np.array(scores.duration_seconds),
        "classes": np.array(scores.class_names),
        "config": np.array(config),
    }
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def _clock(seconds: float) -> str:
    """Return `01:02:03,456`."""
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"


def _line(name: str) -> str:
    """Return the name of a class on a line that no player takes for times or markup."""
    return printable(" ".join(name.split())).translate(str.maketrans("<>{}", "()()"))
