#!/usr/bin/env python3
"""Load on `mutualnet3d serve`: requests a second, times of answers, what overload gets, and the server's memory.

    python benchmarks/serving.py --checkpoint output/demo/calibrated.pyth --videos data/moving_shapes/val --minutes 10

Starts a server on a free port of this machine. Each client has one connection and asks again as soon as it has an
answer; after a 429 it waits for a tenth of a second. Requests go in turn over the videos, half of them uploads, half by
path, at budgets in GFLOPs from the front of the server's table. A row of the table is of so many clients at the same
time; the first milliseconds are of the answers with labels, from the first byte sent to the last received, those after
"429" of the refusals.

The last part goes on for --minutes. Memory is Pss_Anon (/proc/PID/smaps_rollup) of the server and of the process that
starts its readers; its growth is that of the straight line through the samples after the first fifth. Exit status 1 if
it grows by more than --allowed-mb, or if an answer is neither labels, 422 for a video of --faults, nor 429.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from program_options import add

from mutualnet3d.data.video_files import find_video_files

PERCENTILES = (50, 95, 99)
_RETRY_SECONDS = 0.1
_PATIENCE = 120.0  # seconds after which an answer is a hang


@dataclass
class Load:
    """Answers to some clients: seconds of each by its status; 0: none came."""

    clients: int
    seconds: float = 0.0
    answers: dict[int, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add(self, status: int, seconds: float) -> None:
        self.answers.setdefault(status, []).append(seconds)

    def counts(self) -> Counter[int]:
        return Counter({status: len(times) for status, times in self.answers.items()})

    def row(self) -> str:
        good, refused = self.answers.get(200, []), self.answers.get(429, [])
        others = sum(self.counts().values()) - len(good) - len(refused)
        return (
            f"{self.clients:>7} {len(good) / self.seconds:>8.2f} {_milliseconds(good)} {len(good):>7} "
            f"{len(refused):>7} {_milliseconds(refused)} {others:>7}"
        )


HEADER = (
    f"{'clients':>7} {'videos/s':>8} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'labels':>7} {'429':>7} "
    f"{'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'others':>7}"
)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", required=True, metavar="PATH", help="calibrated.pyth of a test run, or the folder of a bundle"
    )
    parser.add_argument("--videos", required=True, metavar="FOLDER", help="folder of videos")
    parser.add_argument(
        "--faults",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="folders below --videos whose videos may be answered with 422; default: none",
    )
    parser.add_argument(
        "--clients",
        type=int,
        nargs="+",
        default=[1, 4, 16],
        metavar="N",
        help="numbers of clients, a row of the table each; default: %(default)s",
    )
    add(parser, "--overload", 64, "N", "number of clients of the row of overload")
    add(parser, "--seconds", 20.0, "SECONDS", "length of a row, seconds")
    add(parser, "--minutes", 10.0, "MINUTES", "length of the last part, minutes, 0: without")
    add(parser, "--allowed-mb", 50.0, "MB", "largest growth of the memory, 1e6 bytes")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="options of `mutualnet3d serve`, after --")
    args = parser.parse_args(words)
    videos = sorted(find_video_files(args.videos))
    if not videos:
        print(f"no videos below {args.videos}", file=sys.stderr)
        return 2
    faults = {name for name in videos if any(Path(args.videos, name).is_relative_to(path) for path in args.faults)}
    with running_server(args.checkpoint, args.videos, args.options) as (pid, port):
        budgets = _budgets(port)
        requests = list(_requests(args.videos, videos, budgets))
        drive(port, requests, 1, args.seconds / 4)  # whatever is done for the first time only
        print(HEADER)
        loads = []
        for clients in [*args.clients, args.overload]:
            loads.append(drive(port, requests, clients, args.seconds))
            print(loads[-1].row(), flush=True)
        growth = 0.0
        if args.minutes > 0:
            with memory_samples(pid) as samples:
                loads.append(drive(port, requests, max(args.clients), 60 * args.minutes))
            print(loads[-1].row())
            growth = growth_of(samples)
            print(
                f"memory {samples[0][1] / 1e6:.0f} MB at the start, {samples[-1][1] / 1e6:.0f} MB at the end, "
                f"growth {growth / 1e6:+.1f} MB over {args.minutes:g} min"
            )
    total = sum((load.counts() for load in loads), Counter[int]())
    print("answers by status:", ", ".join(f"{status}: {count}" for status, count in sorted(total.items())))
    for text in itertools.islice((text for load in loads for text in load.errors), 5):
        print(f"error: {text}", file=sys.stderr)
    allowed = {200, 429, *([422] if faults else [])}
    return 1 if set(total) - allowed or growth > 1e6 * args.allowed_mb else 0


@contextmanager
def running_server(checkpoint: str, root: str, options: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """Yield process and port of a server; after the block it ends by SIGTERM, with exit status 0."""
    words = ["serve", "--checkpoint", checkpoint, "--root", root, "--port", "0", *options]
    process = subprocess.Popen([sys.executable, "-m", "mutualnet3d", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        match = re.match(r"serving http://[^ ]*:(\d+) ", line)
        if not match:
            raise RuntimeError(f"the server did not start: {line!r}")
        yield process.pid, int(match[1])
        process.terminate()
        if process.wait(60.0) != 0:
            raise RuntimeError(f"the server ended with status {process.returncode}")
    finally:
        process.kill()


def drive(port: int, requests: Sequence[tuple[str, bytes | None]], clients: int, seconds: float) -> Load:
    """Return the answers to some clients that ask for so many seconds."""
    load, lock, end = Load(clients), threading.Lock(), time.monotonic() + seconds
    turns = itertools.cycle(requests)

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        while time.monotonic() < end:
            with lock:
                address, body = next(turns)
            started = time.perf_counter()
            try:
                connection.request("POST", address, body)
                response = connection.getresponse()
                content = response.read()
                status, text = response.status, ""
                if status not in (200, 429):
                    text = f"{address}: {status} {content[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                status, text = 0, f"{address}: {type(error).__name__}: {error}"
                connection.close()
            with lock:
                load.add(status, time.perf_counter() - started)
                load.errors += [text] if text else []
            if status == 429:
                time.sleep(_RETRY_SECONDS)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.monotonic() - started
    return load


@contextmanager
def memory_samples(pid: int, period: float = 2.0) -> Iterator[list[tuple[float, int]]]:
    """Yield a list that fills with (seconds, bytes) of a process and its children while the block runs."""
    samples: list[tuple[float, int]] = []
    ended, started = threading.Event(), time.monotonic()

    def sample() -> None:
        while True:
            samples.append((time.monotonic() - started, sum(map(_private_bytes, [pid, *_children(pid)]))))
            if ended.wait(period):
                return

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def growth_of(samples: Sequence[tuple[float, int]]) -> float:
    """Return the bytes by which the straight line through the samples after the first fifth grows."""
    settled = samples[len(samples) // 5 :]
    if len(settled) < 2:
        return 0.0
    times, sizes = zip(*settled, strict=True)
    return statistics.linear_regression(times, sizes).slope * (times[-1] - times[0])


def _milliseconds(times: Sequence[float]) -> str:
    if not times:
        return " ".join(f"{'-':>8}" for _ in PERCENTILES)
    ordered = sorted(times)
    picked = (ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] for percent in PERCENTILES)
    return " ".join(f"{1e3 * value:>8.1f}" for value in picked)


def _budgets(port: int) -> list[float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    connection.request("GET", "/model")
    front = json.loads(connection.getresponse().read())["front"]
    connection.close()
    return [row["gflops_of_video"] for row in front]


def _requests(folder: str, videos: Sequence[str], budgets: Sequence[float]) -> Iterator[tuple[str, bytes | None]]:
    """Yield address and body of a request for each video and budget."""
    kinds = itertools.cycle((True, False))
    for name, budget in itertools.product(videos, budgets or [None]):
        query = [] if budget is None else [f"gflops={1.001 * budget:g}"]
        is_upload = next(kinds)
        body = Path(folder, name).read_bytes() if is_upload else None
        query += [] if is_upload else [f"path={quote(name)}"]
        yield "/predict?" + "&".join(query), body


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _private_bytes(pid: int) -> int:
    try:
        match = re.search(r"^Pss_Anon: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), flags=re.MULTILINE)
    except OSError:  # it has ended
        return 0
    assert match
    return int(match[1]) << 10


if __name__ == "__main__":
    sys.exit(main())
