#!/usr/bin/env python3
"""Time of reading a training clip: ours against torchcodec, decord, plain PyAV and libav's own decoding.

    pip install torchcodec decord
    python benchmarks/decode.py
    python benchmarks/decode.py --videos data/kinetics/train --as-they-are --spans 2 --rounds 5

A clip is X3D-M's, 16 frames, every 5th at 30 fps, from random places that are the same for all. It begins with opening
the file and ends with an uint8 array of whole RGB pictures. Every reader has one thread; all take turns at each clip;
what is timed is the process's CPU time. A place's cost is the median, and the best, of its rounds; a video's is the
mean over its places. The garbage collector is frozen before, as in our loader's workers. Numbers are ratios of clips
per second: 1.5 means that ours reads three clips while the other reads two.

    torchcodec e, a   get_frames_at with seek_mode exact and approximate
    decord            get_batch; it carries an older FFmpeg of its own
    PyAV              decode everything from the file's start, convert the wanted frames
    raw, needed       our decoding, of the packets that we choose, without conversion to RGB
    raw, all          libav's decoding of all packets from the keyframe on to the last wanted frame, likewise

Before that each reader's pictures are compared with ours; where plain PyAV's are not the same the exit status is 1.
torchcodec's approximate mode takes frames for evenly spaced; where they are not, it gives others. The last table is of
a step of mutual training: making all its shapes over making the full network's alone, crops and resizing included, for
steps as training draws them and for one in which all four sub-networks differ in size and frames.

torchcodec looks for FFmpeg's libraries under their plain names. PyAV brings them under names of its own, so the program
starts itself again with a folder of links to them on LD_LIBRARY_PATH: both then use the very same FFmpeg.

Videos: of folders those in H.264 that last 7 to 20 s at 15 frames per second or more; files whatever they are. Each is
measured as it is and re-encoded at a short side of 256 in two ways: with x264's defaults (up to 250 frames from a
keyframe to the next), as training sets often are, and as tools/prepare_videos.py does it. A third way is UCF-101's and
HMDB-51's: MPEG-4 with B-frames in AVI, at a height of 240 and 25 frames per second, short videos joined until they have
the length of UCF-101's (--videos ../shared/videos/surv_fight/fight/fi00?.mp4).
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from iopath.common.file_io import g_pathmgr
from program_options import add

import mutualnet3d as m3
from mutualnet3d.data.batch_sampler import ClipRequest
from mutualnet3d.data.clip_samplers import ClipSpan, RandomCrops, RandomSpans
from mutualnet3d.data.dataset import ClipSample, VideoDataset
from mutualnet3d.data.lists import Video
from mutualnet3d.data.video_files import find_video_files
from mutualnet3d.shapes import ClipShape, union_of_shapes
from mutualnet3d.video.container import open_file
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.reader import VideoReader
from mutualnet3d.video.transcode import Encoding, transcode

SPANS = RandomSpans(ClipSpan(num_frames=16, sampling_rate=5, target_fps=30.0))
CROPS = RandomCrops((256, 320), 224, flip=True)
FULL = ClipShape(16, 224)
SPACE = m3.SubnetSpace(width_range=(0.63, 1.0), sizes=(224, 192, 160, 128), frames=(16, 13, 10, 6))
STEP = (FULL, ClipShape(13, 192), ClipShape(10, 160), ClipShape(6, 128))
SEED = 0
VIDEOS = Path(__file__).resolve().parents[2] / "shared" / "videos" / "diverse"

# Frames of a video like those of UCF-101, its frames per second and height, and the encoder's options: up to as many
# frames from a keyframe to the next as Xvid takes by default.
AVI_FRAMES, AVI_FPS, AVI_HEIGHT = 180, 25, 240
AVI_OPTIONS = {"bf": "2", "g": "250", "qmin": "2", "qmax": "5"}

OURS, PYAV = "ours", "PyAV"
RAW_NEEDED, RAW_ALL = "raw, needed", "raw, all"
TORCHCODEC = {"exact": "torchcodec e", "approximate": "torchcodec a"}

# Reads the frames at the indices of a file: (T, H, W, C); None from one that only decodes.
Reader = Callable[[str, "list[int]"], "np.ndarray | None"]
# Seconds by what was timed, each (spans, rounds).
Seconds = dict[str, np.ndarray]

_LINKS = "MUTUALNET3D_BENCHMARK_LINKS"


@dataclass(frozen=True)
class Measured:
    """A video, one of a group of alike encoded ones."""

    group: str
    name: str
    path: str


class X264Defaults(Encoding):
    """Encoding by x264 without options: keyframes at cuts and after 250 frames, three B-frames, open pictures."""

    def options(self) -> dict[str, str]:
        return {"crf": str(self.crf), "preset": self.preset}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--videos",
        nargs="+",
        default=[str(VIDEOS)],
        metavar="PATH",
        help="files or folders of videos; default: %(default)s",
    )
    parser.add_argument("--as-they-are", action="store_true", help="do not re-encode")
    add(parser, "--spans", 5, "N", "number of places in a video")
    add(parser, "--rounds", 9, "N", "number of timed runs of a reader at a place")
    parser.add_argument("--only-shapes", action="store_true", help="print the last table alone")
    parser.add_argument("--wall", action="store_true", help="take the time of the clock in place of CPU time")
    args = parser.parse_args()
    if _LINKS not in os.environ:
        _start_again()
    try:
        sys.exit(_run(args))
    finally:
        shutil.rmtree(os.environ[_LINKS])


def _run(args: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    readers = _readers()
    clock = time.perf_counter if args.wall else time.process_time
    with tempfile.TemporaryDirectory() as folder:
        files = [
            (os.path.splitext(os.path.basename(path))[0], path) for given in args.videos for path in _videos(given)
        ]
        if not files:
            print(f"no video to read in {' '.join(args.videos)}: nothing is measured")
            return 0
        videos = [Measured("as they are", name, path) for name, path in files]
        if not args.as_they_are:
            videos += _encoded(files, folder)
            videos += _encoded_as_avi(files, folder)
        print(
            f"torch {torch.__version__}, {_libraries()}; one thread, {'wall' if args.wall else 'CPU'} time, "
            f"{args.spans} places a video, {args.rounds} rounds"
        )
        gc.collect()
        gc.freeze()
        spans = [_spans(video, args.spans) for video in videos]
        same = True
        if not args.only_shapes:
            same = _compare(readers, videos, spans)
            _compare_speed(readers, videos, spans, args.rounds, clock)
        _compare_shapes(videos, args.spans, args.rounds, clock)
    return 0 if same else 1


# ---- the tables ------------------------------------------------------------------------------------------------------


def _compare(readers: dict[str, Reader], videos: Sequence[Measured], spans: Sequence[list[list[int]]]) -> bool:
    """Print the differences of the readers' pictures from ours; return True if plain PyAV's are the same."""
    others = [name for name in readers if name not in (OURS, RAW_NEEDED, RAW_ALL)]
    print("\nlargest difference of a pixel from ours; 0: the same bits")
    print(_row("", others))
    same = True
    for video, places in zip(videos, spans, strict=True):
        differences = dict.fromkeys(others, 0)
        for indices in places:
            own = readers[OURS](video.path, indices)
            for name in others:
                differences[name] = max(differences[name], _difference(own, readers[name](video.path, indices)))
        same &= not differences[PYAV]
        print(_row(f"{video.group}: {video.name}", [str(value) for value in differences.values()]), flush=True)
    return same


def _compare_speed(
    readers: dict[str, Reader],
    videos: Sequence[Measured],
    spans: Sequence[list[list[int]]],
    rounds: int,
    clock: Callable[[], float],
) -> None:
    measured: list[Seconds] = []
    for video, places in zip(videos, spans, strict=True):
        runs = [
            {name: functools.partial(read, video.path, indices) for name, read in readers.items()} for indices in places
        ]
        measured.append(_take_turns(runs, rounds, clock))
    for statistic in (np.median, np.min):
        over = "median" if statistic is np.median else "best"
        others = [name for name in readers if name != OURS]
        print(f"\nour clips per second over theirs, by the {over} of {rounds} rounds")
        print(_row("", [*others, "our ms"]))
        ratios = []
        for video, seconds in zip(videos, measured, strict=True):
            cost = {name: float(statistic(seconds[name], axis=1).mean()) for name in readers}
            ratios.append([cost[name] / cost[OURS] for name in others])
            figures = [*(f"{ratio:.2f}" for ratio in ratios[-1]), f"{1e3 * cost[OURS]:.1f}"]
            print(_row(f"{video.group}: {video.name}", figures))
        means = _print_means(videos, np.array(ratios))
        peers = {name: mean for name, mean in zip(others, means, strict=True) if name in TORCHCODEC.values()}
        if peers:
            faster = min(peers, key=lambda name: peers[name])
            print(f"over the faster torchcodec ({faster}): {peers[faster]:.2f}")


def _compare_shapes(videos: Sequence[Measured], num_spans: int, rounds: int, clock: Callable[[], float]) -> None:
    listed = [Video(video.path, 0, video.name) for video in videos]
    dataset = VideoDataset(listed, SPANS, CROPS, seed=SEED)
    print(f"\ntime to make all shapes of a step over {FULL} alone, of {rounds} rounds")
    print(f"steps: as mutual training draws them, another for each place; all differ: {', '.join(map(str, STEP))}")
    print(_row("", ["steps, median", "steps, best", "all differ, median", "all differ, best"]))
    ratios = []
    for index, video in enumerate(videos):
        runs = []
        for epoch in range(num_spans):
            drawn = SPACE.at_step(SEED, index * num_spans + epoch)
            requests = {
                "full": ClipRequest(index, (FULL,), epoch),
                "step": ClipRequest(index, union_of_shapes([[config.clip_shape] for config in drawn]), epoch),
                "differ": ClipRequest(index, STEP, epoch),
            }
            for request in requests.values():
                assert torch.equal(_full(dataset[request]), _full(dataset[requests["full"]]))
            runs.append({name: functools.partial(dataset.__getitem__, request) for name, request in requests.items()})
        seconds = _take_turns(runs, rounds, clock)
        ratios.append(
            [
                statistic(seconds[name], axis=1).mean() / statistic(seconds["full"], axis=1).mean()
                for name in ("step", "differ")
                for statistic in (np.median, np.min)
            ]
        )
        print(_row(f"{video.group}: {video.name}", [f"{ratio:.3f}" for ratio in ratios[-1]]), flush=True)
    _print_means(videos, np.array(ratios), digits=3)


def _full(clip: object) -> torch.Tensor:
    assert isinstance(clip, ClipSample), clip
    return clip.clips[FULL]


def _take_turns(runs: Sequence[dict[str, Callable[[], object]]], rounds: int, clock: Callable[[], float]) -> Seconds:
    """Return seconds of each function by name, (places, rounds).

    Args:
        runs: functions to be timed at each place, by name.
    """
    names = list(runs[0])
    seconds = {name: np.empty((len(runs), rounds)) for name in names}
    for turn in range(-1, rounds):  # the first is for warming up
        for place, functions in enumerate(runs):
            # In another order each time: what ran before leaves its traces in the caches.
            for number in range(len(names)):
                name = names[(number + turn) % len(names)]
                started = clock()
                functions[name]()
                elapsed = clock() - started
                if turn >= 0:
                    seconds[name][place, turn] = elapsed
    return seconds


def _print_means(videos: Sequence[Measured], ratios: np.ndarray, digits: int = 2) -> np.ndarray:
    """Print geometric means by group and over all; return the last."""
    groups = list(dict.fromkeys(video.group for video in videos))
    for group in [*groups, None]:
        rows = [number for number, video in enumerate(videos) if group in (video.group, None)]
        means = np.exp(np.log(ratios[rows]).mean(axis=0))
        if group is None or len(groups) > 1:
            title = f"geometric mean, {group or 'all'}"
            print(_row(title, [f"{mean:.{digits}f}" for mean in means]), flush=True)
    return means


def _row(title: str, figures: Sequence[str]) -> str:
    return f"{title:56}" + "".join(f"{figure:>14}" for figure in figures)


def _difference(first: np.ndarray | None, second: np.ndarray | None) -> int:
    assert first is not None
    assert second is not None
    if np.array_equal(first, second):
        return 0
    return int(np.abs(first.astype(np.int16) - second).max()) if first.shape == second.shape else 255


# ---- the readers -----------------------------------------------------------------------------------------------------


def _readers() -> dict[str, Reader]:
    """Return all readers that are installed, by name, ours first."""
    readers: dict[str, Reader] = {OURS: _read_ours}
    try:
        from torchcodec.decoders import VideoDecoder

        for mode, name in TORCHCODEC.items():
            readers[name] = functools.partial(_read_torchcodec, VideoDecoder, mode)
    except (ImportError, RuntimeError) as error:  # the latter where it finds no FFmpeg
        print(f"torchcodec is left out ({str(error).splitlines()[0]}): pip install torchcodec")
    try:
        from decord import VideoReader

        readers["decord"] = functools.partial(_read_decord, VideoReader)
    except ImportError as error:
        print(f"decord is left out ({error}): pip install decord")
    return {**readers, PYAV: _read_pyav, RAW_NEEDED: _decode_needed, RAW_ALL: _decode_all}


def _read_ours(path: str, indices: list[int]) -> np.ndarray:
    with VideoReader(path) as video:
        frames = video.read(indices)
        first = next(frames)
        frames_THWC = np.empty((len(indices), *first.shape), np.uint8)
        frames_THWC[0] = first
        for number, frame_HWC in enumerate(frames, start=1):
            frames_THWC[number] = frame_HWC
    return frames_THWC


def _read_torchcodec(decoder: Callable[..., object], mode: str, path: str, indices: list[int]) -> np.ndarray:
    video = decoder(path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=mode)
    return video.get_frames_at(indices).data.numpy()  # type: ignore[attr-defined]


def _read_decord(reader: Callable[..., object], path: str, indices: list[int]) -> np.ndarray:
    return reader(path, num_threads=1).get_batch(indices).asnumpy()  # type: ignore[attr-defined]


def _read_pyav(path: str, indices: list[int]) -> np.ndarray:
    needed, last = set(indices), indices[-1]
    frames = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in needed:
                frames.append(frame.to_ndarray(format="rgb24"))
            if number == last:
                break
    return np.stack(frames)


def _decode_needed(path: str, indices: list[int]) -> None:
    with VideoReader(path) as video:
        for _ in video.decode(indices):
            pass


def _decode_all(path: str, indices: list[int]) -> None:
    with av.open(path) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        codec.thread_count = 1
        packets = [packet for packet in container.demux(stream) if packet.size]
        if not _has_own_times(path):
            _decode_counting(codec, packets, indices[-1])
            return
        shown = sorted(packet.pts for packet in packets if not packet.is_discard)
        times = {shown[index] for index in indices}
        places = [place for place, packet in enumerate(packets) if packet.pts in times]
        before = [place for place, packet in enumerate(packets[: places[0] + 1]) if packet.is_keyframe]
        start = max((place for place in before if packets[place].pts <= shown[indices[0]]), default=0)
        for packet in packets[start : places[-1] + 1]:
            codec.decode(packet)
        codec.decode(None)


def _decode_counting(codec: av.VideoCodecContext, packets: Sequence[av.Packet], last: int) -> None:
    """Decode from the start of the file until frame `last` has come."""
    num_frames = 0
    for packet in [*packets, None]:
        num_frames += len(codec.decode(packet))
        if num_frames > last:
            return


@functools.cache
def _has_own_times(path: str) -> bool:
    with open_file(path) as container:
        return container.has_times


# ---- the videos ------------------------------------------------------------------------------------------------------


def _videos(place: str) -> Iterator[str]:
    """Yield local paths of the videos of a file or folder; print a line for a file that cannot be used."""
    if g_pathmgr.isdir(place):
        folder = g_pathmgr.get_local_path(place)
        for name in find_video_files(folder):
            path = os.path.join(folder, name)
            try:
                with VideoReader(path) as video:
                    num_frames, fps = video.info.num_frames, video.info.fps or 30.0
                    is_usual = video._source.container.codec.name == "h264" and _has_times(video) and fps >= 15.0
                if is_usual and 7.0 <= num_frames / fps <= 20.0:
                    yield path
            except VideoDecodeError:
                continue
    elif g_pathmgr.isfile(place):
        path = g_pathmgr.get_local_path(place)
        try:
            with VideoReader(path) as video:
                has_times = _has_times(video)
            if has_times:
                yield path
            else:
                print(f"{place} is left out: it has no timestamps to choose frames by")
        except VideoDecodeError as error:
            print(f"{place} is left out: {error}")
    else:
        print(f"{place} is left out: there is no such file or folder")


def _has_times(video: VideoReader) -> bool:
    """Return True if frames can be chosen by their timestamps."""
    packets = video._source.packets
    return packets is None or packets.keys is not None


def _encoded(files: Sequence[tuple[str, str]], folder: str) -> Iterator[Measured]:
    for group, encoding in (("x264's defaults", X264Defaults()), ("prepare_videos", Encoding())):
        for number, (name, path) in enumerate(files):
            target = os.path.join(folder, f"{number}_{type(encoding).__name__}.mp4")
            transcode(path, target, encoding)
            yield Measured(group, name, target)


def _encoded_as_avi(files: Sequence[tuple[str, str]], folder: str) -> Iterator[Measured]:
    """Encode the videos, several in one file where they are short, to MPEG-4 with B-frames in AVI."""
    rest = list(files)
    while rest:
        name, target = rest[0][0], os.path.join(folder, f"{len(rest)}.avi")
        num_frames = 0
        with av.open(target, "w") as container:
            stream = container.add_stream("mpeg4", rate=AVI_FPS, options=AVI_OPTIONS)
            stream.pix_fmt, stream.height = "yuv420p", AVI_HEIGHT
            while rest and num_frames < AVI_FRAMES:
                with open_file(rest.pop(0)[1]) as source:
                    for frame in source.frames():
                        if not num_frames:
                            stream.width = 2 * round(AVI_HEIGHT * frame.width / frame.height / 2)
                        picture = frame.reformat(stream.width, AVI_HEIGHT, "yuv420p")
                        picture.pts, picture.time_base, picture.pict_type = num_frames, Fraction(1, AVI_FPS), 0
                        container.mux(stream.encode(picture))
                        num_frames += 1
            container.mux(stream.encode(None))
        yield Measured("MPEG-4 in AVI", name, target)


def _spans(video: Measured, count: int) -> list[list[int]]:
    """Return the frame indices of `count` random clips, ascending, each index once."""
    with VideoReader(video.path) as file:
        info = file.info
    rng = np.random.default_rng(SEED)
    return [
        np.unique(SPANS.sample(rng, 0, info).frame_indices(SPANS.clip_span.num_frames)).tolist() for _ in range(count)
    ]


# ---- FFmpeg ----------------------------------------------------------------------------------------------------------


def _start_again() -> None:
    """Start this program anew, with PyAV's FFmpeg under plain names and without other threads. Does not return."""
    libraries = Path(av.__file__).parents[1] / "av.libs"
    folder = tempfile.mkdtemp()
    for path in libraries.glob("lib*.so.*") if libraries.is_dir() else ():
        match = re.fullmatch(r"(lib(?:av|sw)\w+)-\w+\.so\.(\d+)\..*", path.name)
        if match:
            os.symlink(path, os.path.join(folder, f"{match[1]}.so.{match[2]}"))
    # The second folder is for the libraries that these need.
    paths = [folder, str(libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    environment = {_LINKS: folder, "LD_LIBRARY_PATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **environment})


def _libraries() -> str:
    """Versions, and which files of libavcodec the process has loaded: torchcodec's shall be PyAV's."""
    versions = []
    for name in ("av", "torchcodec", "decord"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    maps = Path("/proc/self/maps")
    loaded = set(re.findall(r"libavcodec\S+", maps.read_text())) if maps.exists() else set()
    return ", ".join([*versions, *sorted(loaded)])


if __name__ == "__main__":
    main()
