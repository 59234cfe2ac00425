r"""Plot accuracy over cost of several query tables in one picture: PNG, SVG and an interactive HTML page.

    mutualnet3d plot --output output/tradeoff --tables mutual=output/demo/query_table.json \
        --separate static=output/demo_static/query_table.json
    mutualnet3d plot --output output/x3d_m --tables ours=output/x3d_m/query_table.json --paper x3d_m --log

--tables draws the Pareto front of each table as a line; --separate draws the rows of tables as points, for networks
trained one by one, each of which has a table of its own; --paper adds the paper's results on Kinetics-400, in grey.
--text prints the accuracies of all tables side by side, too. Costs are of a video, all its views together, so that rows
of different views compare. The page shows GFLOPs and milliseconds, if all tables were measured on one device.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mutualnet3d.cli.command import Command
from mutualnet3d.cli.names import COSTS, PAPER_NETWORKS
from mutualnet3d.files.output import checker_of_stem
from mutualnet3d.log import printable

if TYPE_CHECKING:
    from mutualnet3d.plots.curves import Curve
    from mutualnet3d.results.paper import PaperResults
    from mutualnet3d.results.query_table import QueryTable

    Tables = dict[str, dict[str, QueryTable]]  # name of the curve -> path -> table

SUFFIXES = ("png", "svg", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutualnet3d plot`."""
    parser.add_argument("--output", required=True, metavar="PATH", help="path of the new files without a suffix")
    words = "query tables whose Pareto fronts are drawn as lines, with their names in the picture"
    parser.add_argument("--tables", nargs="+", action="extend", default=[], metavar="NAME=PATH", help=words)
    parser.add_argument(
        "--separate",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=PATH[,PATH...]",
        help="query tables whose rows are drawn as points, those of one name together",
    )
    parser.add_argument("--cost", default="gflops", choices=COSTS, help="cost axis; default: gflops")
    parser.add_argument("--log", action="store_true", help="make the cost axis logarithmic")
    words = f"network whose results in the paper are drawn: {', '.join(PAPER_NETWORKS)}; default: none"
    parser.add_argument("--paper", default="", metavar="NAME", help=words)
    parser.add_argument("--text", action="store_true", help="print the accuracies of all tables side by side, too")
    words = "title of the picture; default: Accuracy over cost"
    parser.add_argument("--title", default="Accuracy over cost", metavar="TEXT", help=words)
    words = "formats of the files; default: all"
    parser.add_argument("--formats", nargs="+", default=list(SUFFIXES), choices=SUFFIXES, help=words)


def run(args: argparse.Namespace) -> int:
    """Draw the tables and write picture and page; return the exit status."""
    from mutualnet3d.plots.curves import title_of_milliseconds
    from mutualnet3d.plots.tradeoff_figure import save_tradeoff_plot
    from mutualnet3d.plots.tradeoff_page import save_tradeoff_page

    tables, separate = _load("--tables", args.tables), _load("--separate", args.separate)
    paper = _paper(args.paper) if args.paper else None
    if not (tables or separate or paper):
        raise ValueError("nothing to draw; give --tables, --separate or --paper")
    if args.text:
        _print_side_by_side(tables, separate)
    of_path = {path: table for curve in (*tables.values(), *separate.values()) for path, table in curve.items()}
    views = _views(of_path, paper)
    curves_by_cost = {args.cost: _curves(tables, separate, paper, args.cost)}
    times = title_of_milliseconds(of_path) if args.cost == "milliseconds" else "milliseconds per video"
    if "html" in args.formats and of_path:  # the paper alone has no milliseconds
        (other,) = (cost for cost in COSTS if cost != args.cost)
        try:
            times = title_of_milliseconds(of_path)
            curves_by_cost[other] = _curves(tables, separate, None, other)
        except ValueError as error:
            print(printable(f"the page has no {other}: {error}"))
    for suffix in dict.fromkeys(args.formats):
        path = f"{args.output}.{suffix}"
        if suffix == "html":
            save_tradeoff_page(curves_by_cost, path, args.title, args.log, views, times)
        else:
            save_tradeoff_plot(curves_by_cost[args.cost], path, args.title, args.cost, args.log, views, times)
        print(printable(f"wrote {path}"))
    return 0


def _load(option: str, words: Sequence[str]) -> Tables:
    """Return the tables that words NAME=PATH or NAME=PATH,PATH name; the words of one name are put together."""
    from mutualnet3d.results.query_table import QueryTable

    tables: Tables = {}
    for word in words:
        name, equals, paths = word.partition("=")
        if not (name and equals and paths):
            raise ValueError(f"{option}: {word!r} is not NAME=PATH")
        if option == "--tables" and name in tables:
            raise ValueError(f"{option}: the name {name!r} is given twice")
        for path in [paths] if option == "--tables" else paths.split(","):
            tables.setdefault(name, {})[path] = QueryTable.load(path)
    return tables


def _print_side_by_side(tables: Tables, separate: Tables) -> None:
    """Print the rows of all tables, with a column for each; of several tables of one name, the name and its path."""
    from mutualnet3d.results.comparison import comparison_text

    columns: dict[str, QueryTable] = {}
    for name, of_path in (*tables.items(), *separate.items()):
        for path, table in of_path.items():
            columns[name if len(of_path) == 1 and name not in columns else f"{name} ({path})"] = table
    if columns:
        print(printable(comparison_text(columns), keep="\n"))


def _paper(network: str) -> PaperResults:
    from mutualnet3d.results.paper import paper_results

    results = paper_results()
    if network not in results:
        raise ValueError(f"--paper: no results of {network!r}; the paper has them of {', '.join(results)}")
    return results[network]


def _curves(tables: Tables, separate: Tables, paper: PaperResults | None, cost: str) -> list[Curve]:
    from mutualnet3d.plots.cascade_curve import curves_of_cascades
    from mutualnet3d.plots.curves import curve_of_tables, curves_of_paper

    curves = [curve_of_tables(name, list(curve.values()), cost) for name, curve in tables.items()]
    for name, curve in tables.items():
        for path, table in curve.items():
            of_table = name if len(curve) == 1 else f"{name}, {path}"
            curves += curves_of_cascades(f"{of_table}: cascades, mean cost", table, cost)
    curves += [curve_of_tables(name, list(curve.values()), cost, "points") for name, curve in separate.items()]
    return curves + (curves_of_paper(paper, cost) if paper else [])


def _views(tables: dict[str, QueryTable], paper: PaperResults | None) -> str:
    """Return the views of all rows that are drawn; "" if they differ."""
    views = {f"{row.views} views" for table in tables.values() for row in table.query_rows}
    if paper and not tables:
        return paper.views
    return views.pop() if len(views) == 1 and not paper else ""


main = Command(__doc__, add_arguments, run, outputs={"output": checker_of_stem([f".{name}" for name in SUFFIXES])})
