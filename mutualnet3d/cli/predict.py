#!/usr/bin/env python3
"""What videos show, by the best sub-network within a budget.

    python tools/predict.py video.mp4 --checkpoint output/demo/calibrated.pyth --gflops 0.01 --json

VIDEO is a video, or a list of videos (.csv, .txt): a line `path` for each, or a line `path label` for each, paths
relative to the list's folder; the first line tells which. Without a budget and a sub-network the most expensive one
runs: of a checkpoint the full network, of a bundle the largest in it. With --json a line of JSON for each video is all
that goes to standard output; a video that cannot be read is `{"source": ..., "error": ...}`, and the others go on. The
exit status is 0 if all videos could be read, 1 if one could not, 2 if the command is wrong.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import statistics
import sys
from collections.abc import Sequence
from typing import TextIO

import simplejson
from iopath.common.file_io import g_pathmgr
from tqdm import tqdm

from mutualnet3d.data.check_videos import ANY_LABEL
from mutualnet3d.data.lists import full_path, read_kinetics_list, read_text
from mutualnet3d.data.make_lists import VIDEO_EXTENSIONS
from mutualnet3d.deploy import Prediction, Predictor, Timing
from mutualnet3d.deploy.backends import BACKENDS, CHOICES
from mutualnet3d.log import logger, progress
from mutualnet3d.video.reader import VideoDecodeError

LIST_EXTENSIONS = (".csv", ".txt")
INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="a video, or a list of videos (.csv, .txt)")
    parser.add_argument(
        "--checkpoint", required=True, metavar="PATH", help="calibrated.pyth of a test run, or a bundle"
    )
    parser.add_argument("--table", metavar="FILE", help="query_table.json of the same run; default: the one beside it")
    parser.add_argument("--gflops", type=float, help="1e9 multiply-adds that a clip may take")
    parser.add_argument("--milliseconds", type=float, help="that the network may take for a clip on this machine")
    parser.add_argument("--config", metavar="KEY", help="a sub-network instead of a budget, such as w0.63-s160-t10")
    parser.add_argument("--views", default="1", metavar="N", help="clips of a video, or NxM: M crops of each (1, 3)")
    parser.add_argument("--top", type=int, default=5, help="how many labels; default: 5")
    parser.add_argument(
        "--backend", default="auto", metavar="NAME", help=f"default: auto; of {', '.join([*CHOICES, *BACKENDS])}"
    )
    parser.add_argument("--device", help="cpu or cuda, of PyTorch; default: the GPU where there is one")
    parser.add_argument("--threads", type=int, help="of the CPU; default: as many as the back end takes by itself")
    parser.add_argument("--label-file", default="", metavar="FILE", help="names of the classes, if labels are names")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each video")
    return parser.parse_intermixed_args()  # videos may stand on both sides of options


def main() -> int:
    args = parse_args()
    logging.basicConfig(format="[%(asctime)s] %(message)s", datefmt="%m-%d %H:%M:%S")
    logger.setLevel(logging.INFO)
    try:
        return predict_all(args)
    except BrokenPipeError:  # nobody reads on, as behind `| head`: Python would say so once more as it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        _say("interrupted", sys.stderr)
        return INTERRUPTED


def predict_all(args: argparse.Namespace) -> int:
    """Predict every video; the exit status.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: what is wrong with the arguments.
    """
    views = parse_views(args.views)
    videos = find_videos(args.videos, args.label_file)
    predictor = Predictor.load(
        args.checkpoint, table=args.table, backend=args.backend, device=args.device, threads=args.threads
    )
    config, _ = predictor.choose(args.gflops, args.milliseconds, args.config)
    table = _Table(videos, predictor.class_names)
    timings: list[Timing] = []
    for path in progress(videos, len(videos), "videos"):
        try:
            prediction = predictor.predict(path, config=config, views=views, top=args.top)
        except VideoDecodeError as error:
            reason = " ".join(str(error).split())
            if args.json:
                _say(simplejson.dumps({"source": path, "error": reason}), sys.stdout)
            _say(reason, sys.stderr)
            continue
        if not args.json and not timings:
            _say(table.header(), sys.stdout)
        timings.append(prediction.timing)
        said = simplejson.dumps(prediction.to_json(), ignore_nan=True) if args.json else table.rows(prediction)
        _say(said, sys.stdout)
    _say(f"{_counted(len(timings), len(videos))}{_times(timings, f'{config} on {predictor.backend}')}", sys.stderr)
    return 0 if len(timings) == len(videos) else 1


def parse_views(text: str) -> int | tuple[int, int]:
    """`10` or `10x3` as `Predictor.predict` takes them.

    Raises:
        ValueError: neither.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise ValueError(f"--views {text}: expected clips of a video, as in 10, or clips x crops of each, as in 10x3")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def find_videos(words: Sequence[str], label_file: str = "") -> list[str]:
    """The paths that the command line means, those of its lists in their place.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a list that cannot be read; it names file and line.
    """
    paths: list[str] = []
    for word in words:
        paths += _listed(word, label_file) if word.lower().endswith(LIST_EXTENSIONS) else [word]
    return paths


def _listed(path: str, label_file: str) -> list[str]:
    """The paths in a list of lines `path`, or of lines `path label`."""
    if g_pathmgr.isfile(path):
        lines = [line.strip().strip('"') for line in read_text(path).split("\n")]
        paths = [full_path(os.path.dirname(path), line) for line in lines if line]
        if paths and (paths[0].lower().endswith(VIDEO_EXTENSIONS) or g_pathmgr.isfile(paths[0])):
            return paths
    return [video.path for video in read_kinetics_list(path, ANY_LABEL, label_file=label_file)]


class _Table:
    """For a terminal: a row for each video, below it a row for each label but the best.

    Args:
        videos: all paths that it will have.
        class_names: all labels.
    """

    def __init__(self, videos: Sequence[str], class_names: Sequence[str]):
        self._path = max(len("video"), *map(len, videos))
        self._label = max(len("label"), *map(len, class_names))

    def header(self) -> str:
        cost = f"{'sub-network':<16} {'GFLOPs':>8} {'ms: decode':>11} {'prepare':>8} {'network':>8}"
        return f"{'video':<{self._path}} {'score %':>8}  {'label':<{self._label}}  {cost}"

    def rows(self, prediction: Prediction) -> str:
        time = prediction.timing
        cost = (
            f"{prediction.config!s:<16} {prediction.gflops:>8.4f} {time.decode:>11.1f} {time.prepare:>8.1f} "
            f"{time.network:>8.1f}"
        )
        lines = []
        for number, label in enumerate(prediction.labels):
            path, behind = ("", "") if number else (prediction.source, cost)
            lines.append(f"{path:<{self._path}} {100 * label.score:>8.2f}  {label.name:<{self._label}}  {behind}")
        return "\n".join(line.rstrip() for line in lines)


def _counted(done: int, total: int) -> str:
    videos = "1 video" if total == 1 else f"{total} videos"
    return videos if done == total else f"{videos}, {total - done} of them could not be read"


def _times(timings: Sequence[Timing], by: str) -> str:
    """The end of the closing line; "" if nothing ran."""
    if not timings:
        return ""
    parts = {
        part: statistics.median(getattr(each, part) for each in timings) for part in ("decode", "prepare", "network")
    }
    return f"; {by}; median ms: {', '.join(f'{part} {each:.1f}' for part, each in parts.items())}"


def _say(text: str, file: TextIO) -> None:
    """Print at once, whatever names of files are made of, and above a progress bar."""
    tqdm.write(text.encode("utf-8", "backslashreplace").decode("utf-8"), file=file)
    file.flush()


if __name__ == "__main__":
    sys.exit(main())
