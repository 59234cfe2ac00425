"""Cascades of a query table in JSON, read strictly, with errors that name the cascade and the field."""

from __future__ import annotations

from typing import Any

from mutualnet3d.results.cascade import Cascade, CostSpread, Stage
from mutualnet3d.results.json_rows import checked_fields, parsed_config
from mutualnet3d.results.row import Views, finite_number

_FIELDS = ("stages", "top1", "top5", "fit_top1", "gflops")
_SPREAD_FIELDS = ("mean", "p95", "worst")
_STAGE_FIELDS = ("config", "views", "threshold", "share")


def cascade_to_json(cascade: Cascade, gflops: CostSpread) -> dict[str, Any]:
    """Return a cascade as plain values.

    Args:
        cascade: cascade.
        gflops: cost of a video, 1e9 multiply-adds, for readers of the file; it follows from the rows.
    """
    stages = [
        {"config": str(stage.config), "views": str(stage.views), "threshold": stage.threshold, "share": stage.share}
        for stage in cascade.stages
    ]
    return {
        "stages": stages,
        "top1": cascade.top1,
        "top5": cascade.top5,
        "fit_top1": cascade.fit_top1,
        "gflops": {"mean": gflops.mean, "p95": gflops.p95, "worst": gflops.worst},
    }


def cascades_from_json(entries: Any, path: str) -> tuple[Cascade, ...]:
    """Return cascades from the results of `cascade_to_json`.

    Args:
        entries: list of results of `cascade_to_json`.
        path: path of the file, for the error.

    Raises:
        ValueError: the entries are no list of cascades; the message names file, cascade (the first is 1) and field.
    """
    if not isinstance(entries, list):
        raise ValueError(f"{path}: cascades is {entries!r:.60}; it must be a list")
    return tuple(_cascade(entry, f"{path}: cascade {number}") for number, entry in enumerate(entries, start=1))


def _cascade(entry: Any, where: str) -> Cascade:
    values = checked_fields(entry, where, _FIELDS, kind="a cascade")
    if not isinstance(values["stages"], list):
        raise ValueError(f"{where}: stages is {values['stages']!r:.60}; it must be a list")
    _check_gflops(values["gflops"], where)
    stages = [_stage(stage, f"{where}: stage {number}") for number, stage in enumerate(values["stages"], start=1)]
    try:
        return Cascade(tuple(stages), values["top1"], values["top5"], values["fit_top1"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _stage(entry: Any, where: str) -> Stage:
    values = checked_fields(entry, where, _STAGE_FIELDS, kind="a stage")
    try:
        views = Views.parse(values["views"])
        return Stage(parsed_config(values["config"]), views, values["threshold"], values["share"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_gflops(gflops: Any, where: str) -> None:
    """Refuse costs of another form; they are not stored, since they follow from the rows."""
    values = checked_fields(gflops, f"{where}: gflops", _SPREAD_FIELDS, kind="a spread of costs")
    for name, value in values.items():
        try:
            finite_number(name, value)
        except ValueError as error:
            raise ValueError(f"{where}: gflops: {error}") from error
