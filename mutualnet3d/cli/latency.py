#!/usr/bin/env python3
"""A query table with the milliseconds of this machine. No data is needed: blank clips are run.

    python tools/measure_latency.py --table output/demo/query_table.json --checkpoint output/demo/calibrated.pyth \\
        --output query_table_here.json --threads 2

Accuracy and multiply-adds are taken from the table. The checkpoint is the one that the test run wrote beside it. The
new table is written as JSON and, beside it, as CSV.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys

import torch

from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.runner.measuring import measure_latency


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, metavar="FILE", help="query_table.json of a test run")
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="calibrated.pyth of the same run")
    parser.add_argument("--output", required=True, metavar="FILE", help="the new table, .json")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU where there is one")
    parser.add_argument("--threads", type=int, help="of PyTorch; default: as many as it takes by itself")
    parser.add_argument("--batch", type=int, default=1, help="clips of a forward pass; default: 1")
    parser.add_argument("--runs", type=int, default=10, help="timed passes of each sub-network; default: 10")
    args = parser.parse_args()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        beside, extension = os.path.splitext(args.output)
        if extension != ".json":
            raise ValueError(f"--output {args.output}: expected a name that ends in .json; the .csv is put beside it")
        old = QueryTable.load(args.table)
        new = measure_latency(
            old,
            args.checkpoint,
            device=device,
            threads=args.threads,
            batch_size=args.batch,
            num_runs=args.runs,
        )
        new.save(args.output)
        new.save_csv(f"{beside}.csv")
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(new.to_text())
    print(new.legend())
    print(f"ms: now {_measured_on(new)}; before {_measured_on(old)}.")
    print(f"{_compared(old, new)}.")
    return 0


def _measured_on(table: QueryTable) -> str:
    has = table.context
    named = (("threads", "threads"), ("batch", "batch_size"), ("runs", "latency_runs"))
    said = [f"{name} {has[key]}" for name, key in named if key in has]
    return ", ".join([str(has.get("device", "on what, the table does not say")), *said])


def _compared(old: QueryTable, new: QueryTable) -> str:
    """How far the new times are from the old."""
    before = {row.config: row.milliseconds for row in old.rows}
    ratios = [row.milliseconds / before[row.config] for row in new.rows if before[row.config] > 0]
    if not ratios:
        return "the old table has no times to compare with"
    return (
        f"new / old milliseconds: {statistics.median(ratios):.2f} in the median of {len(ratios)} sub-networks, "
        f"from {min(ratios):.2f} to {max(ratios):.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
