r"""Measure a query table's milliseconds on this machine. No data is needed: blank clips are run.

    mutualnet3d latency --table output/demo/query_table.json --checkpoint output/demo/calibrated.pyth \
        --output query_table_here.json --threads 2

Accuracy and multiply-adds are taken from the table. The checkpoint is the one that the test run wrote beside it. The
new table is written as JSON and, beside it, as CSV.
"""

from __future__ import annotations

import argparse
import os
import statistics
from typing import TYPE_CHECKING

from mutualnet3d.cli.command import Command
from mutualnet3d.files.output import checker_of_stem
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from mutualnet3d.results.query_table import QueryTable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d latency`."""
    parser.add_argument("--table", required=True, metavar="FILE", help="query table of a test run, query_table.json")
    words = "trained network: calibrated.pyth of the same test run"
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help=words)
    parser.add_argument("--output", required=True, metavar="FILE", help="new table, .json; the .csv is put beside it")
    words = "device of PyTorch; default: cuda if there is a GPU, else cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), help=words)
    words = "number of CPU threads of PyTorch; default: as many as it takes by itself"
    parser.add_argument("--threads", type=int, metavar="N", help=words)
    words = "number of clips that the network takes at a time; default: 1"
    parser.add_argument("--batch", type=int, default=1, metavar="N", help=words)
    words = "number of timed passes of a sub-network, more if they vary; default: 10"
    parser.add_argument("--runs", type=int, default=10, metavar="N", help=words)


def run(args: argparse.Namespace) -> int:
    """Measure the table's sub-networks on this machine and write the new table; return the exit status."""
    stem, extension = os.path.splitext(args.output)
    if extension != ".json":
        raise ValueError(f"--output {args.output}: expected a name that ends in .json; the .csv is put beside it")

    import torch

    from mutualnet3d.results.query_table import QueryTable
    from mutualnet3d.runner.measuring import measure_latency

    before = QueryTable.load(args.table)
    after = measure_latency(
        before,
        args.checkpoint,
        device=torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu")),
        threads=args.threads,
        batch_size=args.batch,
        num_runs=args.runs,
    )
    after.save(args.output)
    after.save_csv(f"{stem}.csv")
    settings = f"ms: now {_settings(after)}; before {_settings(before)}."
    lines = [after.to_text(), after.legend(), settings, f"{_compared(before, after)}."]
    print(printable("\n".join(lines), keep="\n"))
    return 0


def _settings(table: QueryTable) -> str:
    """Return the device and the settings that a table's times are of."""
    facts = table.facts
    names = (("threads", "threads"), ("batch", "batch_size"), ("runs", "latency_runs"))
    settings = [f"{name} {facts[key]}" for name, key in names if key in facts]
    return ", ".join([str(facts.get("device", "on what, the table does not say")), *settings])


def _compared(before: QueryTable, after: QueryTable) -> str:
    """Return the ratio of the new times to the old ones, for people.

    Times compare only between passes of the same number of clips.
    """
    batches = [table.facts.get("batch_size", 1) for table in (before, after)]
    if batches[0] != batches[1]:
        return f"new milliseconds are of passes of {batches[1]} clips, old ones of {batches[0]}: they do not compare"
    old = {row.config: row.milliseconds for row in before.default_rows}
    ratios = [row.milliseconds / old[row.config] for row in after.default_rows if old[row.config] > 0]
    if not ratios:
        return "the old table has no times to compare with"
    return (
        f"new / old milliseconds: {statistics.median(ratios):.2f} in the median of {len(ratios)} sub-networks, "
        f"from {min(ratios):.2f} to {max(ratios):.2f}"
    )


main = Command(
    __doc__, add_arguments, run, outputs={"output": checker_of_stem((".json", ".csv"), replaces_extension=True)}
)
