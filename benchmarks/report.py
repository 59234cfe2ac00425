"""A report of many measurements, within a time, and written anew after every one.

A part is a list of measurements and runs in a process of its own, a copy of this one, which has loaded torch. An
error, a crash or a broken GPU costs one measurement, and the next one follows, in another process if need be; a hang
costs the rest of its part. Measurements for which no time was left are listed as not reached.
`benchmarks/gpu_report.py` uses it.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

Cell = str | int | float | None
Row = dict[str, Cell]
NOT_MEASURED = "not measured"
# The name of a failure that came before any measurement.
PLAN = "the list of its measurements"
# Exit statuses of a process that asks for a GPU.
USABLE, ABSENT, UNUSABLE = 0, 3, 4


@dataclass(frozen=True)
class Setting:
    """Machine and sizes of a report.

    Args:
        device: cuda or cpu.
        is_tiny: sizes that a CPU goes through in a minute.
    """

    device: str
    is_tiny: bool


class Sheet:
    """Results of a measurement, on their way to the report.

    Args:
        connection: pipe to the process that writes the report.
        deadline: end of the part's time, seconds of `time.monotonic`.
    """

    def __init__(self, connection: Connection, deadline: float):
        self._connection, self._deadline = connection, deadline

    @property
    def seconds_left(self) -> float:
        """Time of the part that is left, seconds."""
        return self._deadline - time.monotonic()

    def row(self, table: str, row: Row) -> None:
        """Add a row to the table of that title; keys are the columns, with their units; None is a gap."""
        self._connection.send(("row", table, row))

    def note(self, text: str) -> None:
        """Add a sentence; one that is there already is not repeated."""
        self._connection.send(("note", text))

    def text(self, title: str, text: str) -> None:
        """Add output of a program as it is."""
        self._connection.send(("text", title, text))


Measurement = Callable[[Sheet], None]


@dataclass(frozen=True)
class Part:
    """A part of a report.

    Args:
        title: heading.
        share: share of the report's time, of any unit; time that a part leaves goes to the parts after it.
        measurements: setting to the measurements by their names, the most important first.
        summary: tables of the part to tables derived from them, by their titles.
    """

    title: str
    share: float
    measurements: Callable[[Setting], Mapping[str, Measurement]]
    summary: Callable[[Mapping[str, Sequence[Row]]], Mapping[str, Sequence[Row]]] | None = None


@dataclass
class Results:
    """Results of a part so far.

    Args:
        planned: names of its measurements.
        failures: errors by the name of the measurement.
        summary_error: error of the tables that are derived from the others; empty: none.
        seconds: time that it took.
    """

    planned: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    summary_error: str = ""
    seconds: float = 0.0

    @property
    def not_reached(self) -> list[str]:
        return [name for name in self.planned if name not in self.done and name not in self.failures]

    @property
    def status(self) -> str:
        if not self.done and not self.failures:
            return "not reached"
        if self.failures or self.summary_error:
            return "with errors"
        return "incomplete" if self.not_reached else "complete"


class Report:
    """The report of `parts`, in `folder` as NAME.md and NAME.json.

    Args:
        title: heading of the report.
        introduction: text under it.
        seconds: time for all parts, seconds.
        start_method: start method of the parts' processes: fork, which copies this process at once, or spawn, which
            loads torch for each.
    """

    def __init__(
        self,
        title: str,
        introduction: str,
        folder: Path,
        name: str,
        parts: Sequence[Part],
        seconds: float,
        start_method: str = "fork",
    ):
        self.title, self.introduction, self.folder, self.name = title, introduction, folder, name
        self.parts, self.seconds = list(parts), seconds
        self._context: Any = multiprocessing.get_context(start_method)
        self.results = {part.title: Results() for part in parts}
        self.started = self._written = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, setting: Setting) -> None:
        """Go through the parts, then once more through those that were cut short, if time is left."""
        end = self.started + self.seconds
        self.write()
        # After its time a part may end the measurement that runs.
        grace = max(2.0, 0.05 * self.seconds)
        for number, part in enumerate(self.parts):
            shares = sum(other.share for other in self.parts[number:])
            now = time.monotonic()
            self._run_part(part, setting, now + max(0.0, end - now) * part.share / shares, end, grace)
        for part in self.parts:
            results = self.results[part.title]
            if (results.not_reached or not results.planned) and end - time.monotonic() > 0.01 * self.seconds:
                self._run_part(part, setting, end, end, grace)
        self.write()

    def _run_part(self, part: Part, setting: Setting, deadline: float, end: float, grace: float) -> None:
        results, started = self.results[part.title], time.monotonic()
        print(f"{started - self.started:6.1f} s  {part.title}", flush=True)
        finished = -1
        # A process that died, or whose GPU is broken, is followed by another, as long as measurements come to an end.
        while time.monotonic() < deadline and len(results.done) + len(results.failures) > finished:
            finished = len(results.done) + len(results.failures)
            self._run_process(part, setting, deadline, min(deadline + grace, end + 0.5 * grace))
            if results.planned and not results.not_reached:
                break
        results.seconds += time.monotonic() - started
        self.write()

    def _run_process(self, part: Part, setting: Setting, deadline: float, killed_at: float) -> None:
        results = self.results[part.title]
        receiver, sender = self._context.Pipe(duplex=False)
        finished = [*results.done, *results.failures]
        process = self._context.Process(target=_measure, args=(part, setting, finished, deadline, sender))
        sys.stdout.flush()
        process.start()
        sender.close()
        current, reason = None, ""
        try:
            while not reason:
                if not receiver.poll(max(0.0, killed_at - time.monotonic())):
                    reason = "stopped: its time was over"
                    break
                kind, *content = receiver.recv()
                current = content[0] if kind == "start" else None if kind in ("done", "failed") else current
                self._record(results, kind, content)
                if kind in ("done", "failed") or time.monotonic() - self._written > 2.0:
                    self.write()
        except EOFError:
            process.join(10.0)
            reason = f"its process ended with status {process.exitcode}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.kill()
            process.join()
        if current is not None:
            results.failures[current] = reason
        elif not results.planned:
            results.failures.setdefault(PLAN, reason)
        receiver.close()

    def _record(self, results: Results, kind: str, content: list[Any]) -> None:
        if kind == "plan":
            results.planned = content[0]
        elif kind == "done":
            results.done.append(content[0])
            print(f"{time.monotonic() - self.started:6.1f} s    {content[0]}", flush=True)
        elif kind == "failed":
            results.failures[content[0]] = content[1]
            print(f"{time.monotonic() - self.started:6.1f} s    {content[0]}: {content[1].splitlines()[0]}", flush=True)
        elif kind == "row":
            results.tables.setdefault(content[0], []).append(content[1])
        elif kind == "note" and content[0] not in results.notes:
            results.notes.append(content[0])
        elif kind == "text":
            results.texts[content[0]] = content[1]

    def write(self) -> None:
        """Write both files, whole."""
        self._replace("md", self.markdown())
        content = {
            "title": self.title,
            "introduction": self.introduction,
            "seconds": round(time.monotonic() - self.started, 1),
            "allowed seconds": self.seconds,
            "parts": [self._as_json(part) for part in self.parts],
        }
        self._replace("json", json.dumps(content, indent=1))
        self._written = time.monotonic()

    def _replace(self, suffix: str, text: str) -> None:
        path = self.folder / f"{self.name}.{suffix}"
        new = path.with_suffix(f".{suffix}.new")
        with open(new, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def _summary(self, part: Part) -> Mapping[str, Sequence[Row]]:
        results = self.results[part.title]
        results.summary_error = ""
        if part.summary is None or not results.tables:
            return {}
        try:
            return part.summary(results.tables)
        except Exception as error:  # noqa: BLE001 - the measurements themselves are to be written in any case
            results.summary_error = _described(error)
            return {}

    def _as_json(self, part: Part) -> dict[str, Any]:
        results, summary = self.results[part.title], self._summary(part)
        return {
            "title": part.title,
            "status": results.status,
            "seconds": round(results.seconds, 1),
            "summary": summary,
            "tables": results.tables,
            "notes": results.notes,
            "texts": results.texts,
            "done": results.done,
            "failures": results.failures,
            "summary error": results.summary_error,
            "not reached": results.not_reached,
        }

    def markdown(self) -> str:
        """The report as it stands."""
        sections = [line for part in self.parts for line in self._section(part)]
        states: list[Row] = []
        for part in self.parts:
            results = self.results[part.title]
            states.append(
                {
                    "part": part.title,
                    "state": results.status,
                    "measurements": f"{len(results.done)} of {len(results.planned)}",
                    "seconds": round(results.seconds, 1),
                }
            )
        took = f"All of it: {time.monotonic() - self.started:.0f} s of {self.seconds:.0f} s."
        return "\n".join([f"# {self.title}", "", self.introduction, "", *table(states), took, "", *sections])

    def _section(self, part: Part) -> list[str]:
        results = self.results[part.title]
        lines = [f"## {part.title}", ""]
        if results.status == "not reached":
            return [*lines, "Not reached.", ""]
        lines += [line for note in results.notes for line in (note, "")]
        for title, rows in [*self._summary(part).items(), *results.tables.items()]:
            if rows:
                lines += [f"**{title}**", "", *table(rows)]
        for title, text in results.texts.items():
            lines += [f"**{title}**", "", *_verbatim(text)]
        for name, error in results.failures.items():
            lines += [f"Failed: {name}", "", *_verbatim(error)]
        if results.summary_error:
            lines += ["Failed: the derived tables", "", *_verbatim(results.summary_error)]
        if results.not_reached:
            lines += [f"Not reached: {'; '.join(results.not_reached)}.", ""]
        return lines


def _measure(part: Part, setting: Setting, finished: Sequence[str], deadline: float, connection: Connection) -> None:
    """A part's process: its measurements but those that are finished, until the deadline."""
    os.setpgid(0, 0)  # ended together with those that it starts
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    use_cores(setting)
    sheet = Sheet(connection, deadline)
    try:
        measurements = part.measurements(setting)
    except Exception as error:  # noqa: BLE001 - it is written down, and the next part starts
        connection.send(("failed", PLAN, _described(error)))
        return
    connection.send(("plan", list(measurements)))
    for name, measurement in measurements.items():
        if name in finished:
            continue
        if sheet.seconds_left <= 0:
            return
        connection.send(("start", name))
        try:
            measurement(sheet)
        except Exception as error:  # noqa: BLE001 - it is written down, and the next measurement starts
            connection.send(("failed", name, _described(error)))
            del error
            if not _device_answers(setting):
                return
        else:
            connection.send(("done", name))
        gc.collect()
        if setting.device == "cuda" and torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def use_cores(setting: Setting) -> None:
    """Keep a trial on a CPU to one core: for tiny sizes threads cost more than they give, most on a busy machine."""
    if setting.device == "cpu":
        torch.set_num_threads(1)


def _device_answers(setting: Setting) -> bool:
    """Ask whether a process can go on with its GPU: after some errors it never can."""
    if setting.device != "cuda" or not torch.cuda.is_initialized():
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _described(error: BaseException) -> str:
    """The error's first line, then the end of its traceback."""
    tail = traceback.format_exc().splitlines()[-14:]
    return "\n".join([_first_line(error)[:400], *(line[:200] for line in tail)])


def _verbatim(text: str) -> list[str]:
    return ["```", text.replace("```", "'''"), "```", ""]


def table(rows: Iterable[Row]) -> list[str]:
    """Lines of a Markdown table; columns are the keys of all rows, as they first come."""
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *cells)] + [""]


def _cell(value: Cell) -> str:
    if value is None:
        return NOT_MEASURED
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def probe() -> tuple[str, str]:
    """The device, cuda or cpu, and the start method of processes that can use it, fork or spawn.

    Asked in processes of their own: copies of one that has asked CUDA cannot use it.

    Raises:
        RuntimeError: a GPU that torch sees and cannot use.
    """
    statuses = {}
    for start_method in ("fork", "spawn"):
        process: Any = multiprocessing.get_context(start_method).Process(target=_use_gpu)
        process.start()
        process.join(60.0)
        statuses[start_method] = process.exitcode
        process.kill()
        if process.exitcode in (USABLE, ABSENT):
            return "cuda" if process.exitcode == USABLE else "cpu", start_method
    raise RuntimeError(f"torch sees a GPU and cannot use it: exit statuses {statuses}; the errors are above")


def _use_gpu() -> None:
    status = UNUSABLE
    try:
        if torch.cuda.is_available():
            torch.ones(1, device="cuda").sum().item()
            status = USABLE
        else:
            status = ABSENT
    except Exception:  # noqa: BLE001 - it is printed, and the exit status tells
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
