"""Run over many files into one file of results, which goes on after any kill.

During the run its journal (`OUTPUT.journal`) lies beside the results. A description of the run (`OUTPUT.run.json`)
stays there: its options, its choices, and, at the end, the number of files that were read. The results themselves are
whole or absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from mutualnet3d.files.atomic import write_text
from mutualnet3d.files.journal import Journal
from mutualnet3d.files.json_file import read_json

VERSION = 1
BEGIN_ANEW = "--overwrite begins anew, another --output leaves it alone"


class ListedRun:
    """Run over many files, as a context; subclasses define the results.

    Args:
        output: path of the results.
        num_files: number of files.
        asked: options of the run, texts by names for messages; a run goes on only with the same options.
        overwrite: True to begin anew, whatever files exist.

    Attributes:
        journal: results so far.
        chosen: choices of the run's first start, plain values; {} before them.
        counts: number of files by status; {} before the run is complete.
        form: name of the results' kind, in the description.

    Raises:
        ValueError: the results or the journal of another run are there, another run writes them now, or the description
            is invalid or of a newer release.
    """

    form: str

    def __init__(self, output: str, num_files: int, asked: Mapping[str, str], overwrite: bool = False):
        self.output, self.asked, self._overwrite = output, dict(asked), overwrite
        self.journal, self.description_path = Journal(f"{output}.journal", num_files), f"{output}.run.json"
        self.chosen: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        os.makedirs(os.path.dirname(self.output) or ".", exist_ok=True)
        had_journal = os.path.lexists(self.journal.path)
        self.journal.__enter__()
        try:
            self._begin(had_journal)
        except BaseException:
            self._leave(drops_journal=not had_journal)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(drops_journal=bool(self.counts) or not self.chosen)

    def choose(self, chosen: Mapping[str, Any]) -> None:
        """Record the choices for all files; the run has begun.

        Args:
            chosen: choices, plain values.
        """
        self.chosen = dict(chosen)
        self._save({})

    def _finish(self, write: Callable[[Iterator[dict[str, Any]]], None]) -> None:
        """Write the results, and that the run is complete.

        Args:
            write: function that writes the results, whole or not at all, from the records of all files in order.

        Raises:
            ValueError: a file has no result yet.
            WriteError: the disk is full; the journal stays.
        """
        counts = Counter[str]()

        def counted() -> Iterator[dict[str, Any]]:
            for record in self.journal.records():
                counts[record["status"]] += 1
                yield record

        write(counted())
        self._save(counts)
        self.counts = dict(counts)
        self.journal.remove()

    def _begin(self, had_journal: bool) -> None:
        """Check that the run can begin or go on; nothing is written before `choose`."""
        if self._overwrite:
            self.journal.clear()
        elif os.path.lexists(self.description_path):
            self._load()
        elif os.path.lexists(self.output) or had_journal:
            existing = self.output if os.path.lexists(self.output) else self.journal.path
            raise ValueError(
                f"{existing} is there already, without {self.description_path}, which says how it was made; "
                f"{BEGIN_ANEW}"
            )

    def _leave(self, drops_journal: bool) -> None:
        if drops_journal:
            with contextlib.suppress(FileNotFoundError):  # it has gone at the end of the run
                self.journal.remove()
        self.journal.__exit__(None, None, None)

    def _load(self) -> None:
        content = read_json(self.description_path, "the description of a run")
        form, version = (content.get(key) for key in ("format", "version")) if isinstance(content, dict) else ("", 0)
        if form != self.form or not isinstance(version, int):
            raise ValueError(f"{self.description_path}: no description of a run, whose format is {self.form!r}")
        if version > VERSION:
            raise ValueError(
                f"{self.description_path} is of version {version}, which a newer release wrote; this one reads "
                f"version {VERSION}"
            )
        asked, chosen, counts = (content.get(key) for key in ("asked", "chosen", "counts"))
        if not all(isinstance(part, dict) for part in (asked, chosen, counts)):
            raise ValueError(f"{self.description_path}: asked, chosen and counts must be objects")
        difference = difference_text(asked, self.asked)
        if difference:
            raise ValueError(f"{self.output} was begun with {difference}; {BEGIN_ANEW}")
        self.chosen = chosen
        self.counts = counts if os.path.lexists(self.output) else {}

    def _save(self, counts: Mapping[str, int]) -> None:
        content = {
            "format": self.form,
            "version": VERSION,
            "asked": self.asked,
            "chosen": self.chosen,
            "counts": counts,
        }
        write_text(self.description_path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def list_text(paths: Sequence[str]) -> str:
    """Return text that stands for a list of paths: their number and a digest."""
    digest = hashlib.sha256("\n".join(paths).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{len(paths)} files ({digest})"


def difference_text(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return the values that differ, as text for people; "" without any.

    Args:
        before: options of the run's first start, texts by names.
        now: options of this start, texts by names.
    """
    texts = []
    for name in dict.fromkeys([*before, *now]):
        if name not in now:
            texts.append(f"{name} {before[name]}, which is not given now")
        elif name not in before:
            texts.append(f"no {name}, which is {now[name]} now")
        elif before[name] != now[name]:
            texts.append(f"{name} {before[name]}, not {now[name]}")
    return "; ".join(texts)
