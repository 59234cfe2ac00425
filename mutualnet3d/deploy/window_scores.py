"""Scores, or other values, of all windows of a video, read in one thread and run in batches in another.

Legend: N windows, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import torch

from mutualnet3d.data.window_reader import WindowClips, WindowReader
from mutualnet3d.deploy.prediction import score_views
from mutualnet3d.results.segments import WindowScores

# Clips of windows, one tensor for each pathway -> logits or other values of each, and the seconds they took.
ForwardWindows: TypeAlias = Callable[[Sequence[torch.Tensor]], tuple[torch.Tensor, float]]
# (items, their number) -> the items, while a progress bar goes on.
Progress: TypeAlias = Callable[[Iterable[Any], int], Iterable[Any]]


def run_windows(
    reader: WindowReader,
    forward: ForwardWindows,
    ensemble: str,
    batch_size: int,
    class_names: tuple[str, ...],
    progress: Progress | None = None,
) -> tuple[WindowScores, float]:
    """Return the scores of all windows of a video, and the seconds that the network took.

    Args:
        reader: reader of the windows.
        forward: forward pass of some windows, to logits.
        ensemble: way of putting a video's views together, which scores a window like a video of one view.
        batch_size: number of windows in a forward pass, at least 1.
        class_names: names of the classes.
        progress: function that shows a progress bar over the windows; None: no bar.

    Raises:
        VideoDecodeError: the video cannot be read, see `WindowReader`, or no window has half of its frames.
    """
    windows = reader.windows
    score_NK = np.full((len(windows), len(class_names)), np.nan, np.float32)
    network_seconds = 0.0
    scored: Iterable[tuple[torch.Tensor | None, float]] = score_windows(reader, forward, ensemble, batch_size)
    if progress is not None:
        scored = progress(scored, len(windows))
    for number, (score_K, seconds) in enumerate(scored):
        network_seconds += seconds
        if score_K is not None:
            score_NK[number] = score_K.numpy()
    reader.check_any(int((~np.isnan(score_NK[:, 0])).sum()))
    span, duration = windows.span_seconds, windows.duration_seconds
    return WindowScores(score_NK, windows.start_N, span, duration, class_names), network_seconds


def score_windows(
    reader: WindowReader, forward: ForwardWindows, ensemble: str, batch_size: int
) -> Iterator[tuple[torch.Tensor | None, float]]:
    """Yield the scores (K,) of each window in turn, and the seconds of the network for it.

    Windows with most of their frames lost have None in the place of scores.

    Args:
        reader: reader of the windows.
        forward: forward pass of some windows, to logits.
        ensemble: way of putting a video's views together, which scores a window like a video of one view.
        batch_size: number of windows in a forward pass, at least 1.

    Raises:
        VideoDecodeError: the video cannot be read, see `WindowReader`.
    """
    for logits_K, seconds in window_values(reader, forward, batch_size):
        yield None if logits_K is None else score_views(logits_K[None], ensemble), seconds


def window_values(
    reader: WindowReader, forward: ForwardWindows, batch_size: int
) -> Iterator[tuple[torch.Tensor | None, float]]:
    """Yield the network's output for each window in turn, and its seconds.

    Windows with most of their frames lost have None in the place of the output.

    The next batch is read while the network runs. In memory are the clips of two batches, and the frames of a window.

    Args:
        reader: reader of the windows.
        forward: forward pass of some windows.
        batch_size: number of windows in a forward pass, at least 1.

    Raises:
        VideoDecodeError: the video cannot be read, see `WindowReader`.
    """
    batches = _batches(iter(reader), batch_size)
    with ThreadPoolExecutor(1, "mutualnet3d windows") as thread:
        reading = thread.submit(next, batches, None)
        while (batch := reading.result()) is not None:
            reading = thread.submit(next, batches, None)
            yield from _values_of(batch, forward)


def _values_of(batch: Sequence[WindowClips], forward: ForwardWindows) -> Iterator[tuple[torch.Tensor | None, float]]:
    seen = [window.clips for window in batch if window.clips]
    if not seen:
        yield from ((None, 0.0) for _ in batch)
        return
    values_N, seconds = forward([torch.stack(clips) for clips in zip(*seen, strict=True)])
    values = iter(values_N)
    for window in batch:
        yield (next(values), seconds / len(seen)) if window.clips else (None, 0.0)


def _batches(windows: Iterator[WindowClips], size: int) -> Iterator[list[WindowClips]]:
    while batch := list(islice(windows, size)):
        yield batch
