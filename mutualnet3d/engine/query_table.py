"""The query table: what every sub-network costs and how good it is. A budget goes in, the best row comes out."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import simplejson
from iopath.common.file_io import g_pathmgr

from mutualnet3d.atomic import write_text
from mutualnet3d.shapes import SubnetConfig

SCHEMA = "mutualnet3d.query_table"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Row:
    """One sub-network.

    Args:
        config: width, size, frames.
        gflops: 1e9 multiply-adds of one clip of `frames` x `size` x `size`.
        params: parameters in use.
        milliseconds: measured time of one forward pass; on what, the table's context says.
        top1, top5: accuracy in percent.
    """

    config: SubnetConfig
    gflops: float
    params: int
    milliseconds: float
    top1: float
    top5: float


@dataclass(frozen=True)
class QueryTable:
    """Rows, the most expensive first, and what they have in common.

    Args:
        rows: at least one.
        context: model, num_videos, views, device, threads, batch_size, checkpoint (hash)...
    """

    rows: tuple[Row, ...]
    context: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("a query table needs at least one row")
        object.__setattr__(self, "rows", tuple(sorted(self.rows, key=lambda row: (-row.gflops, str(row.config)))))

    def best(self, gflops: float | None = None, milliseconds: float | None = None) -> Row:
        """The most accurate row within all given bounds; of equals, the cheaper one.

        Raises:
            ValueError: no bound is given, or nothing is within it; it names the cheapest row.
        """
        bounds = {"gflops": gflops, "milliseconds": milliseconds}
        bounds = {cost: bound for cost, bound in bounds.items() if bound is not None}
        if not bounds:
            raise ValueError("a query needs a budget: gflops=..., milliseconds=... or both")
        within = [row for row in self.rows if all(getattr(row, cost) <= bound for cost, bound in bounds.items())]
        if not within:
            asked = " and ".join(f"{cost}={bound:g}" for cost, bound in bounds.items())
            cheapest = [min(self.rows, key=lambda row: getattr(row, cost)) for cost in bounds]
            costs = "; ".join(
                f"the cheapest in {cost} is {row.config} with {getattr(row, cost):.4g}"
                for cost, row in zip(bounds, cheapest, strict=True)
            )
            raise ValueError(f"no sub-network fits {asked}; {costs}")
        return max(within, key=lambda row: (row.top1, *(-getattr(row, cost) for cost in bounds)))

    def pareto(self, cost: str = "gflops") -> tuple[Row, ...]:
        """The rows that no other row beats: none is at least as accurate at less `cost`. Cheapest first.

        Args:
            cost: "gflops" or "milliseconds".
        """
        if cost not in ("gflops", "milliseconds"):
            raise ValueError(f"cost must be 'gflops' or 'milliseconds', got {cost!r}")
        front: list[Row] = []
        for row in sorted(self.rows, key=lambda row: (getattr(row, cost), -row.top1)):
            if not front or row.top1 > front[-1].top1:
                front.append(row)
        return tuple(front)

    def save(self, path: str) -> None:
        """Write the table as JSON, atomically."""
        rows = [{**asdict(row), "config": str(row.config)} for row in self.rows]
        content = {"schema": SCHEMA, "version": SCHEMA_VERSION, "context": dict(self.context), "rows": rows}
        write_text(path, simplejson.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: str) -> QueryTable:
        """A table that `save` wrote.

        Raises:
            FileNotFoundError: there is none.
            ValueError: not a query table, or one of a newer version.
        """
        if not g_pathmgr.isfile(path):
            raise FileNotFoundError(f"no query table at {path}")
        with g_pathmgr.open(path, "r", encoding="utf-8") as file:
            try:
                content = simplejson.load(file)
            except simplejson.JSONDecodeError as error:
                raise ValueError(f"{path}: not a JSON file: {error}") from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"{path}: not a query table of mutualnet3d")
        if content["version"] > SCHEMA_VERSION:
            raise ValueError(f"{path}: version {content['version']}; this release reads up to {SCHEMA_VERSION}")
        rows = [Row(**{**row, "config": SubnetConfig.parse(row["config"])}) for row in content["rows"]]
        return cls(tuple(rows), content["context"])

    def save_csv(self, path: str) -> None:
        """Write the table as CSV, the context repeated in every row, atomically."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [*_COLUMNS, *self.context], lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            shape = {"width": row.config.width, "size": row.config.size, "frames": row.config.frames}
            writer.writerow({**asdict(row), **shape, "config": str(row.config), **self.context})
        write_text(path, text.getvalue())

    def to_text(self) -> str:
        """The table for a terminal; rows on the Pareto front (accuracy over GFLOPs) are marked `*`."""
        front = set(self.pareto())
        lines = [f"  {'sub-network':<16} {'GFLOPs':>9} {'params':>10} {'ms':>8} {'top-1 %':>8} {'top-5 %':>8}"]
        lines += [
            f"{'*' if row in front else ' '} {row.config!s:<16} {row.gflops:>9.4f} {row.params:>10,} "
            f"{row.milliseconds:>8.2f} {row.top1:>8.2f} {row.top5:>8.2f}"
            for row in self.rows
        ]
        return "\n".join(lines)


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
)
