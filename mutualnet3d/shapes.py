"""Values that cross borders between the parts of the package.

SubnetConfig is the sub-network that runs, ClipShape the shape of a clip that it takes, ClipBatch a loader's batch, and
Shard the part of a job that a process does.

A leaf: it imports nothing of ours, so that `data`, `models`, `mutual` and `engine` can speak of the same things without
knowing each other.

Legend: B clips, T frames, C channels, H height, W width.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real

import torch


def _positive_int(owner: str, field: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{owner}: {field} must be an integer of at least 1, got {value!r:.60}")
    return int(value)


# Largest clip, uint8: those of the largest published networks have 18 MB.
MAX_CLIP_BYTES = 1 << 30


def _check_clip(frames: int, size: int) -> None:
    if 3 * frames * size**2 > MAX_CLIP_BYTES:
        clip = f"{frames} x {size} x {size}"
        raise ValueError(f"a clip of {clip:.60} has more than {MAX_CLIP_BYTES >> 20} MB")


@dataclass(frozen=True, order=True)
class ClipShape:
    """A clip as a loader delivers it: `frames` pictures, each `size` x `size` pixels.

    Raises:
        ValueError: either is not an integer of at least 1, or the clip has more than `MAX_CLIP_BYTES`.
    """

    frames: int
    size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", _positive_int("ClipShape", "frames", self.frames))
        object.__setattr__(self, "size", _positive_int("ClipShape", "size", self.size))
        _check_clip(self.frames, self.size)

    def __str__(self) -> str:
        return f"{self.frames} x {self.size} x {self.size}"


@dataclass(frozen=True, order=True)
class SubnetConfig:
    """Sub-network: the width of its layers, the size and the length of its clips.

    Args:
        width: fraction of every layer's channels, in (0, 1].
        size: side of the square crop, pixels.
        frames: frames of the clip; fewer frames cover the same time span.

    Raises:
        ValueError: a value that no network can have; it names the field, the value and what is allowed.

    Examples:
        >>> config = m3.SubnetConfig(width=0.63, size=160, frames=10)
        >>> print(config)
        w0.63-s160-t10
        >>> m3.SubnetConfig.parse("w0.63-s160-t10") == config
        True
    """

    width: float
    size: int
    frames: int

    def __post_init__(self) -> None:
        if isinstance(self.width, bool) or not isinstance(self.width, Real) or not 0.0 < self.width <= 1.0:
            raise ValueError(f"SubnetConfig: width must be in (0, 1], got {self.width!r}")
        object.__setattr__(self, "width", float(self.width))
        object.__setattr__(self, "size", _positive_int("SubnetConfig", "size", self.size))
        object.__setattr__(self, "frames", _positive_int("SubnetConfig", "frames", self.frames))
        _check_clip(self.frames, self.size)

    def __str__(self) -> str:
        """Return the key, `w0.63-s160-t10`. Widths have all their digits, so that two configs never share a key."""
        return f"w{self.width!r}-s{self.size}-t{self.frames}"

    @classmethod
    def parse(cls, key: str) -> SubnetConfig:
        """Return the config that a key names; `SubnetConfig.parse(str(config)) == config`.

        Args:
            key: key such as `w0.63-s160-t10`.

        Raises:
            ValueError: it is no such key.
        """
        form = r"w(\d+(?:\.\d+)?(?:e-?\d+)?)-s(\d+)-t(\d+)"
        match = re.fullmatch(form, key) if isinstance(key, str) else None
        if not match:
            raise ValueError(
                f"not a sub-network's key: {key!r:.60}; expected width, size and frames as in 'w0.63-s160-t10'"
            )
        return cls(width=float(match[1]), size=int(match[2]), frames=int(match[3]))

    @property
    def clip_shape(self) -> ClipShape:
        """Shape of the clip that the sub-network takes."""
        return ClipShape(frames=self.frames, size=self.size)


@dataclass(frozen=True)
class Shard:
    """Part of a job's work that a process does: the `rank`-th (from 0) of `world_size` equal parts.

    Raises:
        ValueError: there is no such part.
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"Shard: rank must be in 0 to {self.world_size - 1}, got {self.rank}")


@dataclass
class ClipBatch:
    """Clips of the same videos in several shapes, with their labels.

    Args:
        clips: uint8 tensor (B, T, C, H, W) of each shape; row b shows the same span and crop of one video in all.
        label_B: class of each clip, int64.
        video_B: position of each clip's video in its list, int64.
        next_position: position of the next batch in the stream of training clips; 0 in a test.
    """

    clips: dict[ClipShape, torch.Tensor]
    label_B: torch.Tensor
    video_B: torch.Tensor
    next_position: int = 0

    def to(self, device: torch.device) -> ClipBatch:
        """Return the batch on `device`; copies from pinned memory do not wait."""
        return ClipBatch(
            {shape: clip.to(device, non_blocking=True) for shape, clip in self.clips.items()},
            self.label_B.to(device, non_blocking=True),
            self.video_B,
            self.next_position,
        )

    def pin_memory(self) -> ClipBatch:
        """Return the batch in pinned memory; torch's DataLoader calls this."""
        return ClipBatch(
            {shape: clip.pin_memory() for shape, clip in self.clips.items()},
            self.label_B.pin_memory(),
            self.video_B,
            self.next_position,
        )

    def parts(self, number: int) -> list[ClipBatch]:
        """Return the batch in parts of equal size.

        Args:
            number: number of parts, a divisor of the batch size.

        Raises:
            ValueError: it does not divide.
        """
        if len(self) % number:
            raise ValueError(f"a batch of {len(self)} clips has no {number} equal parts")
        size = len(self) // number
        rows = [slice(start, start + size) for start in range(0, len(self), size)]
        return [
            ClipBatch(
                {shape: clip[row] for shape, clip in self.clips.items()},
                self.label_B[row],
                self.video_B[row],
                self.next_position,
            )
            for row in rows
        ]

    def __len__(self) -> int:
        return len(self.label_B)


def union_of_shapes(shapes: Iterable[Iterable[ClipShape]]) -> tuple[ClipShape, ...]:
    """Return all shapes that occur, once, the largest first."""
    return tuple(sorted({shape for group in shapes for shape in group}, reverse=True))
