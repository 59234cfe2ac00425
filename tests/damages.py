"""Damaged bytes, and what becomes of them in a process of their own, where native code may end it: outcome, time and
memory of every attempt."""

from __future__ import annotations

import os
import random
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import av
import torch

from tests.copies import SERVER

MAX_SECONDS, MAX_MEGABYTES = 10.0, 500.0  # of one attempt
_KILL_SECONDS = 30.0
_MEMORY = 24 << 30  # address space, of which torch reserves much


def damaged(content: bytes, number: int) -> bytes:
    """Return `content` with the damage of a number: a byte changed, the end lost, zeros, or bytes too many."""
    generator = random.Random(number)
    place = generator.randrange(len(content))
    length = generator.choice([1, 4, 64, 1024])
    match number % 4:
        case 0:
            return content[:place] + bytes([content[place] ^ (1 << generator.randrange(8))]) + content[place + 1 :]
        case 1:
            return content[:place]
        case 2:
            return content[:place] + bytes(len(content[place : place + length])) + content[place + length :]
        case _:
            return content[:place] + generator.randbytes(length) + content[place:]


def with_damaged_packets(video: Path, target: Path, numbers: Iterable[int]) -> Path:
    """Write `video` to `target` with nonsense in the packets of these numbers, in the order of being shown."""
    with av.open(str(video)) as container:
        packets = sorted((packet.pts, packet.pos, packet.size) for packet in container.demux(video=0) if packet.size)
    content = bytearray(video.read_bytes())
    for number in numbers:
        _, position, size = packets[number]
        content[position : position + size] = b"\xff" * size
    target.write_bytes(content)
    return target


class Attempts(NamedTuple):
    """Attempts with damages.

    Args:
        outcomes: number of attempts with each outcome; a process that was killed by a signal is "killed by N", one
            without an answer "no end".
        seconds: longest time of an attempt.
        megabytes: largest memory that an attempt took beyond what the process had before.
    """

    outcomes: Counter[str]
    seconds: float
    megabytes: float

    def check(self, *allowed: str) -> None:
        """Fail unless all outcomes are allowed, and no attempt took more than `MAX_SECONDS` and `MAX_MEGABYTES`."""
        assert set(self.outcomes) <= set(allowed), self.outcomes
        assert self.seconds < MAX_SECONDS
        assert self.megabytes < MAX_MEGABYTES


def run_attempts(attempt: Callable[[int], str], numbers: range) -> Attempts:
    """Run `attempt` for each number, in a process that is started anew where it ends.

    Args:
        attempt: function of a number that returns the outcome, in a word; it can be pickled.
        numbers: the damages.
    """
    outcomes: Counter[str] = Counter()
    most_seconds = most_megabytes = 0.0
    number = numbers.start
    while number < numbers.stop:
        receiver, sender = SERVER.Pipe(duplex=False)
        process = SERVER.Process(target=_run, args=(attempt, range(number, numbers.stop), sender))
        process.start()
        sender.close()
        while number < numbers.stop:
            number += 1
            if not receiver.poll(_KILL_SECONDS):
                process.kill()
                outcomes["no end"] += 1
                break
            try:
                outcome, seconds, megabytes = receiver.recv()
            except EOFError:
                process.join()
                outcomes[f"killed by {process.exitcode}"] += 1
                break
            outcomes[outcome] += 1
            most_seconds, most_megabytes = max(most_seconds, seconds), max(most_megabytes, megabytes)
        process.join()
    return Attempts(outcomes, most_seconds, most_megabytes)


def _run(attempt: Callable[[int], str], numbers: range, sender: Connection) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for number in numbers:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, started = _megabytes("VmRSS"), time.monotonic()
        outcome = attempt(number)
        sender.send((outcome, time.monotonic() - started, _megabytes("VmHWM") - before))


def _megabytes(name: str) -> float:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) / 1024
