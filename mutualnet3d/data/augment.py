"""Augmentation of training clips: colours, RandAugment, erased boxes, the same in every shape and frame of a clip.

The choices and their strengths are PySlowFast's (its `AUG` keys), the operations torchvision's.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mutualnet3d.shapes import ClipShape

if TYPE_CHECKING:
    from torchvision.transforms import v2

_MAX_MAGNITUDE = 10
_MAX_BIN = 30  # torchvision's RandAugment has 31 bins, 0 to 30
_ERASED_AREA = (0.02, 1 / 3)  # of the picture
_ERASED_ASPECT = (0.3, 1 / 0.3)  # height over width
# Top, left, bottom, right, as fractions of the picture's height and width.
_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class RandAugmentPolicy:
    """Frequency and strength of RandAugment's changes of a clip.

    Args:
        magnitude: strength, 0 to 10.
        num_ops: number of operations that are considered; each is then applied with probability 0.5, as in timm and
            PySlowFast.
        magnitude_std: standard deviation of the magnitude, drawn anew for every operation.
    """

    magnitude: float = 10.0
    num_ops: int = 2
    magnitude_std: float = 0.0

    @classmethod
    def parse(cls, text: str) -> RandAugmentPolicy:
        """Parse a string of timm's, such as `rand-m7-n4-mstd0.5-inc1`.

        Parts that are left out have timm's default: m10, n2, mstd0. But `inc1`, operations that grow stronger with the
        magnitude, is always meant: torchvision has no others.

        Args:
            text: string of timm's.

        Raises:
            ValueError: no such string; the message names the wrong part and the allowed ones.
        """
        name, *options = text.split("-")
        if name != "rand":
            raise ValueError(f"rand_augment must be '' or a string such as 'rand-m7-n4-mstd0.5-inc1', got {text!r}")
        values: dict[str, float] = {}
        for option in options:
            match = re.fullmatch(r"(mstd|m|n|inc)(\d+(?:\.\d+)?)", option)
            key, value = (match[1], float(match[2])) if match else ("", 0.0)
            if key == "inc" and value == 0:
                raise ValueError(
                    f"rand_augment {text!r}: inc0 means operations that weaken as the magnitude grows, "
                    "torchvision has only those that strengthen: inc1"
                )
            allowed = {"m": value <= _MAX_MAGNITUDE, "n": value >= 1 and value.is_integer(), "mstd": True}
            if not allowed.get(key, key == "inc" and value == 1):
                raise ValueError(
                    f"rand_augment {text!r}: {option!r} is none of m<0 to {_MAX_MAGNITUDE}>, n<1, 2, ...>, "
                    "mstd<0 or more>, inc1"
                )
            if key in values:
                raise ValueError(f"rand_augment {text!r}: {key} must be given once, not twice")
            values[key] = value
        return cls(values.get("m", 10.0), int(values.get("n", 2)), values.get("mstd", 0.0))

    def draw_magnitudes(self, rng: np.random.Generator) -> list[float]:
        """Draw a magnitude, 0 to 10, for each operation that is applied this time."""
        num_applied = rng.binomial(self.num_ops, 0.5)
        return np.clip(rng.normal(self.magnitude, self.magnitude_std, num_applied), 0, _MAX_MAGNITUDE).tolist()


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of a clip's pixels, the same for all its shapes and frames; none unless asked for.

    In this order: grey, RandAugment or else colour jitter, erased boxes. Cropping and mirroring come before.

    Args:
        color_jitter: brightness, contrast and saturation are each multiplied by a factor from 1 - this to 1 + this
            (AUG.COLOR_JITTER). Not used where `rand_augment` is, as in PySlowFast.
        rand_augment: see `RandAugmentPolicy.parse`; "" for none (AUG.AA_TYPE).
        grayscale_probability: probability that a clip is made grey (DATA.COLOR_RND_GRAYSCALE).
        erase_probability: probability that boxes are erased (AUG.RE_PROB).
        erase_mode: filling of a box (AUG.RE_MODE): "const" the mean colour, which is 0 after normalising; "rand" one
            random colour; "pixel" noise, a new colour for every pixel and frame. Colours are normal with `mean` and
            `std`, cut off at black and full brightness.
        erase_count: largest number of boxes that are erased (AUG.RE_COUNT); the number is uniform from 1. Their areas
            add up to 2 % to 33 % of the picture.
        interpolation: interpolation of rotated, sheared and moved pictures: "bilinear" or "bicubic"
            (AUG.INTERPOLATION).
        mean: mean of the pixels, red, green and blue, in units of the full brightness; also fills the corners of
            rotated pictures.
        std: standard deviation of the pixels, likewise.

    Raises:
        ValueError: a value that is not allowed; the message names the field, the value and the allowed ones.
    """

    color_jitter: float = 0.0
    rand_augment: str = ""
    grayscale_probability: float = 0.0
    erase_probability: float = 0.0
    erase_mode: str = "pixel"
    erase_count: int = 1
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.45, 0.45, 0.45)
    std: tuple[float, ...] = (0.225, 0.225, 0.225)

    def __post_init__(self) -> None:
        for field in ("mean", "std"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        for field, allowed, holds in (
            ("color_jitter", "0 or more and finite", 0.0 <= self.color_jitter < math.inf),
            ("grayscale_probability", "in [0, 1]", 0.0 <= self.grayscale_probability <= 1.0),
            ("erase_probability", "in [0, 1]", 0.0 <= self.erase_probability <= 1.0),
            ("erase_mode", "const, rand or pixel", self.erase_mode in ("const", "rand", "pixel")),
            ("erase_count", "an integer of at least 1", isinstance(self.erase_count, int) and self.erase_count >= 1),
            ("interpolation", "bilinear or bicubic", self.interpolation in ("bilinear", "bicubic")),
            ("mean", "three values in [0, 1]", len(self.mean) == 3 and all(0.0 <= value <= 1.0 for value in self.mean)),
            ("std", "three values of 0 or more", len(self.std) == 3 and all(value >= 0.0 for value in self.std)),
        ):
            if not holds:
                raise ValueError(f"Augment: {field} must be {allowed}, got {getattr(self, field)!r}")
        if self.rand_augment:
            RandAugmentPolicy.parse(self.rand_augment)  # raises for a string that it cannot read

    @property
    def is_identity(self) -> bool:
        """True if no clip is ever changed."""
        return not (self.rand_augment or self.color_jitter or self.grayscale_probability or self.erase_probability)

    def __call__(self, clips: dict[ClipShape, torch.Tensor], rng: np.random.Generator) -> dict[ClipShape, torch.Tensor]:
        """Return the clips, uint8 (T, 3, H, W) each, changed; an unchanged clip is the clip itself, not a copy.

        A clip's result depends on `rng` and its own pixels, not on the other shapes. The global generators are left as
        they were.
        """
        if self.is_identity:
            return dict(clips)
        transforms, boxes = self._draw_transforms(rng), self._draw_boxes(rng)
        seed = int(rng.integers(2**63))
        return {
            shape: self._erase(_transform_frames(clip_TCHW, transforms, seed), boxes, seed)
            for shape, clip_TCHW in clips.items()
        }

    def _draw_transforms(self, rng: np.random.Generator) -> list[v2.Transform]:
        from torchvision.transforms import v2  # here: it takes seconds to import, and a clip without changes needs none

        transforms: list[v2.Transform] = []
        if rng.random() < self.grayscale_probability:
            transforms.append(v2.Grayscale(num_output_channels=3))
        if self.rand_augment:
            for magnitude in RandAugmentPolicy.parse(self.rand_augment).draw_magnitudes(rng):
                transforms.append(
                    v2.RandAugment(
                        num_ops=1,
                        magnitude=round(magnitude / _MAX_MAGNITUDE * _MAX_BIN),
                        num_magnitude_bins=_MAX_BIN + 1,
                        interpolation=v2.InterpolationMode(self.interpolation),
                        fill=[round(255 * value) for value in self.mean],
                    )
                )
        elif self.color_jitter:
            transforms.append(v2.ColorJitter(self.color_jitter, self.color_jitter, self.color_jitter))
        return transforms

    def _draw_boxes(self, rng: np.random.Generator) -> list[_Box]:
        if rng.random() >= self.erase_probability:
            return []
        count = int(rng.integers(1, self.erase_count + 1))
        return [_draw_box(rng, 1 / count) for _ in range(count)]

    def _erase(self, clip_TCHW: torch.Tensor, boxes: list[_Box], seed: int) -> torch.Tensor:
        if not boxes:
            return clip_TCHW
        from torchvision.transforms.v2 import functional as tv

        generator = torch.Generator().manual_seed(seed)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        num_frames, _, height, width = clip_TCHW.shape
        for box in boxes:
            top, left, bottom, right = (round(edge * (height, width)[axis % 2]) for axis, edge in enumerate(box))
            size = (num_frames, 3, bottom - top, right - left) if self.erase_mode == "pixel" else (3, 1, 1)
            noise = torch.zeros(size) if self.erase_mode == "const" else torch.randn(size, generator=generator)
            colour = (255 * (mean + std * noise)).round().clamp(0, 255).to(torch.uint8)
            clip_TCHW = tv.erase(clip_TCHW, top, left, bottom - top, right - left, colour)
        return clip_TCHW


def _draw_box(rng: np.random.Generator, part: float) -> _Box:
    """Draw a box of `part` of the area that may be erased, until it fits, which the first nearly always does."""
    while True:
        area = rng.uniform(*_ERASED_AREA) * part
        aspect = math.exp(rng.uniform(math.log(_ERASED_ASPECT[0]), math.log(_ERASED_ASPECT[1])))
        height, width = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if height < 1.0 and width < 1.0:
            top, left = float(rng.uniform(0.0, 1.0 - height)), float(rng.uniform(0.0, 1.0 - width))
            return (top, left, top + height, left + width)


def _transform_frames(clip_TCHW: torch.Tensor, transforms: list[v2.Transform], seed: int) -> torch.Tensor:
    """Transform every frame under the same seed, as a PIL picture: torchvision does not turn tensors bicubically."""
    if not transforms:
        return clip_TCHW
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as tv

    transform, frames = v2.Compose(transforms), []
    with torch.random.fork_rng(devices=[]):
        for frame_CHW in clip_TCHW:
            # torch.manual_seed would seed the GPUs too, and they are not forked here.
            torch.default_generator.manual_seed(seed)
            frames.append(tv.pil_to_tensor(transform(tv.to_pil_image(frame_CHW))))
    return torch.stack(frames)
