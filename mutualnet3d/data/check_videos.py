"""Check of videos by what training does with them: decoding from the start, and of frames alone."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.outage import OutageCheck
from mutualnet3d.log import progress
from mutualnet3d.process_pool import VIDEO_MEMORY, LostItem, map_in_processes
from mutualnet3d.video.errors import VideoDecodeError, is_of_memory
from mutualnet3d.video.frame_folder import open_frame_folder
from mutualnet3d.video.paths import is_folder
from mutualnet3d.video.verify import compare_random_access

OK, MISSING, BAD, SHORT = "ok", "missing", "bad", "short"
_MOST_SECONDS = 60.0  # for frames that are asked for alone; decoding all comes first
ANY_LABEL = 10**9  # more classes than any list has: labels are not what is checked

# Kinds of notes about videos that training uses, as the summary counts them.
FEWER, DAMAGED, SHARED = "with fewer frames than promised", "with damaged frames", "in another list too"


@dataclass(frozen=True)
class Note:
    """Note about a video that is used: its kind (`FEWER`, `DAMAGED`, `SHARED`) and a text."""

    kind: str
    text: str


@dataclass(frozen=True)
class Result:
    """Result of one video.

    Args:
        path: path of the video.
        status: "ok" for a video that training uses, "bad" for one that it would replace, "missing", or "short".
        reason: text about any other status than "ok".
        num_frames: number of frames that came out of it.
        notes: unusual properties of a video that is used.
    """

    path: str
    status: str
    reason: str = ""
    num_frames: int = 0
    notes: tuple[Note, ...] = ()


def check_videos(
    paths: Sequence[str], min_frames: int = 1, workers: int = 1, timeout: float = 300.0
) -> Iterator[Result]:
    """Yield the results of `paths`, in their order, as soon as they are there, with a progress bar.

    Args:
        paths: paths of files, or of folders of pictures; any that iopath can open.
        min_frames: a video of fewer frames is short.
        workers: number of processes.
        timeout: seconds that one video may take; one that takes longer is bad, as is one that takes more memory than
            `VIDEO_MEMORY`.

    Raises:
        DataAway: the disk of the videos has gone away.
        ValueError: a number that is out of range.
    """
    results = checked_videos(paths, min_frames, workers, timeout, paths)
    # They come as they are done; early ones wait for their turn.
    early: dict[int, Result] = {}
    turn = 0
    for index, result in progress(results, total=len(paths), what="videos checked"):
        early[index] = result
        while turn in early:
            yield early.pop(turn)
            turn += 1


def checked_videos(
    paths: Iterable[str], min_frames: int, workers: int, timeout: float, sample: Sequence[str]
) -> Generator[tuple[int, Result]]:
    """Yield positions and results of videos as they are done.

    Args:
        paths: paths of the videos; each is taken when a process is free for it.
        min_frames: number of frames, 1 or more; a video of fewer is short.
        workers: number of processes, 1 or more.
        timeout: seconds that one video may take, above 0.
        sample: paths of videos, by some of which an outage of the disk is told.

    Raises:
        ValueError: `min_frames` is out of range.
    """
    if min_frames < 1:
        raise ValueError(f"min_frames is {min_frames}; allowed: 1 or more")
    check, outage, taken = partial(check_video, min_frames=min_frames), OutageCheck(sample), list[str]()

    def noted() -> Iterator[str]:
        for path in paths:
            taken.append(path)
            yield path

    with closing(map_in_processes(check, noted(), workers=workers, timeout=timeout, memory=VIDEO_MEMORY)) as results:
        for index, result in results:
            if isinstance(result, LostItem):
                result = Result(taken[index], BAD, result.reason)
            if result.status in (BAD, MISSING):
                outage.refuse(result.reason)
            yield index, result


def check_video(path: str, min_frames: int = 1) -> Result:
    """Decode a video as training may, in this process: a crash of the decoder is a crash of the caller's.

    Every frame is decoded from the start on; some are then asked for alone and must be the same pictures. A file that
    gives fewer frames than it promises is ok with a note, as training chooses among those that come.

    Args:
        path: path of the video.
        min_frames: number of frames, 1 or more; a video of fewer is short.

    Raises:
        MemoryError: it needs more memory than this process may take.
    """
    num_frames = 0
    notes: tuple[Note, ...] = ()
    try:
        if not g_pathmgr.exists(path):
            return Result(path, MISSING, "there is no such file")
        if is_folder(path):
            with open_frame_folder(path) as video:
                for _ in video.read(range(video.info.num_frames)):
                    num_frames += 1
        else:
            num_frames, notes = _check_file(path)
    except VideoDecodeError as error:
        if is_of_memory(error):
            raise MemoryError from error
        return Result(path, BAD, str(error), num_frames)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, training would meet it too
        return Result(path, BAD, f"{path}: cannot be decoded: {type(error).__name__}: {error}", num_frames)
    if num_frames < min_frames:
        return Result(path, SHORT, f"{num_frames} frames, fewer than {min_frames}", num_frames, notes)
    return Result(path, OK, "", num_frames, notes)


def _check_file(path: str) -> tuple[int, tuple[Note, ...]]:
    """Return the number of frames of a file, and the notes about it.

    Raises:
        VideoDecodeError: the file cannot be read, or gives other frames if they are asked for alone.
    """
    result = compare_random_access(path, most_seconds=_MOST_SECONDS)
    if result.wrong:
        numbers = ", ".join(map(str, result.wrong[:5])) + (", ..." if len(result.wrong) > 5 else "")
        raise VideoDecodeError(
            f"{path}: of {result.num_compared} frames that were asked for alone {len(result.wrong)} are other pictures "
            f"than in decoding from the start (frame {numbers} of {result.num_frames})"
        )
    notes = []
    if result.num_promised > result.num_frames:
        notes.append(Note(FEWER, f"{result.num_frames} of {result.num_promised} promised frames can be decoded"))
    if result.num_damaged:
        notes.append(Note(DAMAGED, f"{result.num_damaged} of {result.num_frames} frames have concealed errors"))
    return result.num_frames, tuple(notes)
