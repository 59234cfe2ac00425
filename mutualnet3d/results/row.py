"""Row of the query table, and its key: sub-network, back end, views."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from mutualnet3d.shapes import SubnetConfig

# The costs that a budget can bound. A row has each of one clip, as `gflops`, and of a video, as `gflops_of_video`.
COSTS = ("gflops", "milliseconds")


@dataclass(frozen=True, order=True)
class Views:
    """Views of a video, crops of clips, whose scores are put together.

    Args:
        spans: number of clips along the video, at least 1.
        crops: number of crops of each clip, at least 1.

    Raises:
        ValueError: a number is not an integer of at least 1.
    """

    spans: int = 1
    crops: int = 1

    def __post_init__(self) -> None:
        for name in ("spans", "crops"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ValueError(f"Views: {name} must be an integer of at least 1, got {value!r:.60}")
            object.__setattr__(self, name, int(value))

    def __str__(self) -> str:
        """Return the key, such as `10 x 3`."""
        return f"{self.spans} x {self.crops}"

    @property
    def count(self) -> int:
        """Number of forward passes of a video."""
        return self.spans * self.crops

    @classmethod
    def parse(cls, key: object) -> Views:
        """Return the views of a key; `Views.parse(str(views)) == views`.

        Args:
            key: text such as `10 x 3`.

        Raises:
            ValueError: the value is no such key.
        """
        match = re.fullmatch(r"(\d+) x (\d+)", key) if isinstance(key, str) else None
        if not match:
            raise ValueError(f"views is {key!r:.60}; it must be clips x crops, such as '10 x 3'")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Row:
    """Cost and accuracy of one sub-network on one back end, with one number of views of a video.

    Args:
        config: sub-network.
        gflops: cost of a clip of `frames` x `size` x `size`, 1e9 multiply-adds.
        params: number of parameters in use.
        milliseconds: measured time of a forward pass, not of a video; the table's context has the device and the number
            of clips.
        top1: top-1 with all views of a video, percent.
        top5: top-5 with all views of a video, percent.
        backend: name of the library and precision, such as "pytorch".
        views: views of a video in the accuracy.
        settled: False for milliseconds that are the median of times that varied too much, as on a busy machine; the row
            is on no front over milliseconds then.
        pass_milliseconds: measured time of a forward pass of all of several `views`; None: not measured, or there is
            one view.
        mean_ap: mean average precision of videos of several labels, percent, where top-1 and top-5 count the videos
            with a label that is the best, or among the five best; None: each video has one label.

    Raises:
        ValueError: a number is not finite or below 0, there is no back end, `settled` is no bool, or there are
            `pass_milliseconds` of one view; the message names the field.
    """

    config: SubnetConfig
    gflops: float
    params: int
    milliseconds: float
    top1: float
    top5: float
    backend: str = "pytorch"
    views: Views = Views()
    settled: bool = True
    pass_milliseconds: float | None = None
    mean_ap: float | None = None

    def __post_init__(self) -> None:
        for name in ("gflops", "milliseconds", "top1", "top5"):
            object.__setattr__(self, name, finite_number(name, getattr(self, name)))
        if self.mean_ap is not None:
            object.__setattr__(self, "mean_ap", finite_number("mean_ap", self.mean_ap))
        if isinstance(self.params, bool) or not isinstance(self.params, Integral) or self.params < 0:
            raise ValueError(f"params is {self.params!r:.60}; it must be an integer of at least 0")
        if self.params > sys.maxsize:
            raise ValueError(f"params is too large; it must be an integer of 0 to {sys.maxsize}")
        object.__setattr__(self, "params", int(self.params))
        if not isinstance(self.backend, str) or not self.backend:
            raise ValueError(f"backend is {self.backend!r:.60}; it must be a back end's name, such as 'pytorch'")
        if not isinstance(self.settled, bool):
            raise ValueError(f"settled is {self.settled!r:.60}; it must be true or false")
        if self.pass_milliseconds is not None:
            if self.views.count == 1:
                raise ValueError("pass_milliseconds is for rows of several views; of one view it is `milliseconds`")
            number = finite_number("pass_milliseconds", self.pass_milliseconds)
            object.__setattr__(self, "pass_milliseconds", number)

    @property
    def accuracy(self) -> float:
        """Accuracy for the comparison of rows, percent: the mean average precision if there is one, else top-1."""
        return self.top1 if self.mean_ap is None else self.mean_ap

    @property
    def measure(self) -> str:
        """Name of `accuracy` for people: mAP or top-1."""
        return "top-1" if self.mean_ap is None else "mAP"

    @property
    def gflops_of_video(self) -> float:
        """Multiply-adds of all views of a video, in 1e9."""
        return self.gflops * self.views.count

    @property
    def milliseconds_of_video(self) -> float:
        """Time of all views of a video.

        It is the measured time, or else that of a clip times the number of views; a joint forward pass often takes
        less.
        """
        return self.cost_of_video("milliseconds")

    def cost_of_video(self, cost: str, views: Views | None = None) -> float:
        """Return the cost of a video.

        Args:
            cost: "gflops" or "milliseconds".
            views: views of the video; None: those of the row.
        """
        views = self.views if views is None else views
        if cost == "milliseconds" and self.pass_milliseconds is not None and views == self.views:
            return self.pass_milliseconds
        return float(getattr(self, cost) * views.count)

    @property
    def key(self) -> tuple[SubnetConfig, str, Views]:
        """Sub-network, back end and views, different in all rows of a table."""
        return self.config, self.backend, self.views


def finite_number(name: str, value: Any) -> float:
    """Return `value` as a float.

    Args:
        name: name of the field, for the error.
        value: value of the field.

    Raises:
        ValueError: the value is no number, not finite, below 0, or more than a float can hold.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} is {value!r:.60}; it must be a number of at least 0")
    try:
        number = float(value)
    except OverflowError as error:  # an integer of hundreds of digits, which a message does not repeat
        raise ValueError(f"{name} is beyond {sys.float_info.max:.3g}; it must be a number of at least 0") from error
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{name} is {value!r:.60}; it must be a number of at least 0")
    return number
