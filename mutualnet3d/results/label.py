"""Label of a video or of a segment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """Class of a video.

    Args:
        name: name of the class.
        index: number of the class.
        score: probability, 0 to 1: with the ensemble "logits" of several views the one of their mean logits, for a
            segment the mean over its windows. With several labels a video, labels have independent probabilities.
    """

    name: str
    index: int
    score: float
