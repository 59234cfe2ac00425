"""Query of a prediction: the video, the budget, the number of labels."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mutualnet3d.results.row import Views

_Cost = Annotated[float | None, Field(gt=0, allow_inf_nan=False)]


class PredictionQuery(BaseModel):
    """Parameters in the address of a prediction; an unknown one is an error, or a mistyped budget would be lost."""

    model_config = ConfigDict(extra="forbid")

    path: str | None = Field(None, max_length=4096, description="name of a video below --root, in place of a body")
    gflops: _Cost = Field(None, description="1e9 multiply-adds that the video may take, all views together")
    milliseconds: _Cost = Field(None, description="time that the network may take for the video on this machine")
    mean_gflops: _Cost = Field(None, description="1e9 multiply-adds of a video in the mean over many: a cascade runs")
    mean_milliseconds: _Cost = Field(None, description="time of a video in the mean over many: a cascade runs")
    subnet: str | None = Field(None, max_length=64, description="sub-network in place of a budget: w0.63-s160-t10")
    views: str | None = Field(
        None, pattern=r"^[0-9]{1,4}(x[0-9]{1,2})?$", description="clips of the video, or clips x crops of each: 10x3"
    )
    top: int = Field(5, ge=1, le=10_000, description="number of labels")

    def budget(self) -> dict[str, Any]:
        """Return the arguments of `Predictor.plan`.

        Raises:
            ValueError: the views are not allowed.
        """
        views = None
        if self.views is not None:
            spans, _, crops = self.views.partition("x")
            views = Views(int(spans), int(crops or 1))
        return {
            "gflops": self.gflops,
            "milliseconds": self.milliseconds,
            "mean_gflops": self.mean_gflops,
            "mean_milliseconds": self.mean_milliseconds,
            "config": self.subnet,
            "views": views,
        }
