"""Check of a list's videos: each is decoded to its last frame."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.lists import Video, path_in_list, read_kinetics_list, write_list
from mutualnet3d.files.atomic import write_text
from mutualnet3d.log import progress
from mutualnet3d.process_pool import VIDEO_MEMORY, LostItem, map_in_processes
from mutualnet3d.video.errors import VideoDecodeError, is_of_memory
from mutualnet3d.video.open import open_video

OK, MISSING, BAD, SHORT = "ok", "missing", "bad", "short"
ANY_LABEL = 10**9  # more classes than any list has: labels are not what is checked


@dataclass(frozen=True)
class Result:
    """Result of one video: its status (ok, missing, bad, short), the reason, and how many frames came out of it."""

    path: str
    status: str
    reason: str = ""
    num_frames: int = 0


@dataclass(frozen=True)
class CheckSummary:
    """Number of videos of each status."""

    ok: int
    missing: int
    bad: int
    short: int

    @property
    def all_ok(self) -> bool:
        return self.missing == self.bad == self.short == 0

    def __str__(self) -> str:
        total = self.ok + self.missing + self.bad + self.short
        return f"{total} videos: {self.ok} ok, {self.missing} missing, {self.bad} bad, {self.short} short"


def check_list(
    list_path: str,
    output: str,
    *,
    clean_list: str = "",
    path_prefix: str = "",
    separator: str = " ",
    label_file: str = "",
    min_frames: int = 1,
    workers: int = 1,
    timeout: float = 300.0,
) -> CheckSummary:
    """Check every video of a list; write a report and, if asked, the list of the good ones. Both are whole or absent.

    Args:
        list_path, path_prefix, separator, label_file: see `read_kinetics_list`.
        output: path of the report, CSV: `path,status,reason` for each line of the list that is not ok, in the list's
            order.
        clean_list: path of a list of the good videos, lines `path label` in the list's order; "": none. Paths stay
            relative if they were: to `path_prefix` if there is one, else to the new list's folder.
        min_frames, workers, timeout: see `check_videos`.

    Raises:
        FileNotFoundError, ValueError: see `read_kinetics_list`; a number that is out of range; no good video to list.
    """
    videos = read_kinetics_list(
        list_path, num_classes=ANY_LABEL, path_prefix=path_prefix, separator=separator, label_file=label_file
    )
    paths = list(dict.fromkeys(video.path for video in videos))  # checked once, however often they are listed
    results = {result.path: result for result in check_videos(paths, min_frames, workers, timeout)}

    report = io.StringIO()
    rows = csv.writer(report, lineterminator="\n")
    rows.writerow(["path", "status", "reason"])
    for result in (results[video.path] for video in videos):
        if result.status != OK:
            rows.writerow([result.path, result.status, result.reason])
    write_text(output, report.getvalue())

    if clean_list:
        good = [video for video in videos if results[video.path].status == OK]
        if not good:
            raise ValueError(f"{clean_list} is not written: no video of {list_path} is ok; {output} says why")
        write_list(
            clean_list, [(_path_to_write(video, list_path, clean_list, path_prefix), video.label) for video in good]
        )
    count = Counter(results[video.path].status for video in videos)
    return CheckSummary(ok=count[OK], missing=count[MISSING], bad=count[BAD], short=count[SHORT])


def _path_to_write(video: Video, list_path: str, clean_list: str, path_prefix: str) -> str:
    """Return a listed video's path in the form that a list at `clean_list` needs."""
    base = path_prefix or os.path.dirname(list_path)
    relative = video.path.removeprefix(os.path.join(base, "")) if base else video.path
    if relative == video.path and (base or os.path.isabs(relative) or "://" in relative):
        return video.path  # it was not relative
    folders_differ = os.path.abspath(os.path.dirname(clean_list)) != os.path.abspath(os.path.dirname(list_path))
    if folders_differ and not path_prefix:
        return path_in_list(video.path, os.path.dirname(clean_list))
    return relative


def check_videos(
    paths: Sequence[str], min_frames: int = 1, workers: int = 1, timeout: float = 300.0
) -> Iterator[Result]:
    """Yield the results of `paths`, in their order, as soon as they are there; show how far it is.

    Args:
        paths: paths of files, or of folders of pictures; any that iopath can open.
        min_frames: a video of fewer frames is short.
        workers: number of processes.
        timeout: seconds that one video may take; one that takes longer is bad, as is one that takes more memory than
            `VIDEO_MEMORY`.

    Raises:
        ValueError: a number that is out of range.
    """
    if min_frames < 1:
        raise ValueError(f"min_frames is {min_frames}; allowed: 1 or more")
    check = partial(check_video, min_frames=min_frames)
    results = map_in_processes(check, paths, workers=workers, timeout=timeout, memory=VIDEO_MEMORY)
    # They come as they are done; early ones wait for their turn.
    early: dict[int, Result] = {}
    turn = 0
    for index, result in progress(results, total=len(paths), what="videos checked"):
        early[index] = Result(paths[index], BAD, result.reason) if isinstance(result, LostItem) else result
        while turn in early:
            yield early.pop(turn)
            turn += 1


def check_video(path: str, min_frames: int = 1) -> Result:
    """Decode every frame of a video, in this process: a crash of the decoder is a crash of the caller's.

    Raises:
        MemoryError: it needs more memory than this process may take.
    """
    num_frames = 0
    try:
        if not g_pathmgr.exists(path):
            return Result(path, MISSING, "there is no such file")
        with open_video(path) as video:
            for _ in video.read(range(video.info.num_frames)):
                num_frames += 1
    except VideoDecodeError as error:
        if is_of_memory(error):
            raise MemoryError from error
        return Result(path, BAD, str(error), num_frames)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, training would meet it too
        return Result(path, BAD, f"{path}: cannot be decoded: {type(error).__name__}: {error}", num_frames)
    if num_frames < min_frames:
        return Result(path, SHORT, f"{num_frames} frames, fewer than {min_frames}", num_frames)
    return Result(path, OK, "", num_frames)
