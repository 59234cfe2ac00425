"""Place of a clip in its video: its frames, their times, and the part of the picture that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mutualnet3d.data.clip_samplers import FrameChoice
from mutualnet3d.data.clip_sampling import CropBox
from mutualnet3d.video.info import VideoInfo

# Top, left, bottom, right of a part of a picture, as fractions of its height and width.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ClipPlace:
    """Place of a clip in its video.

    Args:
        indices_of: number of frames of a shape -> numbers of its frames in the video, int64, not descending.
        seconds_of: number of frames of a shape -> times of its frames since the video's first frame, float64.
        box: part of the picture.
    """

    indices_of: Mapping[int, np.ndarray]
    seconds_of: Mapping[int, np.ndarray]
    box: Box

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "indices": {str(count): values.tolist() for count, values in self.indices_of.items()},
            "seconds": {str(count): values.tolist() for count, values in self.seconds_of.items()},
            "box": list(self.box),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ClipPlace:
        """Return the place that `to_json` gave `values` of.

        Args:
            values: values of a JSON object, by their names.

        Raises:
            KeyError, TypeError, ValueError: they are no such values.
        """
        top, left, bottom, right = map(float, values["box"])
        return cls(
            {int(count): np.array(numbers, np.int64) for count, numbers in values["indices"].items()},
            {int(count): np.array(times, np.float64) for count, times in values["seconds"].items()},
            (top, left, bottom, right),
        )


def place_of_clip(
    info: VideoInfo, choice: FrameChoice, counts: Iterable[int], crop: CropBox, picture: tuple[int, int], fps: float
) -> ClipPlace:
    """Return the place of a clip.

    Args:
        info: number, rate and times of the video's frames.
        choice: frames of the clip, for shapes of any number of frames.
        counts: numbers of frames of the shapes.
        crop: part of the picture, in its pixels.
        picture: height and width of the picture.
        fps: frames per second of a video that does not tell its rate.
    """
    indices_of = {count: choice.frame_indices(count) for count in counts}
    seconds_of = {
        count: indices / (info.fps or fps) if info.times is None else info.times[indices]
        for count, indices in indices_of.items()
    }
    height, width = picture
    bottom, right = crop.top + crop.height, crop.left + crop.width
    return ClipPlace(indices_of, seconds_of, (crop.top / height, crop.left / width, bottom / height, right / width))
