"""Status of a work that several processes share: what is done, in work and left, and who works."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mutualnet3d.data.shared_work import FINISH, PLAN, read_part, records_of
from mutualnet3d.files.claims import Claimant, Listing, beat_ages, holders, list_claims


@dataclass(frozen=True)
class WorkStatus:
    """State of a shared work.

    Args:
        num_items: number of videos to work on; None while nobody has planned it.
        num_present: number of videos that were there before.
        kinds: numbers of results by their kinds, "encoded" for instance.
        in_work: number of videos without a result in the blocks that somebody has claimed.
        workers: who holds blocks, with the seconds since their last sign of life; None without a sign.
        num_idle: number of processes that take part and hold no block now.
        result: result of the whole work; None before its end.
    """

    num_items: int | None = None
    num_present: int = 0
    kinds: Mapping[str, int] | None = None
    in_work: int = 0
    workers: Mapping[Claimant, float | None] | None = None
    num_idle: int = 0
    result: Any = None

    def __str__(self) -> str:
        """Text for people: numbers, then a line for each worker."""
        if self.result is not None:
            return "finished"
        if self.num_items is None:
            return "being planned: nobody has looked at all videos yet"
        kinds = dict(self.kinds or {})
        left = self.num_items - sum(kinds.values()) - self.in_work
        counts = [f"{number} {kind}" for kind, number in sorted(kinds.items())]
        counts += [f"{self.num_present} there already"] if self.num_present else []
        counts += [f"{self.in_work} in work", f"{left} left"]
        lines = [f"{self.num_items + self.num_present} videos: {', '.join(counts)}"]
        for worker, age in (self.workers or {}).items():
            lines.append(f"  {worker}: {'no sign of life' if age is None else f'sign of life {age:.0f} s ago'}")
        lines += [f"  {self.num_idle} more wait"] if self.num_idle else []
        return "\n".join(lines)


class StatusReader:
    """Reader of the state of a shared work, which reads the result of each block once.

    Args:
        folder: folder of the work.
    """

    def __init__(self, folder: str):
        self.folder = folder
        self._kinds_of: dict[str, Counter[str]] = {}  # block -> numbers of its results by kinds
        self._plan: tuple[int, int, int] | None = None  # numbers of items, of present ones, of items in a block

    def read(self) -> WorkStatus:
        """Return the state now.

        Raises:
            FileNotFoundError: there is no such work.
        """
        try:
            listing = list_claims(self.folder)
        except FileNotFoundError:
            raise FileNotFoundError(f"no shared work at {self.folder}; --shared begins one") from None
        if FINISH in listing.done:
            return WorkStatus(result=json.loads(self._content(FINISH))["result"])
        if PLAN not in listing.done:
            return WorkStatus()
        try:
            return self._read(listing)
        except FileNotFoundError:  # finished meanwhile: what it was read from is gone
            return WorkStatus(result=json.loads(self._content(FINISH))["result"])

    def _read(self, listing: Listing) -> WorkStatus:
        if self._plan is None:
            content = json.loads(self._content(PLAN))
            self._plan = content["num_items"], content["num_present"], content["settings"]["block"]
        num_items, num_present, block_size = self._plan
        kinds = Counter[str]()
        for name in listing.done - {PLAN}:
            if name not in self._kinds_of:
                self._kinds_of[name] = Counter(record["kind"] for record in records_of(self._content(name)))
            kinds += self._kinds_of[name]
        in_work = 0
        claimed = listing.claimed - listing.done - {FINISH, PLAN}
        for name in listing.parts.keys() | claimed:
            if name in listing.done:
                continue
            results = dict(
                pair for file_name in listing.parts.get(name, ()) for pair in read_part(f"{self.folder}/{file_name}")
            )
            kinds += Counter(record["kind"] for record in results.values())
            if name in claimed:
                first = int(name) * block_size
                in_work += min(block_size, num_items - first) - len(results)
        people = {holder.token: holder for holder in holders(self.folder, claimed).values() if holder}
        ages = beat_ages(self.folder, listing.beats | people.keys())
        ordered = sorted(people.values(), key=lambda holder: (holder.host, holder.pid))
        workers = {holder: ages.get(holder.token) for holder in ordered}
        return WorkStatus(num_items, num_present, kinds, in_work, workers, len(listing.beats - people.keys()))

    def _content(self, name: str) -> bytes:
        with open(f"{self.folder}/{name}.done", "rb") as file:
            return file.read()
