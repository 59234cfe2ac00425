"""Cascades of a query table as text: for a terminal, as Markdown, and the line of the legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mutualnet3d.results.cascade import Cascade, CostSpread

# A cascade with its GFLOPs and milliseconds of a video.
CascadeCosts = tuple[Cascade, CostSpread, CostSpread]

_TITLES = ("GFLOPs: mean", "95 %", "worst", "ms: mean", "95 %", "worst", "top-1 %", "top-5 %")


def cascades_to_text(cascades: Sequence[CascadeCosts], context: Mapping[str, Any]) -> str:
    """Return the cascades for a terminal, the cheapest first, and a line about them; "" without any."""
    if not cascades:
        return ""
    names = [_name(cascade) for cascade, *_ in cascades]
    width = max(map(len, ("cascade", *names)))
    lines = [f"   {'cascade':<{width}} " + " ".join(f"{title:>{max(8, len(title))}}" for title in _TITLES)]
    for name, cells in zip(names, map(_cells, cascades), strict=True):
        numbers = (f"{cell:>{max(8, len(title))}}" for cell, title in zip(cells, _TITLES, strict=True))
        lines.append(f"   {name:<{width}} {' '.join(numbers)}")
    return "\n".join([*lines, _legend(context)])


def cascades_to_markdown(cascades: Sequence[CascadeCosts], context: Mapping[str, Any]) -> str:
    """Return the cascades in GitHub's Markdown, and a line about them; "" without any."""
    if not cascades:
        return ""
    lines = [["cascade", *_TITLES], ["---"] + ["---:"] * len(_TITLES)]
    lines += [[_name(entry[0]), *_cells(entry)] for entry in cascades]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + f"\n\n{_legend(context)}"


def _name(cascade: Cascade) -> str:
    """Return the stages, with the fraction of videos that go on to each of them."""
    shares = "".join(f", {100 * stage.share:.0f} %" for stage in cascade.stages[1:])
    return f"{cascade}{shares}"


def _cells(entry: CascadeCosts) -> list[str]:
    cascade, gflops, milliseconds = entry
    return [
        *(f"{value:.4f}" for value in (gflops.mean, gflops.p95, gflops.worst)),
        *(f"{value:.2f}" for value in (milliseconds.mean, milliseconds.p95, milliseconds.worst)),
        f"{cascade.top1:.2f}",
        f"{cascade.top5:.2f}",
    ]


def _legend(context: Mapping[str, Any]) -> str:
    """Return the meaning of a cascade, and the numbers of videos that the context has."""
    text = "Cascade: a video goes on to the next row, in the fraction given, if the one before is not sure of it."
    facts = context.get("cascades", {})
    if {"fit_videos", "report_videos"} <= facts.keys():
        text += f"\nFitted on {facts['fit_videos']} of the videos; costs, per video, and accuracy are of the other "
        text += f"{facts['report_videos']}."
    return text
