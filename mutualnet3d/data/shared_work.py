"""Work on a list that processes of several machines do together, on a disk that they share; see `files/claims.py`.

The process that comes first plans: it looks at the list and writes what is to be done. All then claim blocks of items,
so that a claim costs little beside its block. The results of a block are one file; those of a block that is not whole
yet are in a file of lines, and whoever takes the block over from a dead process goes on after them. The last block
done, one process puts all results together. Any process may be killed at any moment: the others, or a later start, go
on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from mutualnet3d.files.claims import LEASE_SECONDS, PART, Claims, Listing, list_claims
from mutualnet3d.log import logger

PLAN, FINISH = "plan", "finish"
BLOCK = 32  # items of a claim
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between two looks at what the others do
_LOG_SECONDS = 60.0

Record = dict[str, Any]  # result of an item, plain values


@dataclass(frozen=True)
class Sharing:
    """Circumstances of a work that several processes share; all of them have the same.

    Args:
        block: number of items of a claim, 1 or more.
        lease_seconds: seconds without a sign of life after which a process counts as dead, more than 0.

    Raises:
        ValueError: a number that is out of range.
    """

    block: int = BLOCK
    lease_seconds: float = LEASE_SECONDS

    def __post_init__(self) -> None:
        if self.block < 1:
            raise ValueError(f"block is {self.block} files; allowed: 1 or more")
        if not self.lease_seconds > 0:
            raise ValueError(f"lease is {self.lease_seconds} seconds; allowed: more than 0")


class OtherWork(ValueError):
    """The folder is of another list, or of other settings."""


class SharedWork:
    """Work in a folder, as this process sees it.

    Args:
        claims: claims on the folder, entered.
        settings: all that the results depend on, plain values by the names that users give them by; "block" among
            them, the number of items of a claim.
        names: names of the list, in its order.
        say: function that is called at times to tell people how far the work is.

    Attributes:
        result: result of the whole work; None before it is finished.
    """

    def __init__(
        self,
        claims: Claims,
        settings: Mapping[str, Any],
        names: Sequence[str],
        say: Callable[[], None] = lambda: None,
    ):
        self.claims, self.block = claims, int(settings["block"])
        self.settings = json.loads(json.dumps(dict(settings)))  # as a file gives them back
        self.names = list(names)
        self.result: Any = None
        self.num_items = 0
        self._open: dict[int, dict[int, Record]] = {}  # blocks that this process holds, with their results so far
        self._parts: dict[int, list[str]] = {}  # paths of the files that have these
        self._say, self._next_word = say, time.monotonic() + _LOG_SECONDS

    def join(self, make_plan: Callable[[], tuple[Any, int, int]]) -> Any:
        """Return the plan: that of the folder, or else a new one.

        Args:
            make_plan: function that looks at the list, and returns plain values, the number of items to work on and
                that of others, which are there already. It is called in one process at a time.

        Raises:
            OtherWork: the folder is of another list or of other settings; the message says what differs.
        """
        for pause in _pauses():
            if self.claims.is_done(FINISH):
                self._take_result()
                return None
            if self.claims.is_done(PLAN):
                break
            if self.claims.claim(PLAN):
                if not self.claims.is_done(FINISH) and not self.claims.is_done(PLAN):
                    plan, num_items, num_present = make_plan()
                    numbers = {"num_items": num_items, "num_present": num_present}
                    content = {"settings": self.settings, "names": self.names, **numbers, "plan": plan}
                    self.claims.commit(PLAN, _dump(content))
                self.claims.release(PLAN)
                continue
            _free_dead(self.claims, [PLAN])
            time.sleep(pause)
        try:
            content = json.loads(self.claims.result(PLAN))
        except FileNotFoundError:  # finished meanwhile
            self._take_result()
            return None
        _refuse_other(self.claims.folder, self.settings, content["settings"])
        _refuse_other_names(self.claims.folder, self.names, content["names"])
        self.num_items = content["num_items"]
        return content["plan"]

    def run(
        self,
        work_on: Callable[[Iterator[int]], Iterable[tuple[int, Record]]],
        is_there: Callable[[int, Record], bool] = lambda item, record: True,
    ) -> None:
        """Work until no item is left, whoever did it; nothing to do if the work is finished.

        Args:
            work_on: function of the numbers of items, which yields numbers and results as they come, in any order.
            is_there: function that tells whether what a dead process did on an item is there.
        """
        while self.result is None and not self._is_all_done():
            for item, record in work_on(self._take(is_there)):
                self._add(item, record)
                self._speak()
            self._wait()

    def finish(self, write: Callable[[list[Record]], Any]) -> Any:
        """Return the result of the whole work, from the process that wrote it.

        Args:
            write: function of the results of all items, in order, that writes them and returns plain values. It is
                called in one process at a time, once unless that one dies.
        """
        pauses = _pauses()
        while True:
            if self.result is None and self.claims.is_done(FINISH):
                self._take_result()
            if self.result is not None:
                return self.result
            if self.claims.claim(FINISH):
                if not self.claims.is_done(FINISH):
                    names = self._block_names()
                    result = write([record for name in names for record in records_of(self.claims.result(name))])
                    content = {"settings": self.settings, "names": _digest(self.names), "result": result}
                    self.claims.commit(FINISH, _dump(content))
                    _clear(self.claims)
                self.claims.release(FINISH)
                continue
            _free_dead(self.claims, [FINISH])
            time.sleep(next(pauses))

    def _take(self, is_there: Callable[[int, Record], bool]) -> Iterator[int]:
        """Yield the items of blocks that are free, each block claimed when the one before is given out."""
        while (block := self._claim_block()) is not None:
            records = self._open[block] = {}
            for path in self._parts[block]:  # of dead processes
                for item, record in read_part(path):
                    if item in self._items(block) and item not in records and is_there(item, record):
                        records[item] = record
            to_do = [item for item in self._items(block) if item not in records]
            self._commit_if_whole(block)
            yield from to_do

    def _claim_block(self) -> int | None:
        """Claim a block that is free, and note its parts; None if there is none."""
        listing = list_claims(self.claims.folder)
        if FINISH in listing.done:
            return None
        free = self._free(listing)
        # Others begin elsewhere: of processes that all try the same block most try in vain.
        start = int(self.claims.own.token, 16) % max(len(free), 1)
        for block in free[start:] + free[:start]:
            name = _name(block)
            if self.claims.claim(name):
                if not self.claims.is_done(name) and not self.claims.is_done(FINISH):
                    self._parts[block] = [self.claims.path(part) for part in sorted(listing.parts.get(name, ()))]
                    return block
                self.claims.release(name)  # another process was faster with all of it
        return None

    def _add(self, item: int, record: Record) -> None:
        block = item // self.block
        path = self.claims.path(f"{_name(block)}.{self.claims.own.token}{PART}")
        if path not in self._parts[block]:
            self._parts[block].append(path)
        with open(path, "ab", buffering=0) as file:
            file.write(_dump([item, record]))
        self._open[block][item] = record
        self._commit_if_whole(block)

    def _commit_if_whole(self, block: int) -> None:
        if len(self._open[block]) < len(self._items(block)):
            return
        records = self._open.pop(block)
        lines = [_dump(records[item]) for item in self._items(block)]
        self.claims.commit(_name(block), b"".join(lines))
        for path in self._parts.pop(block):
            _remove(path)

    def _wait(self) -> None:
        """Wait until all is done or a block is free again, as the blocks of dead processes become."""
        for pause in _pauses():
            listing = list_claims(self.claims.folder)
            if FINISH in listing.done or self._free(listing) or self._is_all_done(listing):
                return
            if not _free_dead(self.claims, listing.claimed - listing.done):
                self._speak()
                time.sleep(pause)

    def _is_all_done(self, listing: Listing | None = None) -> bool:
        done = (listing or list_claims(self.claims.folder)).done
        return FINISH in done or all(name in done for name in self._block_names())

    def _free(self, listing: Listing) -> list[int]:
        taken = listing.claimed | listing.done
        return [block for block, name in enumerate(self._block_names()) if name not in taken]

    def _take_result(self) -> None:
        content = json.loads(self.claims.result(FINISH))
        _refuse_other(self.claims.folder, self.settings, content["settings"])
        if content["names"] != _digest(self.names):
            raise OtherWork(_of_another(self.claims.folder, "it has other videos now; this work is finished"))
        self.result = content["result"]

    def _speak(self) -> None:
        if time.monotonic() >= self._next_word:
            self._say()
            self._next_word = time.monotonic() + _LOG_SECONDS

    def _items(self, block: int) -> range:
        return range(block * self.block, min((block + 1) * self.block, self.num_items))

    def _block_names(self) -> list[str]:
        return [_name(block) for block in range(-(-self.num_items // self.block))]


def read_part(path: str) -> Iterator[tuple[int, Record]]:
    """Yield the numbers and results of items in a file of lines; a line that a kill has cut off is left out."""
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return
    for line in lines:
        try:
            item, record = json.loads(line)
        except (ValueError, TypeError):
            continue
        if isinstance(item, int) and isinstance(record, dict):
            yield item, record


def refuse_unfinished(folder: str) -> None:
    """Refuse to work alone where others share the work; remove the folder of a work that is finished.

    Args:
        folder: folder of the shared work, which need not exist.

    Raises:
        ValueError: it is not finished.
    """
    if not os.path.isdir(folder):
        return
    if FINISH not in list_claims(folder).done:
        raise ValueError(
            f"{folder} is of a work that several processes share, and it is not finished: --shared takes part in it, "
            "--status says how far it is; remove the folder to begin anew once no process works on it"
        )
    for file_name in os.listdir(folder):
        _remove(os.path.join(folder, file_name))
    os.rmdir(folder)


def _free_dead(claims: Claims, names: Iterable[str]) -> bool:
    """Remove the claims of dead processes; return True if there were some."""
    for notice in (notices := claims.free_dead(sorted(names))):
        logger.warning("%s: %s", claims.folder, notice)
    return bool(notices)


def _clear(claims: Claims) -> None:
    """Remove all but the result: a process that comes late needs nothing else."""
    own = {f"{FINISH}.done", f"{FINISH}.claim", f"{claims.own.token}.beat"}
    for file_name in set(os.listdir(claims.folder)) - own:
        _remove(claims.path(file_name))


def records_of(content: bytes) -> list[Record]:
    """Return the results of a block that is done."""
    return [json.loads(line) for line in content.splitlines()]


def _name(block: int) -> str:
    return f"{block:06d}"


def _dump(values: Any) -> bytes:
    return json.dumps(values).encode("ascii") + b"\n"


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(names).encode("ascii")).hexdigest()


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def _pauses() -> Iterator[float]:
    """Yield seconds to wait, more each time up to a limit, without end."""
    return (min(_FIRST_PAUSE * 1.5 ** min(number, 20), _LONGEST_PAUSE) for number in count())


def _refuse_other(folder: str, settings: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    names = [name for name in {**others, **settings} if others.get(name) != settings.get(name)]
    if names:
        texts = [f"{name} {others.get(name, 'none')}, not {settings.get(name, 'none')}" for name in names]
        raise OtherWork(_of_another(folder, f"it has {', '.join(texts)}"))


def _refuse_other_names(folder: str, names: Sequence[str], others: Sequence[str]) -> None:
    if names == others:
        return
    more, fewer = sorted(set(names) - set(others)), sorted(set(others) - set(names))
    texts = [f"{len(more)} videos are new ({more[0]})"] if more else []
    texts += [f"{len(fewer)} are gone ({fewer[0]})"] if fewer else []
    raise OtherWork(_of_another(folder, ", ".join(texts) or "its videos have another order"))


def _of_another(folder: str, difference: str) -> str:
    return (
        f"{folder} is of a work on another list or with other settings: {difference}. Take part with the list and the "
        "settings that it has; or, if no process works on it, remove that folder to begin anew"
    )
