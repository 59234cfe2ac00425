"""How videos become a network's clips when it is tested or deployed: the values, apart from any config, so that they
travel with an exported network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mutualnet3d.data.clip_samplers import ClipSpan, FrameSampler, UniformCrops, UniformSegments, UniformSpans


@dataclass(frozen=True)
class Preprocessing:
    """Which frames and which part of the picture the views of a video show, and how pixels become a network's input.

    Args:
        num_frames: of the full network's clip (SlowFast: of Fast's).
        sampling_rate: the clip has every so many-th frame of a video of `target_fps` frames per second.
        among_full: clips of fewer frames have some of the full clip's.
        segments: a clip has one frame of each of `num_frames` segments of the whole video instead
            (Something-Something).
        scale: the picture's short side in pixels that `crop_size` is said in, where there is one crop.
        crop_size: side of the square that is cut out; of three crops each is as large as the short side.
        mean, std: of each channel, in units of the full brightness.
        reverse_channels: the network takes blue, green, red.
        ensemble: how views are put together: "sum" (the mean of softmax), "logits" or "max".
        timeout: seconds that decoding a video may take; None: any time.

    Raises:
        ValueError: a number that is not above 0, or not three channels.
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
        for name in ("num_frames", "sampling_rate", "target_fps", "scale", "crop_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"Preprocessing: {name} must be a number above 0, got {value!r}")
        for name in ("mean", "std"):
            values = tuple(getattr(self, name))
            if len(values) != 3:
                raise ValueError(f"Preprocessing: {name} has a value for each of 3 channels, got {values}")
            object.__setattr__(self, name, values)

    def frame_sampler(self, num_spans: int) -> FrameSampler:
        """Where the frames of each of `num_spans` views over the video are."""
        if self.segments:
            return UniformSegments(self.num_frames, num_spans)
        return UniformSpans(ClipSpan(self.num_frames, self.sampling_rate, self.target_fps, self.among_full), num_spans)

    def crop_sampler(self, num_crops: int) -> UniformCrops:
        """Where each of `num_crops` (1 or 3) crops is: PySlowFast's geometry, see DATA.TEST_CROP_SIZE."""
        return UniformCrops(self.crop_size if num_crops > 1 else self.scale, self.crop_size, num_crops)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> Preprocessing:
        """What `to_json` gave.

        Args:
            where: the file, for errors.

        Raises:
            ValueError: a value is missing, unknown or none that it can have.
        """
        known = [each.name for each in fields(cls)]
        odd = sorted(set(values) ^ set(known))
        if odd:
            raise ValueError(f"{where}: preprocessing has {', '.join(known)}; missing or unknown: {', '.join(odd)}")
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from error
