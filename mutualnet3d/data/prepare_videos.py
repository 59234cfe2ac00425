"""Preparation of a data set: all its videos encoded anew so that training reads them quickly, and its lists.

A file has its name only once it is whole, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.check_videos import ANY_LABEL
from mutualnet3d.data.lists import Video, path_in_list, read_kinetics_list, write_list
from mutualnet3d.data.video_files import VIDEO_EXTENSIONS, find_video_files
from mutualnet3d.files.atomic import temporary_path, write_text
from mutualnet3d.files.unfinished import remove_abandoned
from mutualnet3d.log import logger, progress
from mutualnet3d.process_pool import VIDEO_MEMORY, LostItem, map_in_processes
from mutualnet3d.video.errors import VideoDecodeError, VideoEncodeError, is_of_memory
from mutualnet3d.video.transcode import Encoding, transcode


@dataclass(frozen=True)
class PreparationSummary:
    """Number of a data set's videos that were encoded, were there already, or failed."""

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
) -> PreparationSummary:
    """Encode every video below `root` anew to the same place below `output`, with the extension .mp4; see `transcode`.

    Files that are there already are left, whatever they were encoded with. Videos that cannot be encoded are left out;
    output/failed.csv has a line `path,reason` for each.

    Args:
        root, output: folders; `output` is not below `root`.
        encoding: size and quality of the new videos.
        lists: Kinetics-style lists of videos below `root`; each is written to `output` under its own name, with the
            new paths, without the videos that failed.
        path_prefix, separator, label_file: form of the lists, see `read_kinetics_list`.
        workers: number of processes; each encodes with one thread.
        timeout: seconds that one video may take. One that takes more memory than `VIDEO_MEMORY` fails.

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
        remove_abandoned(folder)
    reasons = {}
    encode = partial(_encode, encoding=encoding)
    encoded = map_in_processes(encode, to_do, workers=workers, timeout=timeout, memory=VIDEO_MEMORY)
    for index, result in progress(encoded, total=len(to_do), what="videos encoded"):
        source, target = to_do[index]
        if isinstance(result, LostItem):
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary_path(target, result.pid))  # it had no time to do so itself
        if isinstance(result, _NoOutput):
            raise OSError(result.reason)
        if result is not None:
            reasons[source] = result.reason

    text = io.StringIO()
    failed = [(source, reasons[source]) for source, _ in to_do if source in reasons]
    csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *failed])
    write_text(os.path.join(output, "failed.csv"), text.getvalue())
    for path, entries in new_lists.items():
        present = [(target, label) for target, label in entries if os.path.isfile(target)]
        write_list(path, [(path_in_list(target, output), label) for target, label in present])
        logger.info("%s: %d of %d videos", path, len(present), len(entries))
    return PreparationSummary(encoded=len(to_do) - len(failed), present=len(jobs) - len(to_do), failed=len(failed))


@dataclass(frozen=True)
class _Failed:
    reason: str


@dataclass(frozen=True)
class _NoOutput:
    reason: str


def _encode(job: tuple[str, str], encoding: Encoding) -> _Failed | _NoOutput | None:
    """Run `transcode` in a process of its own: a `_Failed` concerns one video, a `_NoOutput` would concern all."""
    source, target = job
    try:
        transcode(source, target, encoding)
    except (VideoDecodeError, VideoEncodeError, MemoryError) as error:
        if is_of_memory(error):
            raise MemoryError from error
        return _Failed(str(error) if isinstance(error, VideoDecodeError) else f"{source}: {error}")
    except OSError as error:
        return _NoOutput(f"{target}: {type(error).__name__}: {error}")
    except (ValueError, ArithmeticError, RuntimeError) as error:
        return _Failed(f"{source}: cannot be encoded: {type(error).__name__}: {error}")
    return None


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
    """Return the (path, label) that listed videos have below `output`."""
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
