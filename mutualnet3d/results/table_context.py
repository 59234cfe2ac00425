"""Context of a query table: the test that its rows come from, and the measurements on each back end.

model, checkpoint     architecture, and hash of the checkpoint file that was tested
weights, step         name of the file of weights that the test started from, and the steps that they have seen
num_videos            videos that were tested; num_found, num_listed, num_in_list: on the disk (DATA.FIND_VIDEOS
                      none: all), taken of the list, in it
ensemble, statistics  how views were put together, and batch-norm statistics were found
backend, views        key of the test run's own rows, from which queries are answered unless others are selected
nearby_views          keys of views whose rows have the accuracy of views of the test that lie near to those that a test
                      of so many has; the rows of all others have that of the very same ones
single_views          accuracy in the rows of 1 x 1 views of tables of schema versions up to 4: of each video's "middle"
                      view, which a test of one view has, or the "mean" of all views
cascades              fit_videos, report_videos, seed: halves of the videos that cascades were fitted and reported on
backends              back end -> facts of its measurements:
    device, threads, batch_size, latency_runs, milliseconds_of    conditions of its milliseconds
    calibration_clips                                             training clips that it was quantised with
    accuracy_of                                                   back end that its accuracies were measured on instead
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mutualnet3d.results.row import Row, Views


def default_key(rows: Sequence[Row], context: Mapping[str, Any]) -> tuple[str, Views]:
    """Return the back end and the views of the test run: the context's, or else the rows' only ones.

    Args:
        rows: rows of the table.
        context: context of the table.

    Raises:
        ValueError: the context's value is invalid; it has none and the rows have several; or no row has the key.
    """
    backends, views = (sorted({getattr(row, name) for row in rows}) for name in ("backend", "views"))
    for name, values in (("backend", backends), ("views", views)):
        if name not in context and len(values) > 1:
            raise ValueError(
                f"context has no {name!r}, and rows have several: {', '.join(map(str, values))}; it must name the one "
                "of the test"
            )
    backend = context.get("backend", backends[0])
    if not isinstance(backend, str):
        raise ValueError(f"context: backend is {backend!r:.60}; it must be a back end's name, such as 'pytorch'")
    try:
        key = backend, Views.parse(context["views"]) if "views" in context else views[0]
    except ValueError as error:
        raise ValueError(f"context: {error}") from error
    if all((row.backend, row.views) != key for row in rows):
        raise ValueError(f"context names {key_text(*key)} as the test's, and no row is of these; {keys_text(rows)}")
    return key


def backend_facts(context: Mapping[str, Any], backend: str) -> Mapping[str, Any]:
    """Return the facts of a back end's measurements; {} without any."""
    facts: Mapping[str, Any] = context.get("backends", {}).get(backend, {})
    return facts


def with_facts(context: Mapping[str, Any], backend: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context with `facts` of a back end added, in place of those of the same names."""
    merged = {**backend_facts(context, backend), **facts}
    return {**context, "backends": {**context.get("backends", {}), backend: merged}} if merged else dict(context)


def check_facts(context: Mapping[str, Any]) -> None:
    """Refuse facts of another form.

    Args:
        context: context of the table.

    Raises:
        ValueError: `backends` is no object of objects, or `cascades` or a number of videos is invalid.
    """
    for name in ("num_videos", "num_found", "num_listed", "num_in_list"):
        value = context.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"context: {name} is {value!r:.60}; it must be an integer of at least 0")
    cascades = context.get("cascades", {})
    if not isinstance(cascades, Mapping):
        raise ValueError(f"context: cascades is {cascades!r:.60}; it must be an object")
    backends = context.get("backends", {})
    if not isinstance(backends, Mapping):
        raise ValueError(f"context: backends is {backends!r:.60}; it must be an object")
    for name, facts in backends.items():
        if not isinstance(facts, Mapping):
            raise ValueError(f"context: backends: {name} is {facts!r:.60}; it must be an object")


def key_text(backend: str, views: Views) -> str:
    """Return a back end and views for a message."""
    return f"back end {backend} with {views} views"


def keys_text(rows: Sequence[Row]) -> str:
    """Return the back ends and views of rows for a message."""
    keys = sorted({(row.backend, row.views) for row in rows})
    return f"the table has {', '.join(key_text(*key) for key in keys)}"
