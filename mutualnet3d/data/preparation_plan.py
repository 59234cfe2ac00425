"""Plan of a data set's preparation: the videos that are encoded, and those that are there already."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from mutualnet3d.data.preparation_lists import new_name
from mutualnet3d.data.preparation_record import NAME as RECORD
from mutualnet3d.data.preparation_record import Preparation, PreparationRecord, preparation_of
from mutualnet3d.files.unfinished import remove_abandoned
from mutualnet3d.log import logger
from mutualnet3d.video.transcode import Encoding

# What becomes of files in the output folder that were encoded with other settings.
REFUSE, REDO, KEEP = "refuse", "redo", "keep"
_ANSWERS = {REDO: "made anew", KEEP: "left as they are"}


@dataclass(frozen=True)
class PreparationPlan:
    """Circumstances of a data set's videos, by their paths below its folder.

    Args:
        to_do: videos that are encoded.
        valid: videos that are there already.
    """

    to_do: dict[str, Preparation]
    valid: dict[str, Preparation]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {"to_do": _to_json(self.to_do), "valid": _to_json(self.valid)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> PreparationPlan:
        """Return the plan of the values that `to_json` returned."""
        return PreparationPlan(_from_json(values["to_do"]), _from_json(values["valid"]))


def make_plan(root: str, output: str, names: Sequence[str], encoding: Encoding, existing: str) -> PreparationPlan:
    """Look at the videos and at what is there of them; remove what is made anew, and write the record of the rest.

    Args:
        root: folder of the videos.
        output: folder of the new videos.
        names: paths of the videos below `root`.
        encoding: size and quality of the new videos.
        existing: `REFUSE`, `REDO` or `KEEP`, see `prepare_videos`.

    Raises:
        ValueError: files of other settings.
        OSError: `output` cannot be written to, or a video cannot be looked at.
    """
    targets = {name: os.path.join(output, new_name(name)) for name in names}
    preparations = {name: preparation_of(os.path.join(root, name), encoding) for name in names}
    record = PreparationRecord(output)
    present = [name for name, target in targets.items() if os.path.isfile(target)]
    valid = _still_valid(present, preparations, record, existing, output)
    to_do = {name: preparations[name] for name in names if name not in valid}
    for folder in {os.path.dirname(targets[name]) for name in to_do} | {output}:
        os.makedirs(folder, exist_ok=True)
        remove_abandoned(folder)
    for name in set(present) - set(valid):
        os.remove(targets[name])
    record.write(valid)
    return PreparationPlan(to_do, valid)


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


def _to_json(entries: Mapping[str, Preparation]) -> list[list[Any]]:
    return [
        [name, entry.size, entry.mtime_ns, astuple(entry.encoding), entry.damages] for name, entry in entries.items()
    ]


def _from_json(rows: Sequence[Sequence[Any]]) -> dict[str, Preparation]:
    return {
        name: Preparation(size, mtime_ns, Encoding(*encoding), damages)
        for name, size, mtime_ns, encoding, damages in rows
    }
