"""The space of sub-networks, and the draw of a training step's sub-networks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mutualnet3d.shapes import SubnetConfig

__all__ = ["SubnetConfig", "SubnetSpace"]


@dataclass(frozen=True)
class SubnetSpace:
    """All sub-networks of one network: a range of widths, a list of sizes and a list of frame counts.

    Args:
        width_range: narrowest and widest fraction of channels, 0 < narrowest <= widest = 1. (1, 1) for a network that
            is not slimmed, (0.9, 1) for the paper's static booster.
        sizes: crop sizes in pixels; the largest is the full network's.
        frames: frame counts; the largest is the full network's.

    Raises:
        ValueError: an argument is not allowed; the message names it and the allowed values.

    Examples:
        >>> space = m3.SubnetSpace(width_range=(0.5, 1.0), sizes=(160, 128), frames=(8, 4))
        >>> print(space.full, space.smallest)
        w1.0-s160-t8 w0.5-s128-t4
        >>> len(space.at_step(seed=0, step=7))  # the full network, the narrowest one, two random ones
        4
    """

    width_range: tuple[float, float]
    sizes: tuple[int, ...]
    frames: tuple[int, ...]

    def __post_init__(self) -> None:
        for field in ("width_range", "sizes", "frames"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if len(self.width_range) != 2 or not 0.0 < self.width_range[0] <= self.width_range[1] == 1.0:
            raise ValueError(
                f"width_range must be (narrowest, 1.0) with a narrowest width in (0, 1], got {self.width_range}"
            )
        for field in ("sizes", "frames"):
            values = getattr(self, field)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{field} must name at least one value and none twice, got {values}")
        for size in self.sizes:
            for frames in self.frames:
                SubnetConfig(1.0, size, frames)  # refuses what no clip can be

    @property
    def full(self) -> SubnetConfig:
        """The whole network at the largest size and all frames."""
        return SubnetConfig(1.0, max(self.sizes), max(self.frames))

    @property
    def smallest(self) -> SubnetConfig:
        """The narrowest width at the smallest size and the fewest frames."""
        return SubnetConfig(self.width_range[0], min(self.sizes), min(self.frames))

    def __contains__(self, config: object) -> bool:
        return (
            isinstance(config, SubnetConfig)
            and self.width_range[0] <= config.width <= self.width_range[1]
            and config.size in self.sizes
            and config.frames in self.frames
        )

    def check(self, config: SubnetConfig) -> SubnetConfig:
        """Return `config` if the space contains it.

        Args:
            config: sub-network to check.

        Returns:
            The same config.

        Raises:
            ValueError: the space does not contain it; the message names width, size or frames, and the space's values.
        """
        low, high = self.width_range
        if not low <= config.width <= high:
            raise ValueError(f"{config}: width {config.width} is outside the space's {low} to {high}")
        if config.size not in self.sizes:
            raise ValueError(f"{config}: size {config.size} is none of the space's {_listed(self.sizes)}")
        if config.frames not in self.frames:
            raise ValueError(f"{config}: {config.frames} frames are none of the space's {_listed(self.frames)}")
        return config

    def sample(self, rng: np.random.Generator, width: float | None = None) -> SubnetConfig:
        """Draw a sub-network: width uniform over the range (or the given one), size and frames independently."""
        if width is None:
            width = float(rng.uniform(*self.width_range))
        return SubnetConfig(width, int(rng.choice(self.sizes)), int(rng.choice(self.frames)))

    def at_step(self, seed: int, step: int) -> tuple[SubnetConfig, ...]:
        """Return the networks of training step `step` (TPAMI 2022, algorithm 1).

        They are the full network, the narrowest width, and two random widths. The last three have a size and a frame
        count of their own each.

        A pure function of (seed, step): every rank, every loader worker and a resumed run draw the same. The generator
        is local; no global one is touched.
        """
        rng = np.random.default_rng((seed, step))
        narrowest = self.sample(rng, width=self.width_range[0])
        return (self.full, narrowest, self.sample(rng), self.sample(rng))

    def grid(self, widths: Iterable[float]) -> tuple[SubnetConfig, ...]:
        """Return every combination of `widths` with the space's sizes and frames, the most expensive first.

        Args:
            widths: fractions of channels, within the space's range.

        Returns:
            Sub-networks, widest first, then largest, then longest.

        Raises:
            ValueError: a width is outside the range.
        """
        configs = [
            self.check(SubnetConfig(width, size, frames))
            for width in sorted(set(widths), reverse=True)
            for size in sorted(self.sizes, reverse=True)
            for frames in sorted(self.frames, reverse=True)
        ]
        if not configs:
            raise ValueError("a grid needs at least one width")
        return tuple(configs)


def _listed(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)
