"""The picture of a query table: accuracy over cost."""

from __future__ import annotations

from mutualnet3d.atomic import write_atomically
from mutualnet3d.engine.query_table import QueryTable


def save_tradeoff_plot(table: QueryTable, path: str, title: str) -> None:
    """Draw top-1 over GFLOPs, every sub-network a point, the Pareto front a line, and write it as PNG, atomically.

    Raises:
        ModuleNotFoundError: matplotlib is not installed; it says what to install.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the picture needs matplotlib: pip install 'mutualnet3d[plot]'") from error

    front = table.pareto()
    others = [row for row in table.rows if row not in front]
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [row.gflops for row in front],
        [row.top1 for row in front],
        "o-",
        color="tab:blue",
        label="Pareto front",
        zorder=3,
    )
    if others:
        axes.plot(
            [row.gflops for row in others],
            [row.top1 for row in others],
            "o",
            color="0.65",
            ms=4,
            label="other sub-networks",
        )
    # The most expensive one is named too: it is what the others are measured against.
    for place, row in enumerate(dict.fromkeys([*front, table.rows[0]])):
        axes.annotate(
            str(row.config),
            (row.gflops, row.top1),
            xytext=(5, -11 if place % 2 else 6),
            textcoords="offset points",
            fontsize=7,
        )
    axes.set_xlabel("GFLOPs (multiply-adds) per clip of frames x size x size")
    axes.set_ylabel(f"top-1 accuracy, % ({table.context.get('views', '?')} per video)")
    axes.set_title(title)
    axes.margins(x=0.12, y=0.08)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))
