"""Check of the videos of lists by what training does with them: decoding from the start, and of frames alone."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.any_list import read_any_list
from mutualnet3d.data.lists import Video, path_in_list, write_list
from mutualnet3d.data.outage import OutageCheck
from mutualnet3d.data.shared_videos import shared_videos
from mutualnet3d.data.video_list import VideoList
from mutualnet3d.files.atomic import write_text
from mutualnet3d.log import logger, progress
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


@dataclass(frozen=True)
class CheckSummary:
    """Number of videos of each status, and of videos with each kind of note."""

    ok: int
    missing: int
    bad: int
    short: int
    notes: Mapping[str, int] = field(default_factory=dict)

    @property
    def all_ok(self) -> bool:
        """True if every video can be used, with a note or without."""
        return self.missing == self.bad == self.short == 0

    def __str__(self) -> str:
        total = self.ok + self.missing + self.bad + self.short
        counts = f"{total} videos: {self.ok} ok, {self.missing} missing, {self.bad} bad, {self.short} short"
        return "; ".join([counts, *(f"{number} {kind}" for kind, number in self.notes.items() if number)])


def check_lists(
    list_paths: Sequence[str],
    output: str,
    *,
    clean_lists: Sequence[str] = (),
    path_prefix: str = "",
    separator: str = " ",
    label_file: str = "",
    min_frames: int = 1,
    workers: int = 1,
    timeout: float = 300.0,
) -> CheckSummary:
    """Check every video of some lists; write a report and, if asked, the lists of the good ones.

    All files are whole or absent. The log says which lists share videos, by path or content; see `shared_videos`.

    Args:
        list_paths: paths of the lists.
        output: path of the report, CSV: `path,status,reason,note,listed_at` for each line of a list whose video is not
            ok or has a note, in the lists' order.
        clean_lists: a path for each list: lists of the good videos, lines `path label` in the list's order; empty:
            none. Paths stay relative if they were: to `path_prefix` if there is one, else to the new list's folder.
        path_prefix: folder of relative paths; "": that of the list.
        separator: character between path and label.
        label_file: path of the names of the classes; "": labels are numbers.
        min_frames: number of frames, 1 or more; a video of fewer is short.
        workers: number of processes, 1 or more.
        timeout: seconds that one video may take, above 0.

    Raises:
        DataAway: the disk of the videos has gone away; nothing is written.
        FileNotFoundError, ValueError: see `read_kinetics_list`; a number that is out of range; other numbers of lists
            and clean lists; no good video to list.
    """
    if clean_lists and len(clean_lists) != len(list_paths):
        raise ValueError(f"{len(list_paths)} lists need as many clean lists, got {len(clean_lists)}")
    form = {"path_prefix": path_prefix, "separator": separator, "label_file": label_file}
    read = [read_any_list(path, ANY_LABEL, **form) for path in list_paths]
    lists = [videos for videos, _ in read]
    # Each is checked once, however often it is listed.
    paths = list(dict.fromkeys(path for videos in lists for path in videos.paths()))
    results = {result.path: result for result in check_videos(paths, min_frames, workers, timeout)}
    shared = _notes_of_shared(list_paths, lists)

    report = io.StringIO()
    rows = csv.writer(report, lineterminator="\n")
    rows.writerow(["path", "status", "reason", "note", "listed_at"])
    status_count, note_count = Counter[str](), Counter[str]({FEWER: 0, DAMAGED: 0, SHARED: 0})
    for video in chain.from_iterable(lists):
        result = results[video.path]
        notes = (*result.notes, *shared.get(video.listed_at, ()))
        status_count[result.status] += 1
        note_count.update({note.kind for note in notes})
        if result.status != OK or notes:
            texts = "; ".join(note.text for note in notes)
            rows.writerow([result.path, result.status, result.reason, texts, video.listed_at])
    write_text(output, report.getvalue())

    for list_path, clean_list, (videos, label_sets) in zip(list_paths, clean_lists, read, strict=False):
        good = [video for video in videos if results[video.path].status == OK]
        if not good:
            raise ValueError(f"{clean_list} is not written: no video of {list_path} is ok; {output} says why")
        labels = label_sets.texts() if label_sets else None
        write_list(
            clean_list,
            [
                (
                    _path_to_write(video, list_path, clean_list, path_prefix),
                    labels[video.label] if labels else video.label,
                )
                for video in good
            ],
        )
    count = status_count
    return CheckSummary(count[OK], count[MISSING], count[BAD], count[SHORT], note_count)


def _notes_of_shared(list_paths: Sequence[str], lists: Sequence[VideoList]) -> dict[str, list[Note]]:
    """Return the notes about videos that two lists share, by the place of their lines; log their numbers."""
    notes: dict[str, list[Note]] = defaultdict(list)
    for (first, second), pairs in shared_videos(lists).items():
        num_copies = sum(pair.is_copy for pair in pairs)
        logger.warning(
            "%s: %d of %d videos are in %s too, %d of them as another file of the same content; the first: %s, %s",
            list_paths[second],
            len(pairs),
            len(lists[second]),
            list_paths[first],
            num_copies,
            pairs[0].video.path,
            pairs[0],
        )
        for pair in pairs:
            notes[pair.video.listed_at].append(Note(SHARED, str(pair)))
    return notes


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
    if min_frames < 1:
        raise ValueError(f"min_frames is {min_frames}; allowed: 1 or more")
    check, outage = partial(check_video, min_frames=min_frames), OutageCheck(paths)
    results = map_in_processes(check, paths, workers=workers, timeout=timeout, memory=VIDEO_MEMORY)
    # They come as they are done; early ones wait for their turn.
    early: dict[int, Result] = {}
    turn = 0
    for index, result in progress(results, total=len(paths), what="videos checked"):
        early[index] = Result(paths[index], BAD, result.reason) if isinstance(result, LostItem) else result
        if early[index].status in (BAD, MISSING):
            outage.refuse(early[index].reason)
        while turn in early:
            yield early.pop(turn)
            turn += 1


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
