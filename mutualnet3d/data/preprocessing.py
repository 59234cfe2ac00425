"""Settings by which videos become a network's clips when it is tested or deployed.

They are apart from any config, so that they travel with an exported network.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mutualnet3d.data.clip_samplers import ClipSpan, FrameSampler, UniformCrops, UniformSegments, UniformSpans

# Ways of putting views together: as `DATA.ENSEMBLE_METHOD` has them, of classes of which a video has one; and of labels
# of which it may have several (`MODEL.LOSS_FUNC` bce).
ENSEMBLES = ("sum", "logits", "max", "sigmoid_sum", "sigmoid_logits", "sigmoid_max")

# Bounds of what a file from somebody else may ask for: far above every network's, and small enough for any memory.
_LARGEST: dict[str, float] = {
    "num_frames": 1 << 16,
    "sampling_rate": 1 << 16,
    "target_fps": 1e6,
    "scale": 1 << 14,
    "crop_size": 1 << 14,
    "timeout": sys.float_info.max,
}


@dataclass(frozen=True)
class Preprocessing:
    """Choice of the frames and of the part of the picture that the views of a video show, and scale of the pixels.

    Args:
        num_frames: frames of the full network's clip (SlowFast: of Fast's).
        sampling_rate: step between the clip's frames in a video of `target_fps` frames per second.
        target_fps: frame rate that the network is meant for.
        scale: short side of the picture, in pixels, to which `crop_size` refers where there is one crop.
        crop_size: side of the square that is cut out; of three crops each is as large as the short side.
        mean: mean of each channel, in units of the full brightness.
        std: standard deviation of each channel, in the same units.
        among_full: True if clips of fewer frames have some of the full clip's.
        segments: True if a clip has one frame of each of `num_frames` segments of the whole video instead
            (Something-Something).
        reverse_channels: True if the network takes blue, green, red.
        ensemble: combination of the views: "sum" (the mean of softmax), "logits" or "max"; of several labels a video
            "sigmoid_sum" (the mean of sigmoids), "sigmoid_logits" or "sigmoid_max".
        timeout: seconds that decoding a video may take; None: any time.

    Raises:
        ValueError: a number that is not above 0, or too large, or not three channels.
    """

    num_frames: int
    sampling_rate: int
    target_fps: float
    scale: int
    crop_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    among_full: bool = False
    segments: bool = False
    reverse_channels: bool = False
    ensemble: str = "sum"
    timeout: float | None = None

    def __post_init__(self) -> None:
        for name in ("num_frames", "sampling_rate", "scale", "crop_size", "target_fps", "timeout"):
            value = getattr(self, name)
            kind = int | float if name in ("target_fps", "timeout") else int
            if name == "timeout" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < math.inf:
                number = "an integer" if kind is int else "a number"
                raise ValueError(f"Preprocessing: {name} must be {number} above 0, got {value!r:.60}")
            if value > _LARGEST[name]:
                raise ValueError(f"Preprocessing: {name} must be at most {_LARGEST[name]:g}, got {value!r:.60}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or len(values) != 3 or not all(map(_is_number, values)):
                raise ValueError(f"Preprocessing: {name} has a value for each of 3 channels, got {values!r}")
            object.__setattr__(self, name, tuple(values))
        if 0 in self.std:
            raise ValueError(f"Preprocessing: std must not be 0, got {self.std}")
        for name in ("among_full", "segments", "reverse_channels"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"Preprocessing: {name} must be True or False, got {getattr(self, name)!r}")
        if self.ensemble not in ENSEMBLES:
            raise ValueError(f"Preprocessing: ensemble must be one of {', '.join(ENSEMBLES)}, got {self.ensemble!r}")

    def frame_sampler(self, num_spans: int) -> FrameSampler:
        """Return the choice of the frames of `num_spans` views over the video."""
        if self.segments:
            return UniformSegments(self.num_frames, num_spans)
        return UniformSpans(ClipSpan(self.num_frames, self.sampling_rate, self.target_fps, self.among_full), num_spans)

    def crop_sampler(self, num_crops: int) -> UniformCrops:
        """Return the places of `num_crops` (1 or 3) crops: PySlowFast's geometry, see DATA.TEST_CROP_SIZE."""
        return UniformCrops(self.crop_size if num_crops > 1 else self.scale, self.crop_size, num_crops)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any, where: str) -> Preprocessing:
        """Return the settings whose values `to_json` gave.

        Args:
            values: values of a JSON object, by their names.
            where: name of the file, for errors.

        Raises:
            ValueError: a value is missing, unknown or none that it can have.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"{where}: preprocessing is {values!r:.60}; it must be a mapping")
        names = [field.name for field in fields(cls)]
        odd = sorted(map(str, set(values) ^ set(names)))
        if odd:
            raise ValueError(f"{where}: preprocessing has {', '.join(names)}; missing or unknown: {', '.join(odd)}")
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
