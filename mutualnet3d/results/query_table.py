"""The query table: what every sub-network costs and how good it is. A budget goes in, the best row comes out."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any

import simplejson
from iopath.common.file_io import g_pathmgr

from mutualnet3d.files.atomic import write_text
from mutualnet3d.shapes import SubnetConfig

SCHEMA = "mutualnet3d.query_table"
SCHEMA_VERSION = 3  # 1 had no accuracy of single views, 2 nothing of int8

COSTS = ("gflops", "milliseconds")


@dataclass(frozen=True)
class Row:
    """One sub-network.

    Args:
        config: width, size, frames.
        gflops: 1e9 multiply-adds of one clip of `frames` x `size` x `size`.
        params: parameters in use.
        milliseconds: measured time of one forward pass; on what, and of how many clips, the table's context says.
        top1, top5: accuracy in percent, over all views of a video.
        clip_top1, clip_top5: accuracy in percent of single views; None: not known.
        int8_top1, int8_top5: accuracy in percent of the sub-network quantised to int8, over the same views of the same
            videos; None: not known.
        int8_milliseconds: measured time of its forward pass of one clip, by OpenVINO; None: not known.
    """

    config: SubnetConfig
    gflops: float
    params: int
    milliseconds: float
    top1: float
    top5: float
    clip_top1: float | None = None
    clip_top5: float | None = None
    int8_top1: float | None = None
    int8_top5: float | None = None
    int8_milliseconds: float | None = None


@dataclass(frozen=True)
class QueryTable:
    """Rows, the most expensive first, and what they have in common.

    Args:
        rows: at least one, each of another sub-network.
        context: model, num_videos, views, device, threads, batch_size, checkpoint (hash)...

    Raises:
        ValueError: there is no row, or a sub-network has two.
    """

    rows: tuple[Row, ...]
    context: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("a query table needs at least one row")
        configs = [row.config for row in self.rows]
        if len(set(configs)) < len(configs):
            twice = next(config for config in configs if configs.count(config) > 1)
            raise ValueError(f"a query table has one row of each sub-network; {twice} has {configs.count(twice)}")
        object.__setattr__(self, "rows", tuple(sorted(self.rows, key=lambda row: (-row.gflops, str(row.config)))))

    def best(self, gflops: float | None = None, milliseconds: float | None = None) -> Row:
        """The most accurate row within all given bounds; of equals the cheaper one, in the given bounds first, then in
        the other cost.

        Raises:
            ValueError: no bound is given, one is not above 0, or nothing is within them; it names the cheapest rows.
        """
        bounds = checked_bounds(gflops, milliseconds)
        within = [row for row in self.rows if all(getattr(row, cost) <= bound for cost, bound in bounds.items())]
        if not within:
            raise ValueError(self._nothing_within(bounds))
        costs = [*bounds, *(cost for cost in COSTS if cost not in bounds)]
        return max(within, key=lambda row: (row.top1, *(-getattr(row, cost) for cost in costs)))

    def _nothing_within(self, bounds: Mapping[str, Any]) -> str:
        asked = " and ".join(f"{cost}={bound:g}" for cost, bound in bounds.items())
        cheapest = {cost: min(self.rows, key=lambda row: getattr(row, cost)) for cost in bounds}
        if any(getattr(row, cost) > bounds[cost] for cost, row in cheapest.items()):
            costs = [
                f"the cheapest in {cost} is {row.config} with {getattr(row, cost):.4g}"
                for cost, row in cheapest.items()
            ]
            return f"no sub-network fits {asked}; {'; '.join(costs)}"
        costs = [
            f"the cheapest in {cost} is {row.config} with gflops {row.gflops:.4g} and "
            f"milliseconds {row.milliseconds:.4g}"
            for cost, row in cheapest.items()
        ]
        return f"no sub-network fits {asked} together, though each alone can be met; {'; '.join(costs)}"

    def pareto(self, cost: str = "gflops") -> tuple[Row, ...]:
        """The rows that no other row beats: none is at least as accurate at less `cost`. Cheapest first.

        Of rows of the same cost the more accurate one is among them; of rows of the same cost and accuracy the one that
        is cheaper in the other cost, and of those still equal the first by its key. So `best` under a bound of `cost`
        alone always gives a row of this front, and every row of it can be had so.

        Args:
            cost: "gflops" or "milliseconds".
        """
        if cost not in COSTS:
            raise ValueError(f"cost must be 'gflops' or 'milliseconds', got {cost!r}")
        (other,) = (each for each in COSTS if each != cost)
        front: list[Row] = []
        for row in sorted(
            self.rows, key=lambda row: (getattr(row, cost), -row.top1, getattr(row, other), str(row.config))
        ):
            if not front or row.top1 > front[-1].top1:
                front.append(row)
        return tuple(front)

    def fronts(self) -> dict[str, frozenset[SubnetConfig]]:
        """The sub-networks on the Pareto front over each cost, "gflops" and "milliseconds"."""
        return {cost: frozenset(row.config for row in self.pareto(cost)) for cost in COSTS}

    def with_milliseconds(self, milliseconds: Mapping[SubnetConfig, float], **context: Any) -> QueryTable:
        """The same table with other times.

        Args:
            milliseconds: of every row's sub-network; others are ignored.
            context: what the times are of; replaces and adds entries of the table's context.

        Raises:
            ValueError: a row's sub-network has no time.
        """
        missing = [str(row.config) for row in self.rows if row.config not in milliseconds]
        if missing:
            raise ValueError(f"no milliseconds of {', '.join(missing)}; every row of the table needs some")
        rows = tuple(replace(row, milliseconds=milliseconds[row.config]) for row in self.rows)
        return QueryTable(rows, {**self.context, **context})

    def int8(self) -> QueryTable:
        """The table of the sub-networks quantised to int8: their accuracy and milliseconds in the place of the others'.
        Rows that say nothing of them are left out.

        Raises:
            ValueError: none says anything.
        """
        rows = tuple(
            replace(
                row,
                milliseconds=row.int8_milliseconds,
                top1=row.int8_top1,
                top5=row.int8_top5,
                clip_top1=None,
                clip_top5=None,
            )
            for row in self.rows
            if row.int8_milliseconds is not None and row.int8_top1 is not None and row.int8_top5 is not None
        )
        if not rows:
            raise ValueError("the table says nothing of int8: none of its sub-networks was quantised and tested")
        # PyTorch's threads; OpenVINO takes as many as there are cores.
        context = {name: value for name, value in self.context.items() if name != "threads"}
        return QueryTable(rows, {**context, "device": context.get("int8_device", "not known"), "batch_size": 1})

    def save(self, path: str) -> None:
        """Write the table as JSON, atomically."""
        rows = [{**asdict(row), "config": str(row.config)} for row in self.rows]
        content = {"schema": SCHEMA, "version": SCHEMA_VERSION, "context": dict(self.context), "rows": rows}
        write_text(path, simplejson.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: str) -> QueryTable:
        """A table that `save` wrote, in this release or an older one.

        Raises:
            FileNotFoundError: there is none.
            ValueError: not a query table, one of a newer version, or one with a row that is none: the file, the row
                (the first is 1) and the field are named.
        """
        if not g_pathmgr.isfile(path):
            raise FileNotFoundError(f"no query table at {path}")
        with g_pathmgr.open(path, "r", encoding="utf-8") as file:
            try:
                content = simplejson.load(file)
            except ValueError as error:  # of JSON, or of UTF-8
                raise ValueError(f"{path}: not a JSON file: {error}") from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"{path}: not a query table of mutualnet3d")
        version = content.get("version")
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise ValueError(f"{path}: version is {version!r}; it must be an integer from 1 to {SCHEMA_VERSION}")
        if version > SCHEMA_VERSION:
            raise ValueError(f"{path}: version {version}; this release reads up to {SCHEMA_VERSION}")
        for name, kind, what in (("context", dict, "an object"), ("rows", list, "a list")):
            if not isinstance(content.get(name), kind):
                raise ValueError(f"{path}: {name} is {content.get(name)!r}; it must be {what}")
        rows = [_read_row(entry, f"{path}: row {number}") for number, entry in enumerate(content["rows"], start=1)]
        try:
            return cls(tuple(rows), content["context"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save_csv(self, path: str) -> None:
        """Write the table as CSV, the context repeated in every row, atomically.

        `pareto_gflops` and `pareto_milliseconds` are 1 for rows on that front and 0 for others; what is not known is
        empty.
        """
        fronts = self.fronts()
        text = io.StringIO()
        writer = csv.DictWriter(text, [*_COLUMNS, *self.context], lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            shape = {"width": row.config.width, "size": row.config.size, "frames": row.config.frames}
            on_front = {f"pareto_{cost}": int(row.config in front) for cost, front in fronts.items()}
            writer.writerow({**asdict(row), **shape, **on_front, "config": str(row.config), **self.context})
        write_text(path, text.getvalue())

    def to_text(self) -> str:
        """The table for a terminal. Two columns of marks come first: `*` on the Pareto front of accuracy over GFLOPs,
        `+` on that over milliseconds. What int8 does has columns where it is known."""
        titles = _INT8_TITLES if self._has_int8() else []
        lines = [f"   {'sub-network':<16} {'GFLOPs':>9} {'params':>10} {'ms':>8} {'top-1 %':>8} {'top-5 %':>8}"]
        lines[0] = " ".join([*lines, *titles])
        for row, marks in self._marked():
            known = [f"{_said(value):>{len(title)}}" for title, value in zip(titles, _int8_of(row), strict=False)]
            always = (
                f"{marks} {row.config!s:<16} {row.gflops:>9.4f} {row.params:>10,} "
                f"{row.milliseconds:>8.2f} {row.top1:>8.2f} {row.top5:>8.2f}"
            )
            lines.append(" ".join([always, *known]))
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """The table for a README, as GitHub shows it, with the marks of `to_text` and `legend` below. Accuracy of
        single views has columns where it is known, and so has what int8 does."""
        header = ["", "sub-network", "GFLOPs", "params", "ms", "top-1 %", "top-5 %"]
        has_clips = any(row.clip_top1 is not None or row.clip_top5 is not None for row in self.rows)
        if has_clips:
            header += ["top-1 %, one view", "top-5 %, one view"]
        has_int8 = self._has_int8()
        if has_int8:
            header += _INT8_TITLES
        lines = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
        for row, marks in self._marked():
            cells = [marks.strip(), str(row.config), f"{row.gflops:.4f}", f"{row.params:,}", f"{row.milliseconds:.2f}"]
            shown: list[float | None] = [row.top1, row.top5, *([row.clip_top1, row.clip_top5] if has_clips else [])]
            shown += _int8_of(row) if has_int8 else []
            lines.append([*cells, *map(_said, shown)])
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"{table}\n\n{self.legend()}"

    def save_markdown(self, path: str) -> None:
        """Write `to_markdown` to a file, atomically."""
        write_text(path, self.to_markdown() + "\n")

    def legend(self) -> str:
        """Some lines: what the marks, GFLOPs, ms and int8 mean, and what the context says of how they came about."""
        has = self.context
        times = "ms: median time of one forward pass"
        if "batch_size" in has:
            times += f" of {has['batch_size']} {'clip' if has['batch_size'] == 1 else 'clips'}"
        if "device" in has:
            times += f" on {has['device']}"
        if "threads" in has:
            times += f", {has['threads']} {'thread' if has['threads'] == 1 else 'threads'}"
        over = []
        if "num_videos" in has:
            listed = f" of {has['num_listed']} listed" if "num_listed" in has else ""
            some = f" (some of {has['num_in_list']})" if has.get("num_in_list", 0) > has.get("num_listed", 0) else ""
            over.append(f"{has['num_videos']}{listed} videos{some}")
        over += [str(has["views"])] if "views" in has else []
        lines = [
            "`*`: on the Pareto front of top-1 over GFLOPs; `+`: on that over ms.",
            "GFLOPs: 1e9 multiply-adds per clip of frames x size x size (sub-network: width w, size s, frames t).",
            f"{times}.",
        ]
        lines += [f"Accuracy: over {', '.join(over)}."] if over else []
        return "\n".join(lines + ([self._legend_of_int8()] if self._has_int8() else []))

    def _legend_of_int8(self) -> str:
        has = self.context
        clips = f", with {has['int8_clips']} training clips" if "int8_clips" in has else ""
        device = f" on {has['int8_device']}" if "int8_device" in has else ""
        return (
            f"int8: quantised after training{clips}, and run by OpenVINO; accuracy over the same videos and views, ms: "
            f"median time of 1 clip{device}."
        )

    def _has_int8(self) -> bool:
        return any(value is not None for row in self.rows for value in _int8_of(row))

    def _marked(self) -> list[tuple[Row, str]]:
        """The rows, each with its two columns of marks."""
        fronts = self.fronts()
        marks = (("*", fronts["gflops"]), ("+", fronts["milliseconds"]))
        return [(row, "".join(mark if row.config in front else " " for mark, front in marks)) for row in self.rows]


def checked_bounds(gflops: float | None, milliseconds: float | None) -> dict[str, float]:
    """The bounds that are given, by the cost that they are of.

    Raises:
        ValueError: there is none, or one is no number above 0.
    """
    bounds = {"gflops": gflops, "milliseconds": milliseconds}
    given = {cost: bound for cost, bound in bounds.items() if bound is not None}
    if not given:
        raise ValueError("a query needs a budget: gflops=..., milliseconds=... or both")
    for cost, bound in given.items():
        if isinstance(bound, bool) or not isinstance(bound, Real) or not bound > 0:  # NaN is not above 0 either
            raise ValueError(f"{cost} is {bound!r}; a budget must be a number above 0")
    return given


_COLUMNS: Sequence[str] = (
    "config",
    "width",
    "size",
    "frames",
    "gflops",
    "params",
    "milliseconds",
    "top1",
    "top5",
    "clip_top1",
    "clip_top5",
    "int8_top1",
    "int8_top5",
    "int8_milliseconds",
    "pareto_gflops",
    "pareto_milliseconds",
)


_INT8_TITLES = ["int8 ms", "int8 top-1 %", "int8 top-5 %"]


def _int8_of(row: Row) -> list[float | None]:
    """What `_INT8_TITLES` are the titles of."""
    return [row.int8_milliseconds, row.int8_top1, row.int8_top5]


def _said(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _read_row(entry: Any, where: str) -> Row:
    """A row as JSON has it.

    Raises:
        ValueError: it is none; `where` and the field are named.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is {entry!r}; it must be an object")
    known = {each.name: each for each in fields(Row)}
    for name in entry:
        if name not in known:
            raise ValueError(f"{where}: unknown field {name!r}; a row has {', '.join(known)}")
    for name, each in known.items():
        if name not in entry and each.default is MISSING:
            raise ValueError(f"{where}: {name} is missing; a row has {', '.join(known)}")
    values: dict[str, Any] = {}
    for name, value in entry.items():
        if name == "config":
            if not isinstance(value, str):
                raise ValueError(f"{where}: config is {value!r}; it must be a key such as 'w0.63-s160-t10'")
            try:
                values[name] = SubnetConfig.parse(value)
            except ValueError as error:
                raise ValueError(f"{where}: config: {error}") from error
        elif value is None and known[name].default is None:
            values[name] = None
        elif name == "params":
            values[name] = _integer(value, f"{where}: {name}")
        else:
            values[name] = _number(value, f"{where}: {name}")
    return Row(**values)


def _integer(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError(f"{where} is {value!r}; it must be an integer of at least 0")
    return int(value)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{where} is {value!r}; it must be a number of at least 0")
    return float(value)
