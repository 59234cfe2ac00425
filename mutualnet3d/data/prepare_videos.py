"""Preparation of a data set: all its videos encoded anew so that training reads them quickly, and its lists.

A file has its name only once it is whole, so a run that was stopped goes on where it was. What each was made of is in
the record (`preparation_record`): settings are not mixed, and changed videos are made anew.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from iopath.common.file_io import g_pathmgr

from mutualnet3d.data.any_list import read_any_list
from mutualnet3d.data.check_videos import ANY_LABEL
from mutualnet3d.data.label_names import label_file_beside, read_label_names
from mutualnet3d.data.list_kinds import MISSING_CSV
from mutualnet3d.data.list_labels import LabelSets
from mutualnet3d.data.lists import Video, path_in_list, without_reports, write_list
from mutualnet3d.data.outage import OutageCheck
from mutualnet3d.data.preparation_record import NAME as RECORD
from mutualnet3d.data.preparation_record import Preparation, PreparationRecord, preparation_of
from mutualnet3d.data.text import read_text
from mutualnet3d.data.video_files import VIDEO_EXTENSIONS, find_files, passed_over_text
from mutualnet3d.files.atomic import temporary_path, write_text
from mutualnet3d.files.unfinished import remove_abandoned
from mutualnet3d.log import logger, progress
from mutualnet3d.process_pool import VIDEO_MEMORY, LostItem, map_in_processes
from mutualnet3d.video.errors import VideoDecodeError, VideoEncodeError, is_of_memory
from mutualnet3d.video.transcode import Encoding, transcode

LABELS = "labels.json"
# What becomes of files in the output folder that were encoded with other settings.
REFUSE, REDO, KEEP = "refuse", "redo", "keep"
_ANSWERS = {REDO: "made anew", KEEP: "left as they are"}


@dataclass(frozen=True)
class PreparationSummary:
    """Number of a data set's videos that were encoded, were there already, or failed.

    Of the encoded ones it has also the number of those whose sources are damaged.
    """

    encoded: int
    present: int
    failed: int
    damaged: int = 0

    def __str__(self) -> str:
        total = self.encoded + self.present + self.failed
        damaged = f" ({self.damaged} of damaged sources, see {RECORD})" if self.damaged else ""
        return f"{total} videos: {self.encoded} encoded{damaged}, {self.present} there already, {self.failed} failed"


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
    existing: str = REFUSE,
) -> PreparationSummary:
    """Encode every video below `root` anew to the same place below `output`, with the extension .mp4; see `transcode`.

    Files that are there already are left if they were made of the same source with the same settings, as
    output/prepared.csv says; those whose source has another size or time, or that are not in it, are made anew. Videos
    that cannot be encoded are left out; output/failed.csv has a line `path,reason` for each. Of a video with damaged
    packets the other frames are encoded, those that training sees; the record has the number of damages.

    Args:
        root: folder of the videos.
        output: folder of the new videos, not below `root`.
        encoding: size and quality of the new videos.
        lists: Kinetics-style lists of videos below `root`; each is written to `output` under its own name, with the
            new paths, without the videos that failed, and labels.json with the classes' names: `label_file`'s, or those
            of classes.json or labels.json beside the list. missing.csv beside a list is copied. Reports of this project
            among them are passed over.
        path_prefix: folder of the lists' relative paths; "": that of the list.
        separator: character between path and label in the lists.
        label_file: path of the names of the classes; "": labels are numbers.
        workers: number of processes; each encodes with one thread.
        timeout: seconds that one video may take. One that takes more memory than `VIDEO_MEMORY` fails.
        existing: `REFUSE` to raise if files in `output` were encoded with other settings, or if there are files and no
            record; `REDO` to make these anew; `KEEP` to leave them (without a record: as if of these settings).

    Raises:
        FileNotFoundError: there is no such folder or list.
        ValueError: no video, two videos with one output, a list that cannot be rewritten, lists of different class
            names, files of other settings, a number out of range.
        OSError: `output` cannot be written to.
        DataAway: the disk of the videos has gone away; the next start goes on.
    """
    if not g_pathmgr.isdir(root):
        raise FileNotFoundError(f"no folder at {root}")
    root = os.path.abspath(g_pathmgr.get_local_path(root))
    if _is_below(os.path.realpath(output), os.path.realpath(root)):
        raise ValueError(f"{output} lies in {root}; the next run would take its videos for new ones")
    files = find_files(root)
    names = files.videos
    if not names:
        raise ValueError(f"{root}: no video; looked for {' '.join(VIDEO_EXTENSIONS)}")
    _check_no_clash(names, root)
    lists = without_reports(lists)
    _check_new_lists(lists, output)
    class_names = _class_names(lists, label_file, output)
    new_lists = {
        os.path.join(output, os.path.basename(path)): _moved(
            *read_any_list(path, ANY_LABEL, path_prefix=path_prefix, separator=separator, label_file=label_file),
            root,
            output,
        )
        for path in lists
    }
    jobs = {name: (os.path.join(root, name), os.path.join(output, _new_name(name))) for name in names}
    preparations = {name: preparation_of(source, encoding) for name, (source, _) in jobs.items()}
    record = PreparationRecord(output)
    present = [name for name, (_, target) in jobs.items() if os.path.isfile(target)]
    valid = _still_valid(present, preparations, record, existing, output)
    if files.others:
        logger.info("%s: %s", root, passed_over_text(files.others))
    to_do = [name for name in names if name not in valid]
    for folder in {os.path.dirname(jobs[name][1]) for name in to_do} | {output}:
        os.makedirs(folder, exist_ok=True)
        remove_abandoned(folder)
    for name in set(present) - set(valid):
        os.remove(jobs[name][1])
    record.write(valid)
    reasons, num_damaged = {}, 0
    encode = partial(_encode, encoding=encoding)
    work = [jobs[name] for name in to_do]
    outage = OutageCheck([source for source, _ in work])
    encoded = map_in_processes(encode, work, workers=workers, timeout=timeout, memory=VIDEO_MEMORY)
    for index, result in progress(encoded, total=len(to_do), what="videos encoded"):
        source, target = work[index]
        if isinstance(result, LostItem):
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary_path(target, result.pid))  # it had no time to do so itself
        if isinstance(result, _NoOutput):
            raise OSError(result.reason)
        if isinstance(result, int):
            num_damaged += result > 0
            record.add(to_do[index], replace(preparations[to_do[index]], damages=result))
        else:
            outage.refuse(result.reason)
            reasons[source] = result.reason

    text = io.StringIO()
    failed = [(source, reasons[source]) for source, _ in work if source in reasons]
    csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *failed])
    write_text(os.path.join(output, "failed.csv"), text.getvalue())
    for path, entries in new_lists.items():
        whole = [(target, label) for target, label in entries if os.path.isfile(target)]
        write_list(path, [(path_in_list(target, output), label) for target, label in whole])
        logger.info("%s: %d of %d videos", path, len(whole), len(entries))
    if class_names:
        write_text(os.path.join(output, LABELS), json.dumps(class_names, indent=1, ensure_ascii=False) + "\n")
    _copy_missing(lists, output)
    return PreparationSummary(len(to_do) - len(failed), len(valid), len(failed), num_damaged)


def _still_valid(
    present: Sequence[str],
    preparations: Mapping[str, Preparation],
    record: PreparationRecord,
    existing: str,
    output: str,
) -> dict[str, Preparation]:
    """Return the circumstances of the files that are left as they are, by their videos' names.

    Raises:
        ValueError: some are of other settings, or unknown ones, and `existing` is `REFUSE`.
    """
    if record.is_new:
        if present and existing == REFUSE:
            raise ValueError(
                f"{output} has {len(present)} of the videos already, but no {RECORD} that says what they were encoded "
                "with; --redo encodes them anew, --keep takes them as they are"
            )
        return {name: preparations[name] for name in present} if existing == KEEP else {}
    valid, others, num_changed, num_unknown = {}, [], 0, 0
    for name in present:
        entry = record.get(name)
        if entry is None:
            num_unknown += 1
        elif not entry.is_of_source(preparations[name]):
            num_changed += 1
        elif difference := entry.difference(preparations[name].encoding):
            others.append(difference)
            if existing == KEEP:
                valid[name] = entry
        else:
            valid[name] = entry
    if others and existing == REFUSE:
        raise ValueError(
            f"{output} has {len(others)} videos that were encoded with {others[0]}; --redo encodes them anew, --keep "
            "leaves them, another --output takes the new ones alone"
        )
    if others:
        logger.info("%s: %d videos of other settings are %s", output, len(others), _ANSWERS[existing])
    if num_changed:
        logger.info("%s: %d videos are made anew, their sources have changed", output, num_changed)
    if num_unknown:
        logger.info("%s: %d videos are made anew, %s does not have them", output, num_unknown, RECORD)
    return valid


def _class_names(lists: Sequence[str], label_file: str, output: str) -> dict[str, int]:
    """Return the names of the lists' classes with their ids; none if no file has them.

    Raises:
        ValueError: two lists, or a list and the one in `output`, have different names.
    """
    files = list(dict.fromkeys(path for path in (label_file or label_file_beside(path) for path in lists) if path))
    earlier = os.path.join(output, LABELS)
    if files and os.path.isfile(earlier):
        files.append(earlier)
    names = [read_label_names(path) for path in files]
    for path, other in zip(files, names, strict=True):
        if other != names[0]:
            raise ValueError(f"{files[0]} and {path} have different names of classes; one {LABELS} cannot have both")
    return names[0] if names else {}


def _copy_missing(lists: Sequence[str], output: str) -> None:
    """Copy the list of missing videos that lies beside the lists."""
    paths = {os.path.join(os.path.dirname(path), MISSING_CSV) for path in lists}
    sources = sorted(path for path in paths if g_pathmgr.isfile(path))
    if len(sources) == 1:
        write_text(os.path.join(output, MISSING_CSV), read_text(sources[0]))
    elif sources:
        logger.info("not copied, since they are several: %s", ", ".join(sources))


@dataclass(frozen=True)
class _Failed:
    reason: str


@dataclass(frozen=True)
class _NoOutput:
    reason: str


def _encode(job: tuple[str, str], encoding: Encoding) -> int | _Failed | _NoOutput:
    """Run `transcode` in a process of its own: a `_Failed` concerns one video, a `_NoOutput` would concern all."""
    source, target = job
    try:
        return transcode(source, target, encoding)
    except (VideoDecodeError, VideoEncodeError, MemoryError) as error:
        if is_of_memory(error):
            raise MemoryError from error
        return _Failed(str(error) if isinstance(error, VideoDecodeError) else f"{source}: {error}")
    except OSError as error:
        return _NoOutput(f"{target}: {type(error).__name__}: {error}")
    except (ValueError, ArithmeticError, RuntimeError) as error:
        return _Failed(f"{source}: cannot be encoded: {type(error).__name__}: {error}")


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


def _moved(
    videos: Sequence[Video], label_sets: LabelSets | None, root: str, output: str
) -> list[tuple[str, int | str]]:
    """Return the (path, label) that listed videos have below `output`; of several labels their text."""
    texts = label_sets.texts() if label_sets else None
    moved: list[tuple[str, int | str]] = []
    for video in videos:
        path = os.path.abspath(video.path)
        if not _is_below(path, root):
            raise ValueError(f"{video.listed_at}: {video.path} does not lie below {root}, whose videos are prepared")
        label = texts[video.label] if texts else video.label
        moved.append((os.path.join(output, _new_name(os.path.relpath(path, root))), label))
    return moved


def _check_new_lists(lists: Sequence[str], output: str) -> None:
    names = [os.path.basename(path) for path in lists]
    for path, name in zip(lists, names, strict=True):
        new = os.path.join(output, name)
        if names.count(name) > 1:
            raise ValueError(f"{path}: two lists have this name; both would become {new}")
        if os.path.realpath(path) == os.path.realpath(new):
            raise ValueError(f"{path}: the new list would take the place of this one; choose another output folder")
