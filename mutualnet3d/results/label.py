"""Label of a video or of a stretch of one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """Class of a video.

    Args:
        name: name of the class.
        index: number of the class.
        score: probability, 0 to 1; with the ensemble "logits" of several views that of their mean logits; of a stretch
            of a video the mean over its windows. Where videos have several labels each has a probability of its own.
    """

    name: str
    index: int
    score: float
