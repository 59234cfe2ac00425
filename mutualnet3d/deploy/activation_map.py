"""Prediction of a video with a map of the places that the network looked at.

Legend: T frames, H height, W width, S side of the square.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mutualnet3d.data.clip_place import Box
from mutualnet3d.deploy.heat_overlay import draw_heat
from mutualnet3d.deploy.prediction import Prediction
from mutualnet3d.log import printable
from mutualnet3d.results.label import Label


@dataclass(frozen=True, kw_only=True)
class ActivationMap(Prediction):
    """Prediction of a video, with a map of the places in its first view that raised the score of a class.

    Args:
        label: class of the map, with its score.
        layer: name of the layer whose feature map the map was made of.
        map_TSS: maps of `frames`, float32 (T, S, S): 1 at the place that raised the class's logit most in this clip, 0
            where nothing did. Maps of two clips have no common scale.
        indices: numbers of the frames in the video, int64 (T,).
        seconds: times of the frames since the video's first frame, float64 (T,).
        box: part of the picture in the frames.

    The other attributes are those of `Prediction`; the labels are those of all views.
    """

    label: Label
    layer: str
    map_TSS: np.ndarray = field(compare=False)
    indices: np.ndarray = field(compare=False)
    seconds: np.ndarray = field(compare=False)
    box: Box

    def __repr__(self) -> str:
        """Return a line with video, class, layer, size of the map, and sub-network."""
        text = (
            f"{self.source}: {self.label.name} {100 * self.label.score:.1f} %, {len(self.map_TSS)} maps of "
            f"{self.layer}; {self.config}"
        )
        return f"<ActivationMap of {printable(text)}>"

    def at(self, seconds: float) -> np.ndarray:
        """Return the map (S, S) of a time of the video.

        Between two frames it is the mean of their maps, weighted by distance; before the first frame and after the last
        one that frame's map.
        """
        place = float(np.interp(seconds, self.seconds, np.arange(len(self.seconds))))
        before = int(place)
        after = min(before + 1, len(self.map_TSS) - 1)
        mixed: np.ndarray = self.map_TSS[before] + np.float32(place - before) * (
            self.map_TSS[after] - self.map_TSS[before]
        )
        return mixed

    def draw_on(self, picture_HWC: np.ndarray, seconds: float) -> np.ndarray:
        """Return a copy of a whole picture of the video, uint8 (H, W, 3), with the map of its time.

        An outline shows the part that the network saw.
        """
        return draw_heat(picture_HWC, self.at(seconds), self.box)

    def drawn_frames(self) -> np.ndarray:
        """Return `frames`, uint8 (T, S, S, 3), with their maps."""
        return np.stack([draw_heat(*pair) for pair in zip(self.frames, self.map_TSS, strict=True)])

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without frames and map."""
        values = {
            "label": {"name": self.label.name, "index": self.label.index, "score": self.label.score},
            "layer": self.layer,
            "frames": self.indices.tolist(),
            "seconds": self.seconds.tolist(),
            "box": list(self.box),
        }
        return {**super().to_json(), "activation_map": values}
