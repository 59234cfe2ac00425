"""Re-encodes a data set's videos so that training reads them quickly: small pictures, regular key frames, no sound.

A file has its name only once it is whole, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import av
import numpy as np
from av.stream import Disposition
from av.video.frame import PictureType
from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.check_videos import ANY_LABEL
from mutualnet3d.data.lists import Video, path_in_list, read_kinetics_list, write_list
from mutualnet3d.data.video_files import VIDEO_EXTENSIONS, find_video_files
from mutualnet3d.files.atomic import write_text
from mutualnet3d.log import logger, progress
from mutualnet3d.process_pool import LostItem, map_in_processes
from mutualnet3d.video.reader import VideoDecodeError, VideoReader, quarter_turns, upright_pixel_aspect

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
RGB, UNSPECIFIED = 0, 2  # libav's numbers of colour spaces
LIMITED = 1  # and of the range of values that goes without saying in yuv420p


@dataclass(frozen=True)
class Encoding:
    """How videos are encoded.

    Args:
        short_side: of the pictures, in pixels, at most; even. Smaller ones keep their size.
        keyframe_every: frames from a key frame to the next: a reader decodes that many at most before the one it wants.
        crf: x264's quality, 0 (without loss) to 51. Its default, 23, is what Kinetics is commonly resized with, so that
            accuracies compare.
        preset: x264's speed, one of `PRESETS`; likewise.

    Raises:
        ValueError: one is out of range.
    """

    short_side: int = 256
    keyframe_every: int = 12
    crf: int = 23
    preset: str = "medium"

    def __post_init__(self) -> None:
        if self.short_side < 2 or self.short_side % 2:
            raise ValueError(f"short_side is {self.short_side}; allowed: even, 2 or more")
        if self.keyframe_every < 1:
            raise ValueError(f"keyframe_every is {self.keyframe_every}; allowed: 1 or more")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf is {self.crf}; allowed: 0 to 51")
        if self.preset not in PRESETS:
            raise ValueError(f"preset is {self.preset!r}; allowed: {', '.join(PRESETS)}")

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the pictures of a video of that size: even, none larger, the aspect kept to a pixel."""
        short = min(width, height)
        if short <= self.short_side:
            return max(width // 2 * 2, 2), max(height // 2 * 2, 2)
        return (
            2 * round(Fraction(width * self.short_side, 2 * short)),
            2 * round(Fraction(height * self.short_side, 2 * short)),
        )

    def options(self) -> dict[str, str]:
        """libx264's. Key frames stand every `keyframe_every` frames, nowhere else, and nothing refers across them."""
        every = self.keyframe_every
        params = f"keyint={every}:min-keyint={every}:scenecut=0:open-gop=0:threads=1:lookahead-threads=1"
        return {"crf": str(self.crf), "preset": self.preset, "x264-params": params}


@dataclass(frozen=True)
class Summary:
    """What became of a data set's videos."""

    encoded: int
    present: int
    failed: int

    def __str__(self) -> str:
        total = self.encoded + self.present + self.failed
        return f"{total} videos: {self.encoded} encoded, {self.present} there already, {self.failed} failed"


def prepare_videos(
    root: str,
    output: str,
    encoding: Encoding,
    *,
    lists: Sequence[str] = (),
    path_prefix: str = "",
    separator: str = " ",
    label_file: str = "",
    workers: int = 1,
    timeout: float = 3600.0,
) -> Summary:
    """Re-encode every video below `root` to the same place below `output`, with the extension .mp4; see `encode_video`.

    Files that are there already are passed over, whatever they were encoded with. Videos that cannot be encoded are
    passed over too; output/failed.csv has a line `path,reason` for each.

    Args:
        root, output: folders; `output` is not below `root`.
        lists: Kinetics-style lists of videos below `root`; each is written to `output` under its own name, with the
            new paths, without the videos that failed.
        path_prefix, separator, label_file: of the lists, as `read_kinetics_list`.
        workers: number of processes; each encodes with one thread.
        timeout: seconds that one video may take.

    Raises:
        FileNotFoundError: there is no such folder or list.
        ValueError: no video, two videos with one output, a list that cannot be rewritten, a number out of range.
        OSError: `output` cannot be written to.
    """
    if not g_pathmgr.isdir(root):
        raise FileNotFoundError(f"no folder at {root}")
    root = os.path.abspath(g_pathmgr.get_local_path(root))
    if _is_below(os.path.realpath(output), os.path.realpath(root)):
        raise ValueError(f"{output} lies in {root}; the next run would take its videos for new ones")
    names = find_video_files(root)
    if not names:
        raise ValueError(f"{root}: no video; looked for {' '.join(VIDEO_EXTENSIONS)}")
    _check_no_clash(names, root)
    _check_new_lists(lists, output)
    new_lists = {
        os.path.join(output, os.path.basename(path)): _moved(
            read_kinetics_list(path, ANY_LABEL, path_prefix=path_prefix, separator=separator, label_file=label_file),
            root,
            output,
        )
        for path in lists
    }
    jobs = [(os.path.join(root, name), os.path.join(output, _new_name(name))) for name in names]
    to_do = [(source, target) for source, target in jobs if not os.path.isfile(target)]
    for folder in {os.path.dirname(target) for _, target in to_do} | {output}:
        os.makedirs(folder, exist_ok=True)
    reasons = {}
    encoded = map_in_processes(partial(_encode, encoding=encoding), to_do, workers=workers, timeout=timeout)
    for index, outcome in progress(encoded, total=len(to_do), what="videos encoded"):
        source, target = to_do[index]
        if isinstance(outcome, LostItem):
            with contextlib.suppress(FileNotFoundError):
                os.remove(_part(target, outcome.pid))  # it had no time to do so itself
        if isinstance(outcome, _NoOutput):
            raise OSError(outcome.reason)
        if outcome is not None:
            reasons[source] = outcome.reason

    text = io.StringIO()
    failed = [(source, reasons[source]) for source, _ in to_do if source in reasons]
    csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *failed])
    write_text(os.path.join(output, "failed.csv"), text.getvalue())
    for path, entries in new_lists.items():
        there = [(target, label) for target, label in entries if os.path.isfile(target)]
        write_list(path, [(path_in_list(target, output), label) for target, label in there])
        logger.info("%s: %d of %d videos", path, len(there), len(entries))
    return Summary(encoded=len(to_do) - len(failed), present=len(jobs) - len(to_do), failed=len(failed))


def encode_video(source: str, target: str, encoding: Encoding) -> None:
    """Re-encode the video `source` to `target`, H.264 in mp4, without its sound; whole or absent.

    Frames keep their number, their times (from the first one on, evenly spaced or not) and their colours' meaning;
    pictures are turned upright. One thread.

    Raises:
        VideoDecodeError: the video is no video or breaks before its end.
        OSError: `target` cannot be written.
        ValueError, av.FFmpegError: the encoder refuses the pictures.
    """
    part = _part(target, os.getpid())
    try:
        # The index is put at the file's start: a reader begins there.
        with av.open(part, "w", format="mp4", options={"movflags": "+faststart"}) as container:
            _encode_frames(source, container, encoding)
        os.replace(part, target)
    finally:
        if os.path.exists(part):
            os.remove(part)


def _encode_frames(source: str, container: av.container.OutputContainer, encoding: Encoding) -> None:
    with VideoReader(source) as video:
        # The header's rate may be far off, and the encoder spends its bits by it. Frames have their own times anyway.
        rate = Fraction(video.info.fps or 25).limit_denominator(1001)
    output: av.VideoStream | None = None
    for frame, stream in _decoded(source):
        if output is None:
            width, height = encoding.size(frame.width, frame.height)
            size = (height, width) if quarter_turns(frame) % 2 else (width, height)
            time_base = frame.time_base or 1 / rate
            one_frame = max(round(1 / (rate * time_base)), 1)
            output = _add_stream(container, frame, stream, size, rate, time_base, encoding)
            first_pts, last_pts = frame.pts or 0, -one_frame
        picture = _upright(frame, size)
        # AVI has no times; what libav gives for them there is made up.
        is_timed = frame.pts is not None and stream.container.format.name != "avi"
        pts = (frame.pts or 0) - first_pts if is_timed else last_pts + one_frame
        picture.pts = last_pts = max(pts, last_pts + 1)  # broken files have two frames at one time
        picture.time_base, picture.duration = time_base, one_frame
        picture.pict_type = PictureType.NONE  # else the encoder makes key frames where the source has them
        container.mux(output.encode(picture))
    if output is None:
        raise VideoDecodeError(f"{source}: the video has no frame that can be decoded")
    container.mux(output.encode(None))


def _decoded(source: str) -> Iterator[tuple[av.VideoFrame, av.VideoStream]]:
    """The frames of a video, each with its stream; all that is wrong with it is a `VideoDecodeError`."""
    try:
        with av.open(g_pathmgr.get_local_path(source), metadata_errors="replace") as container:
            streams = [
                stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
            ]
            if not streams:
                raise VideoDecodeError(f"{source}: the file has no video stream")
            stream = streams[0]
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                yield frame, stream
    except (av.FFmpegError, OSError) as error:
        raise VideoDecodeError(f"{source}: cannot be decoded: {type(error).__name__}: {error}") from error


def _add_stream(
    container: av.container.OutputContainer,
    frame: av.VideoFrame,
    source: av.VideoStream,
    size: tuple[int, int],
    rate: Fraction,
    time_base: Fraction,
    encoding: Encoding,
) -> av.VideoStream:
    """A stream for frames like the upright `frame` at `size` (width, height), with the timing and the colours of the
    source."""
    stream = container.add_stream("libx264", rate=rate, options=encoding.options())
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_count = 1
    stream.time_base = context.time_base = time_base
    pixel_aspect = upright_pixel_aspect(source, frame)
    if pixel_aspect:  # kept, not evened out: the pictures stay what readers make of them that know no such thing
        context.sample_aspect_ratio = pixel_aspect
    context.color_range, context.color_primaries, context.color_trc = LIMITED, frame.color_primaries, frame.color_trc
    context.colorspace = UNSPECIFIED if frame.colorspace == RGB else frame.colorspace
    return stream


def _upright(frame: av.VideoFrame, size: tuple[int, int]) -> av.VideoFrame:
    """The frame in yuv420p, turned as its rotation says, then of `size` (width, height)."""
    turns = quarter_turns(frame)
    width, height = size[::-1] if turns % 2 else size
    picture = frame.reformat(
        width=width, height=height, format="yuv420p", interpolation="BICUBIC", dst_color_range=LIMITED
    )
    if not turns:
        return picture
    flat = picture.to_ndarray().ravel()
    luma, chroma = flat[: width * height], flat[width * height :]
    planes = [luma.reshape(height, width), *chroma.reshape(2, height // 2, width // 2)]
    turned = np.concatenate([np.rot90(plane, turns).ravel() for plane in planes])
    return av.VideoFrame.from_ndarray(turned.reshape(-1, size[0]), format="yuv420p")


@dataclass(frozen=True)
class _Failed:
    reason: str


@dataclass(frozen=True)
class _NoOutput:
    reason: str


def _encode(job: tuple[str, str], encoding: Encoding) -> _Failed | _NoOutput | None:
    """`encode_video` in a process of its own; what is wrong with one video, and what would be with all."""
    source, target = job
    try:
        encode_video(source, target, encoding)
    except VideoDecodeError as error:
        return _Failed(str(error))
    except OSError as error:
        return _NoOutput(f"{target}: {type(error).__name__}: {error}")
    except (av.FFmpegError, ValueError, ArithmeticError, MemoryError, RuntimeError) as error:
        return _Failed(f"{source}: cannot be encoded: {type(error).__name__}: {error}")
    return None


def _part(target: str, pid: int) -> str:
    """What an unfinished target is called by the process that makes it: no video by its name."""
    return os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.{pid}.part")


def _new_name(name: str) -> str:
    return f"{os.path.splitext(name)[0]}.mp4"


def _is_below(path: str, folder: str) -> bool:
    return os.path.join(path, "").startswith(os.path.join(folder, ""))


def _check_no_clash(names: Sequence[str], root: str) -> None:
    source_of: dict[str, str] = {}
    for name in names:
        other = source_of.setdefault(_new_name(name), name)
        if other != name:
            raise ValueError(f"{root}: {other} and {name} would both become {_new_name(name)}; rename one of them")


def _moved(videos: Sequence[Video], root: str, output: str) -> list[tuple[str, int]]:
    """The (path, label) of listed videos when they lie below `output`."""
    moved = []
    for video in videos:
        path = os.path.abspath(video.path)
        if not _is_below(path, root):
            raise ValueError(f"{video.listed_at}: {video.path} does not lie below {root}, whose videos are prepared")
        moved.append((os.path.join(output, _new_name(os.path.relpath(path, root))), video.label))
    return moved


def _check_new_lists(lists: Sequence[str], output: str) -> None:
    names = [os.path.basename(path) for path in lists]
    for path, name in zip(lists, names, strict=True):
        new = os.path.join(output, name)
        if names.count(name) > 1:
            raise ValueError(f"{path}: two lists have this name; both would become {new}")
        if os.path.realpath(path) == os.path.realpath(new):
            raise ValueError(f"{path}: the new list would take the place of this one; choose another output folder")
