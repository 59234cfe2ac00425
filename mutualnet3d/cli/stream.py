r"""Draw a stream's predictions into a video: labels, the sub-network that ran, and its cost.

    mutualnet3d stream --checkpoint output/demo/calibrated.pyth --input video.mp4 --output predicted.mp4 \
        --milliseconds 20
    mutualnet3d stream --checkpoint output/demo/calibrated.pyth --input video.mp4 --output looked.mp4 --activation-map

Windows: a window slides over the input; a frame shows the prediction of the window in whose middle it is. With
--milliseconds every window has that much time, and the sub-network is chosen anew as the stream runs: the best one that
keeps the time. Otherwise one sub-network runs all the time: the best within --gflops, that of --subnet, or the most
expensive one that there is.

Camera: the input may be a camera's number. Then frames show the latest prediction, frames that come too fast are left
out, and --seconds or Ctrl-C ends the stream.

Activation map: with --activation-map frames also show where the network looks: the brighter a place, the more it raised
the score of the window's best label, or of a given label (Grad-CAM, scaled to the brightest place of a window). An
outline is around the part of the picture that the network sees.

The output is H.264 in .mp4 with the frames' own times, has its name only once it is whole, and has no sound. Pictures
less than 160 pixels wide are enlarged, as far as they are not high.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from mutualnet3d.cli import options
from mutualnet3d.cli.command import Command, log_to_terminal
from mutualnet3d.files.output import check_output_file
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from mutualnet3d.deploy import Predictor
    from mutualnet3d.deploy.stream import Predict
    from mutualnet3d.results.query_table import Row
    from mutualnet3d.results.trace import TracePoint

_TIME_BASE = Fraction(1, 90000)  # usual in video: all usual frame rates fit
_X264 = {"preset": "veryfast", "crf": "20"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d stream`."""
    options.add_checkpoint(parser)
    words = "a video (file, or folder of pictures), or a camera's number (0: /dev/video0)"
    parser.add_argument("--input", required=True, metavar="VIDEO", help=words)
    parser.add_argument("--output", required=True, metavar="FILE", help="new video, .mp4, without sound")
    options.add_budget(parser, "window")
    options.add_subnet(parser)
    words = "length of the input that is read, seconds; default: all of it, of a camera until Ctrl-C"
    parser.add_argument("--seconds", type=float, metavar="SECONDS", help=words)
    words = "time from a window to the next, seconds; default: a quarter of a window, of a camera as little as can be"
    parser.add_argument("--stride", type=float, metavar="SECONDS", help=words)
    words = "picture of the milliseconds of all windows beside the budget, .png or .svg"
    parser.add_argument("--trace-plot", metavar="FILE", help=words)
    words = "draw where the network looks, for LABEL or for the best label of a window; PyTorch runs"
    parser.add_argument("--activation-map", nargs="?", const="", metavar="LABEL", help=words)
    words = "layer of the activation map; default: the last one of more than one pixel that everything passes"
    parser.add_argument("--map-layer", metavar="NAME", help=words)
    options.add_backend(parser)
    options.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Make the video, and print a line about it; return the exit status.

    Args:
        args: arguments of the command.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: an argument is wrong.
        VideoDecodeError: the input cannot be read.
        OSError, VideoEncodeError: the output cannot be written.
    """
    log_to_terminal()
    check(args)

    from mutualnet3d.cli.drawing import Artist, draw_camera, draw_file
    from mutualnet3d.data.clip_sampling import span_length
    from mutualnet3d.deploy import Predictor
    from mutualnet3d.deploy.stream import Stream
    from mutualnet3d.plots.stream_trace import save_trace_plot
    from mutualnet3d.video.frame_stream import open_frame_stream
    from mutualnet3d.video.writer import BT709, open_video_writer

    camera = int(args.input) if args.input.isdecimal() and not os.path.exists(args.input) else None
    num_frames = count_frames(args.input, args.seconds) if camera is None else 0
    predictor = Predictor.load(
        args.checkpoint, table=args.table, backend=backend_of(args), device=args.device, threads=args.threads
    )
    rows, front = choose_rows(predictor, args)
    predict = choose_predict(predictor, rows, args)
    seconds = math.inf if args.seconds is None else args.seconds
    source = open_frame_stream(args.input if camera is None else camera)
    how = predictor.preprocessing
    span = span_length(how.num_frames, how.sampling_rate, how.target_fps, 1.0)
    with open_video_writer(args.output, source.fps, options=_X264, time_base=_TIME_BASE, colours=BT709) as writer:
        artist = Artist(writer, front, args.milliseconds)
        stream = Stream(
            predict,
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
    text = summary(trace, args.milliseconds, predictor.backend)
    print(printable(f"{args.output}: {artist.num_frames} frames; {text}"))
    return 0


def check(args: argparse.Namespace) -> None:
    """Check the arguments as far as that needs no file and no network.

    Args:
        args: arguments of the command.

    Raises:
        ValueError: a word that is not allowed, or not with the others.
        ModuleNotFoundError: matplotlib is not installed, and is needed.
    """
    from mutualnet3d.extras import require
    from mutualnet3d.plots.picture_file import SUFFIXES

    choices = [name for name in ("milliseconds", "gflops", "subnet") if getattr(args, name) is not None]
    if len(choices) > 1:
        raise ValueError(f"give one of --milliseconds, --gflops and --subnet; got --{' and --'.join(choices)}")
    if os.path.splitext(args.output)[1].lower() != ".mp4":
        raise ValueError(f"--output {args.output}: expected a name that ends in .mp4")
    if os.path.exists(args.input) and os.path.realpath(args.input) == os.path.realpath(args.output):
        raise ValueError(f"--output {args.output} is the input; choose another name")
    if args.seconds is not None and not args.seconds > 0:
        raise ValueError(f"--seconds is {args.seconds:g}; it must be above 0")
    backend_of(args)
    if args.map_layer is not None and args.activation_map is None:
        raise ValueError("--map-layer is the layer of --activation-map, which is not given")
    if args.trace_plot:
        if args.milliseconds is None:
            raise ValueError("--trace-plot shows how a time was held; it needs --milliseconds")
        if os.path.splitext(args.trace_plot)[1].lower() not in SUFFIXES:
            raise ValueError(f"--trace-plot {args.trace_plot}: expected a name that ends in {' or '.join(SUFFIXES)}")
        require("matplotlib", "plot")


def backend_of(args: argparse.Namespace) -> str:
    """Return the name of the back end: PyTorch for activation maps.

    Args:
        args: arguments of the command.

    Raises:
        ValueError: another one is named for them.
    """
    name: str = args.backend
    if args.activation_map is None:
        return name
    if name not in ("auto", "pytorch"):
        raise ValueError(
            f"--activation-map takes its maps from PyTorch's network, an exported one has none; --backend is {name}, "
            "allowed with it: pytorch"
        )
    return "pytorch"


def choose_predict(predictor: Predictor, rows: Sequence[Row], args: argparse.Namespace) -> Predict:
    """Return the function that predicts a window by one of the rows' sub-networks.

    Args:
        predictor: predictor of the checkpoint or bundle.
        rows: sub-networks that may run, with their costs.
        args: arguments of the command.

    Raises:
        ValueError: the network has no class or no layer of the name that is given.
    """
    from mutualnet3d.deploy.overlay import NUM_LABELS

    if args.activation_map is None:
        return lambda pictures, fps, config: predictor.predict(pictures, config=config, fps=fps, top=NUM_LABELS)
    label, layer = args.activation_map or None, args.map_layer
    predictor.prepare_maps([row.config for row in rows], label, layer)
    return lambda pictures, fps, config: predictor.activation_map(
        pictures, config=config, fps=fps, top=NUM_LABELS, label=label, layer=layer
    )


def count_frames(path: str, seconds: float | None) -> int:
    """Return about the number of frames that will be drawn.

    Args:
        path: path of the input.
        seconds: end of the part that is drawn, seconds; None: the input's end.

    Raises:
        VideoDecodeError: the video cannot be read; better known before the network is loaded.
    """
    from mutualnet3d.video.frame_rate import DEFAULT_FPS
    from mutualnet3d.video.open import open_video

    with open_video(path) as video:
        info = video.info
    return info.num_frames if seconds is None else min(info.num_frames, math.ceil(seconds * (info.fps or DEFAULT_FPS)))


def choose_rows(predictor: Predictor, args: argparse.Namespace) -> tuple[Sequence[Row], Sequence[Row]]:
    """Return the sub-networks that may run, prepared; and the front that they are shown on.

    Args:
        predictor: predictor of the checkpoint or bundle.
        args: arguments of the command.

    Raises:
        ValueError: nothing fits the budget, there is no table, or no such sub-network.
    """
    from mutualnet3d.results.query_table import Row

    if args.milliseconds is not None:
        points = predictor.points(views=1)
        return points, points
    config, row = predictor.choose(gflops=args.gflops, config=args.subnet, views=1)
    predictor.prepare([config])
    # One row that always fits: its time is not looked at.
    alone = Row(config, gflops=0.0, params=0, milliseconds=1.0, top1=0.0, top5=0.0)
    return (alone,), () if row is None else predictor.front("gflops", views=1)


def summary(trace: Sequence[TracePoint], budget: float | None, backend: str) -> str:
    """Return the sub-networks that ran, and their times, for people."""
    from mutualnet3d.results.trace import fraction_within

    if not trace:
        return "no window was run"
    times = [point.milliseconds for point in trace]
    counts = Counter(str(point.config) for point in trace)
    windows = "1 window" if len(trace) == 1 else f"{len(trace)} windows"
    text = f"{windows} on {backend}, {statistics.median(times):.1f} ms in the median"
    if budget is not None:
        text += f", {100 * fraction_within(trace, budget):.0f} % within {budget:g} ms"
    return f"{text}; {', '.join(f'{config} {count} x' for config, count in counts.most_common())}"


main = Command(
    __doc__,
    add_arguments,
    run,
    interrupted=lambda args: "interrupted; nothing is written",
    catches_sigterm=True,
    outputs={"output": check_output_file, "trace_plot": check_output_file},
)
