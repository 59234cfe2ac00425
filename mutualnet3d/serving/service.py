"""Predictor of a server, prepared before the first request, with bounds on what a request may ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mutualnet3d.deploy.prediction import Prediction
from mutualnet3d.deploy.predictor import Predictor
from mutualnet3d.results.row import Row, Views
from mutualnet3d.shapes import SubnetConfig
from mutualnet3d.video.errors import VideoDecodeError
from mutualnet3d.video.open_file import path_of_open_file


class PredictionService:
    """Predictor for requests; several threads may call `predict`.

    Args:
        predictor: predictor with a reader that is limited in time and memory.
        most_clips: largest number of clips of a video, in all stages of a cascade.
        hidden: path of the model, which is left out of errors.

    Attributes:
        points: front of sub-networks and views over milliseconds of a video, measured here; () without a table.
    """

    def __init__(self, predictor: Predictor, most_clips: int, hidden: str = ""):
        self.predictor, self._most_clips, self._hidden = predictor, most_clips, hidden
        self.points: tuple[Row, ...] = ()
        self._measured = {Views()}

    def prepare(self) -> None:
        """Make the sub-networks of the table's fronts ready, and measure them, so that no request waits for that."""
        with suppress(VideoDecodeError):  # the processes that read videos are there after it
            self.predictor.read(os.devnull, config=self.predictor.configs[0])
        if not self._has_table():
            self.predictor.prepare(self.predictor.configs[:1])
            return
        self.predictor.prepare()
        self.points = self.predictor.points()
        for views in {row.views for row in self.predictor.table.rows if row.views.count <= self._most_clips}:
            self.predictor.points(views)
            self._measured.add(views)
        if self.predictor.table.cascades:
            self.predictor.choose_cascade(mean_milliseconds=1e9)

    def predict(self, fd: int, name: str, budget: Mapping[str, Any], top: int) -> Prediction:
        """Predict the labels of an open file.

        Args:
            fd: descriptor of the file.
            name: name of the video in the prediction and in errors.
            budget: arguments of `Predictor.plan`.
            top: number of labels.

        Raises:
            BudgetError: no sub-network fits, or this server does not take the budget.
            VideoDecodeError, ValueError: the video cannot be read within the limits.
        """
        try:
            self._check(budget)
        except ValueError as error:
            text = str(error)
            raise BudgetError(text.replace(self._hidden, "the model") if self._hidden else text) from error
        with path_of_open_file(fd, name) as path:
            return replace(self.predictor.predict(path, **budget, top=top), source=name)

    def _check(self, budget: Mapping[str, Any]) -> None:
        views: Views | None = budget.get("views")
        self._check_clips(views.count if views else 1)
        if views and budget.get("milliseconds") is not None and views not in self._measured:
            allowed = ", ".join(map(str, sorted(self._measured)))
            raise ValueError(f"milliseconds: a video of {views} views was not measured; measured: {allowed}")
        config = budget.get("config")
        if config is not None and SubnetConfig.parse(config) not in self.predictor.configs:
            names = ", ".join(map(str, self.predictor.configs))  # others would each be compiled, and kept
            raise ValueError(f"subnet is {config!r}; allowed: {names}")
        self._check_clips(sum(stage.views.count for stage in self.predictor.plan(**budget).stages))

    def _check_clips(self, count: int) -> None:
        if count > self._most_clips:
            raise ValueError(f"views: {count} clips of a video; this server takes up to {self._most_clips}")

    def _has_table(self) -> bool:
        try:
            return bool(self.predictor.table.rows)
        except ValueError:  # there is none, or none of this back end: requests for budgets say so
            return False


class BudgetError(ValueError):
    """Error about a budget that cannot be met: the fault of the request, not of the video."""
