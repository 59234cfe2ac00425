#!/usr/bin/env python3
"""Draws what the network says into a video: labels, the sub-network that ran, and what it cost.

    python tools/demo_net.py --checkpoint output/demo/calibrated.pyth --input video.mp4 --output predicted.mp4 \\
        --milliseconds 20

A window slides over the input; every frame shows what was said of the window that it is in the middle of. With
--milliseconds each window has so much time, and the sub-network is the best one that keeps it while it runs; otherwise
one sub-network runs all the time: the best within --gflops, that of --config, or the most expensive one that there is.

The input may be a camera's number: then frames show what was said last, frames that come too fast are left out, and
--seconds or Ctrl-C ends it. The output is H.264 in .mp4 with the frames' own times, has its name only once it is whole,
and has no sound. Pictures less than 160 pixels wide are enlarged, as far as they are not high.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np

from mutualnet3d.data.clip_sampling import span_length
from mutualnet3d.deploy import Predictor, TracePoint
from mutualnet3d.deploy.backends import BACKENDS, CHOICES
from mutualnet3d.deploy.overlay import NUM_LABELS, draw_overlay
from mutualnet3d.deploy.stream import Stream, Window
from mutualnet3d.extras import require
from mutualnet3d.log import logger, progress
from mutualnet3d.plots.stream_trace import SUFFIXES, save_trace_plot
from mutualnet3d.results.query_table import Row
from mutualnet3d.video.frame_stream import FrameSource, open_source
from mutualnet3d.video.reader import VideoReader

INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended

# Narrower pictures have no room for letters; they are enlarged to this width at least, if that makes none this high.
_NARROW, _ENLARGED, _HIGH = 160, 320, 2160
_TIME_BASE = Fraction(1, 90000)  # usual in video: all usual frame rates fit
_USUAL_FPS = 30.0
_BT709, _LIMITED = 1, 1  # libav's numbers of the colour space, primaries and curve, and of the range of values
_REPORT_SECONDS = 10.0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", required=True, metavar="PATH", help="calibrated.pyth of a test run, or a bundle"
    )
    parser.add_argument("--table", metavar="FILE", help="query_table.json of the same run; default: the one beside it")
    parser.add_argument(
        "--input", required=True, metavar="VIDEO", help="a video, or a camera's number (0: /dev/video0)"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the new video, .mp4, without sound")
    parser.add_argument("--milliseconds", type=float, help="that a window may take on this machine, held as it runs")
    parser.add_argument("--gflops", type=float, help="1e9 multiply-adds that a clip may take")
    parser.add_argument("--config", metavar="KEY", help="a sub-network, such as w0.63-s160-t10")
    parser.add_argument("--seconds", type=float, help="of the input; default: all, of a camera until Ctrl-C")
    parser.add_argument(
        "--stride", type=float, help="seconds between windows; default: a quarter of one, of a camera as few as can be"
    )
    parser.add_argument("--trace-plot", metavar="FILE", help="picture of how the milliseconds were held, .png, .svg")
    parser.add_argument(
        "--backend", default="auto", metavar="NAME", help=f"default: auto; of {', '.join([*CHOICES, *BACKENDS])}"
    )
    parser.add_argument("--device", help="cpu or cuda, of PyTorch; default: the GPU where there is one")
    parser.add_argument("--threads", type=int, help="of the CPU; default: as many as the back end takes by itself")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    logging.basicConfig(format="[%(asctime)s] %(message)s", datefmt="%m-%d %H:%M:%S")
    logger.setLevel(logging.INFO)
    try:
        print(run(args))
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError, av.FFmpegError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing is written", file=sys.stderr)
        return INTERRUPTED
    return 0


def run(args: argparse.Namespace) -> str:
    """Make the video; what is to be said of it.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: what is wrong with the arguments.
        VideoDecodeError: the input cannot be read.
        OSError, av.FFmpegError: the output cannot be written.
    """
    check(args)
    camera = int(args.input) if args.input.isdecimal() and not os.path.exists(args.input) else None
    num_frames = count_frames(args.input, args.seconds) if camera is None else 0
    predictor = Predictor.load(
        args.checkpoint, table=args.table, backend=args.backend, device=args.device, threads=args.threads
    )
    rows, front = choose_rows(predictor, args)
    seconds = math.inf if args.seconds is None else args.seconds
    source = open_source(args.input if camera is None else camera)
    with VideoWriter(args.output, source.fps) as writer:
        artist = Artist(writer, front, args.milliseconds)
        how = predictor.preprocessing
        span = span_length(how.num_frames, how.sampling_rate, how.target_fps, 1.0)
        stream = Stream(
            lambda pictures, fps, config: predictor.predict(pictures, config=config, fps=fps, top=NUM_LABELS),
            rows,
            how,
            args.input if camera is None else artist.drawn(source, seconds),
            milliseconds=math.inf if args.milliseconds is None else args.milliseconds,
            stride=span / 4 if args.stride is None and camera is None else args.stride,
        )
        with stream:
            if camera is None:
                draw_file(artist, source, stream, seconds, num_frames)
            else:
                draw_camera(artist, stream)
    trace = stream.trace
    if args.trace_plot and trace:
        try:
            save_trace_plot(trace, args.milliseconds, args.trace_plot, os.path.basename(args.output))
        except OSError as error:
            raise OSError(f"--trace-plot {args.trace_plot} cannot be written: {error}; {args.output} is") from error
    return f"{args.output}: {artist.num_frames} frames; {summary(trace, args.milliseconds, predictor.backend)}"


def check(args: argparse.Namespace) -> None:
    """What can be known before anything is read.

    Raises:
        ValueError: a word that is not allowed, or not with the others.
        ModuleNotFoundError: matplotlib is not installed, and is needed.
    """
    given = [name for name in ("milliseconds", "gflops", "config") if getattr(args, name) is not None]
    if len(given) > 1:
        raise ValueError(f"give one of --milliseconds, --gflops and --config; got --{' and --'.join(given)}")
    if os.path.splitext(args.output)[1].lower() != ".mp4":
        raise ValueError(f"--output {args.output}: expected a name that ends in .mp4")
    if os.path.exists(args.input) and os.path.realpath(args.input) == os.path.realpath(args.output):
        raise ValueError(f"--output {args.output} is the input; choose another name")
    if args.seconds is not None and not args.seconds > 0:
        raise ValueError(f"--seconds is {args.seconds:g}; it must be above 0")
    if args.trace_plot:
        if args.milliseconds is None:
            raise ValueError("--trace-plot shows how a time was held; it needs --milliseconds")
        if os.path.splitext(args.trace_plot)[1].lower() not in SUFFIXES:
            raise ValueError(f"--trace-plot {args.trace_plot}: expected a name that ends in {' or '.join(SUFFIXES)}")
        require("matplotlib", "plot")


def count_frames(path: str, seconds: float | None) -> int:
    """How many frames will be drawn, about.

    Raises:
        VideoDecodeError: the video cannot be read; better known before the network is loaded.
    """
    with VideoReader(path) as video:
        info = video.info
    return info.num_frames if seconds is None else min(info.num_frames, math.ceil(seconds * (info.fps or _USUAL_FPS)))


def choose_rows(predictor: Predictor, args: argparse.Namespace) -> tuple[Sequence[Row], Sequence[Row]]:
    """The sub-networks that may run, ready to; and the front that they are shown on.

    Raises:
        ValueError: nothing fits the budget, there is no table, or no such sub-network.
    """
    if args.milliseconds is not None:
        points = predictor.points()
        return points, points
    config, row = predictor.choose(gflops=args.gflops, config=args.config)
    predictor.prepare([config])
    # One row that always fits: its time is not looked at.
    alone = Row(config, gflops=0.0, params=0, milliseconds=1.0, top1=0.0, top5=0.0)
    return (alone,), () if row is None else predictor.table.pareto("gflops")


class VideoWriter:
    """Writes pictures with their times as H.264 into a file that has its name only once it is whole.

    A context manager: an exception leaves no file, and an older one of the name what it was.

    Args:
        path: of the file, .mp4.
        fps: frames per second, about; frames have their own times.
    """

    def __init__(self, path: str, fps: float | None):
        self._path, self._rate = path, Fraction(fps or _USUAL_FPS).limit_denominator(1001)
        folder, name = os.path.split(path)
        # From the root on: libav takes a name such as "12:30.mp4" for a protocol's.
        self._part = os.path.join(os.path.abspath(folder), f".{name}.{os.getpid()}.tmp")
        self._stream: av.VideoStream | None = None
        self._last_pts = -1
        self._is_closed = False

    def __enter__(self) -> VideoWriter:
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        # The index is put at the file's start: players begin there.
        self._container = av.open(self._part, "w", format="mp4", options={"movflags": "+faststart"})
        return self

    def write(self, picture_HWC: np.ndarray, seconds: float, pixel_aspect: Fraction | None = None) -> None:
        """Add a picture, uint8 RGB, all of one size, that is shown from `seconds` on.

        Args:
            pixel_aspect: of the first, width over height of a pixel; None: not known.

        Raises:
            ValueError: the file is closed; H.264 has no pictures of that size.
        """
        if self._is_closed:  # a camera that was given up may still come back
            raise ValueError(f"{self._path}: the file is closed")
        # The encoder halves colours in both directions: an odd line at the edge is left out.
        height, width = (side // 2 * 2 for side in picture_HWC.shape[:2])
        if self._stream is None:
            self._stream = self._add_stream(width, height, pixel_aspect)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC[:height, :width]), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)
        self._last_pts = max(round(seconds / _TIME_BASE), self._last_pts + 1)
        frame.pts, frame.time_base = self._last_pts, _TIME_BASE
        frame.duration = max(1, round(1 / (self._rate * _TIME_BASE)))
        self._container.mux(self._stream.encode(frame))

    def _add_stream(self, width: int, height: int, pixel_aspect: Fraction | None) -> av.VideoStream:
        if not width or not height:
            raise ValueError(f"{self._path}: H.264 has no pictures that are a pixel wide or high, as the input's are")
        stream = self._container.add_stream("libx264", rate=self._rate, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1  # others would take the cores from the network, whose time is measured
        stream.time_base = context.time_base = _TIME_BASE
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        if pixel_aspect:
            context.sample_aspect_ratio = pixel_aspect
        try:
            context.open()
        except av.FFmpegError as error:
            raise ValueError(
                f"{self._path}: the encoder does not take pictures of {width} x {height}: {error}"
            ) from error
        return stream

    def __exit__(self, kind: object, *_: object) -> None:
        self._is_closed = True
        try:
            if kind is None and self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if kind is None:
                os.replace(self._part, self._path)
        finally:
            if os.path.exists(self._part):
                os.remove(self._part)


class Artist:
    """Draws the window of the moment into frames and writes them.

    Args:
        front: sub-networks that are shown beside the one that ran.
        budget: milliseconds of a window; None: there is none.

    Attributes:
        window: None: nothing is known yet, and nothing drawn.
        num_frames: that were written.
    """

    def __init__(self, writer: VideoWriter, front: Sequence[Row], budget: float | None):
        self._writer, self._front, self._budget = writer, front, budget
        self.window: Window | None = None
        self.num_frames = 0

    def draw(self, picture_HWC: np.ndarray, seconds: float, pixel_aspect: Fraction | None = None) -> None:
        """Write a frame as it is to be seen; `pixel_aspect` as of `VideoWriter.write`."""
        window, factor = self.window, enlargement(*picture_HWC.shape[:2])
        picture_HWC = picture_HWC.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else picture_HWC
        if window is not None:
            picture_HWC = draw_overlay(
                picture_HWC,
                window.prediction,
                milliseconds=window.milliseconds,
                budget=self._budget,
                front=self._front,
            )
        self._writer.write(picture_HWC, seconds, pixel_aspect)
        self.num_frames += 1

    def drawn(self, source: FrameSource, seconds: float) -> Iterator[np.ndarray]:
        """The pictures of a live source for so many seconds, each drawn as it passes."""
        try:
            for when, picture_HWC in source:
                if when >= seconds:
                    return
                self.draw(picture_HWC, when, source.pixel_aspect)
                yield picture_HWC
        finally:
            source.close()


def enlargement(height: int, width: int) -> int:
    """By what pictures of so many pixels are enlarged."""
    return 1 if width >= _NARROW else max(1, min(math.ceil(_ENLARGED / width), _HIGH // height))


def draw_file(artist: Artist, source: FrameSource, windows: Iterator[Window], seconds: float, num_frames: int) -> None:
    """Draw each frame of a file with the window whose middle is the nearest."""
    artist.window, following = next(windows, None), next(windows, None)
    frames = itertools.takewhile(lambda frame: frame[0] < seconds, source)
    try:
        for when, picture_HWC in progress(frames, num_frames, "frames drawn"):
            while following is not None and artist.window and when >= _between(artist.window, following):
                artist.window, following = following, next(windows, None)
            artist.draw(picture_HWC, when, source.pixel_aspect)
    finally:
        source.close()


def _between(window: Window, following: Window) -> float:
    """Where the middle of one window is as near as that of the other, seconds."""
    ends = (window.start_seconds, window.end_seconds, following.start_seconds, following.end_seconds)
    return sum(ends) / 4


def draw_camera(artist: Artist, windows: Iterator[Window]) -> None:
    """Say what was seen last, until the camera or Ctrl-C ends; frames are drawn where the stream reads them.

    Raises:
        ValueError: there was nothing to see.
    """
    last_said = time.monotonic()
    try:
        for window in windows:
            artist.window = window
            if time.monotonic() - last_said >= _REPORT_SECONDS:
                last_said = time.monotonic()
                best, config = window.prediction.labels[0], window.prediction.config
                logger.info(
                    "%.0f s: %s %.0f %%; %s, %.1f ms",
                    window.end_seconds,
                    best.name,
                    100 * best.score,
                    config,
                    window.milliseconds,
                )
    except KeyboardInterrupt:  # so is a recording ended
        logger.info("ended by Ctrl-C")
    if not artist.num_frames:
        raise ValueError("the camera gave no picture")


def summary(trace: Sequence[TracePoint], budget: float | None, backend: str | None) -> str:
    """What ran, and how long it took."""
    if not trace:
        return "no window was run"
    times = [point.milliseconds for point in trace]
    ran = Counter(str(point.config) for point in trace)
    windows = "1 window" if len(trace) == 1 else f"{len(trace)} windows"
    said = f"{windows} on {backend}, {statistics.median(times):.1f} ms in the median"
    if budget is not None:
        within = sum(taken <= budget for taken in times) / len(times)
        said += f", {100 * within:.0f} % within {budget:g} ms"
    return f"{said}; {', '.join(f'{config} {count} x' for config, count in ran.most_common())}"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it leaves nothing behind either
    sys.exit(main())
