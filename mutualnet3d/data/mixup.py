"""MixUp and CutMix: each clip of a batch is mixed with another, and so is its label.

`MixUpCutMix` draws a `Mixture` once per step. The mixture is then applied to the batch in every shape, so that all
networks of the step see the same one (MixUp: Zhang et al., arXiv 1710.09412; CutMix: Yun et al., arXiv 1905.04899).

Legend: B clips, C channels, T frames, H height, W width, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

_STREAM = 0x6D6978  # separates these draws from others that start from (seed, step)


@dataclass(frozen=True)
class Mixture:
    """Mixture of the clips of a step: row b with row B - 1 - b; in an odd batch the middle one stays as it is.

    Args:
        weight: weight of the row's own clip and label, 0 to 1; the other row has the rest.
        box: CutMix: the part of the picture that is the other row's, in every frame: top, left, bottom, right as
            fractions of height and width; its area is 1 - `weight`. None for MixUp: the pixels are averaged.
        label_smoothing: part of every label that is spread over all classes.
        num_classes: K.
    """

    weight: float
    box: tuple[float, float, float, float] | None
    label_smoothing: float
    num_classes: int

    def clips(self, clip_BCTHW: torch.Tensor) -> torch.Tensor:
        """Return float clips mixed, in their memory format; the batch itself if there is nothing to mix.

        The box's edges are rounded to pixels.
        """
        if self.weight == 1.0:
            return clip_BCTHW
        if self.box is None:
            return clip_BCTHW.flip(0).lerp_(clip_BCTHW, self.weight)
        height, width = clip_BCTHW.shape[-2:]
        top, left, bottom, right = self.box
        rows = slice(round(top * height), round(bottom * height))
        columns = slice(round(left * width), round(right * width))
        mixed = clip_BCTHW.clone()
        mixed[..., rows, columns] = clip_BCTHW[..., rows, columns].flip(0)
        return mixed

    def targets(self, label_B: torch.Tensor) -> torch.Tensor:
        """Return soft labels, float (B, K): the two rows' by their weights, smoothed; they sum to 1."""
        one_hot_BK = F.one_hot(label_B, self.num_classes).float()
        mixed_BK = self.weight * one_hot_BK + (1.0 - self.weight) * one_hot_BK.flip(0)
        return (1.0 - self.label_smoothing) * mixed_BK + self.label_smoothing / self.num_classes


@dataclass(frozen=True, kw_only=True)
class MixUpCutMix:
    """Distribution of the mixtures of a training.

    Args:
        alpha: MixUp's weight is Beta(alpha, alpha); 0: no MixUp (MIXUP.ALPHA).
        cutmix_alpha: CutMix's weight is Beta(cutmix_alpha, cutmix_alpha), before its box is cut off at the borders; 0:
            no CutMix (MIXUP.CUTMIX_ALPHA).
        probability: probability that a step mixes at all (MIXUP.PROB).
        switch_probability: probability of CutMix, where both are on (MIXUP.SWITCH_PROB).
        label_smoothing: part of a label that is spread over all classes, mixed or not (MIXUP.LABEL_SMOOTH_VALUE).
        num_classes: number of classes, 1 or more.

    Raises:
        ValueError: a value that is not allowed; the message names the field, the value and the allowed ones.
    """

    alpha: float
    cutmix_alpha: float
    probability: float
    switch_probability: float
    label_smoothing: float
    num_classes: int

    def __post_init__(self) -> None:
        for field, allowed, holds in (
            ("alpha", "0 or more and finite", 0.0 <= self.alpha < math.inf),
            ("cutmix_alpha", "0 or more and finite", 0.0 <= self.cutmix_alpha < math.inf),
            ("probability", "in [0, 1]", 0.0 <= self.probability <= 1.0),
            ("switch_probability", "in [0, 1]", 0.0 <= self.switch_probability <= 1.0),
            ("label_smoothing", "in [0, 1)", 0.0 <= self.label_smoothing < 1.0),
            ("num_classes", "an integer of at least 1", isinstance(self.num_classes, int) and self.num_classes >= 1),
        ):
            if not holds:
                raise ValueError(f"MixUpCutMix: {field} must be {allowed}, got {getattr(self, field)!r}")
        if self.alpha == self.cutmix_alpha == 0.0:
            raise ValueError(
                "MixUpCutMix: alpha or cutmix_alpha must be above 0, got 0 for both; to train unmixed, use none"
            )

    def at_step(self, seed: int, step: int) -> Mixture:
        """Draw the mixture of a step: a pure function of (seed, step), the same on every rank and in a resumed run.

        The generator is local; no global one is touched.
        """
        rng = np.random.default_rng((seed, step, _STREAM))
        weight, box = 1.0, None
        if rng.random() < self.probability:
            cut = self.cutmix_alpha > 0.0 and (self.alpha == 0.0 or rng.random() < self.switch_probability)
            alpha = self.cutmix_alpha if cut else self.alpha
            weight = float(rng.beta(alpha, alpha))
            if cut:
                box = _draw_box(rng, 1.0 - weight)
                weight = 1.0 - (box[2] - box[0]) * (box[3] - box[1])
        return Mixture(weight, box, self.label_smoothing, self.num_classes)


def _draw_box(rng: np.random.Generator, area: float) -> tuple[float, float, float, float]:
    """Draw a box of the picture's form around any point of it, cut off at the borders: top, left, bottom, right."""
    centre, half = rng.random(2), math.sqrt(area) / 2
    top, left = np.clip(centre - half, 0.0, 1.0).tolist()
    bottom, right = np.clip(centre + half, 0.0, 1.0).tolist()
    return (top, left, bottom, right)
