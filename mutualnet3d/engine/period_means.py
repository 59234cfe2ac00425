"""Means of losses and accuracies over the steps of a period of the log, by sub-network and by its place in a step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from mutualnet3d.engine.step_metrics import StepMetrics

# Number of a record, its name for people, its form,
# of one width, so that lines below each other compare.
_CROSS_ENTROPY = ("cross_entropy", "cross-entropy", "%6.3f")
_KL = ("kl", "KL", "%7.4f")
_MIXED = ("kl_and_label", "KL and label", "%7.4f")
_BINARY = ("binary_cross_entropy", "binary cross-entropy", "%7.4f")
_TOP1 = ("accuracy", "top-1", "%5.1f %%")
# Networks of a step by their place: the first learns the labels, the others the outputs of the first (or of its
# average). The third and all after it have random widths.
_PLACES = ("full", "narrowest", "random")


class PeriodMeans:
    """Means over the steps that were added.

    The numbers of a step are read when the next one is added, or when means are asked for: on a GPU the last step may
    not have ended.

    Args:
        learns_labels: True for sub-networks that learn the labels too, so that their loss is a mixture.
        has_several_labels: True for clips of several labels, so that losses are binary cross-entropies.

    Attributes:
        num_steps: number of steps.
    """

    def __init__(self, learns_labels: bool = False, has_several_labels: bool = False) -> None:
        self.num_steps = 0
        self._subnet_loss = _BINARY if has_several_labels else _MIXED if learns_labels else _KL
        self._pending: StepMetrics | None = None
        self._numbers: dict[tuple[str, str, str], list[float]] = defaultdict(list)

    def add(self, metrics: StepMetrics) -> None:
        """Add the metrics of a step."""
        self._settle()
        self._pending = metrics
        self.num_steps += 1

    @property
    def losses(self) -> dict[str, float]:
        """Mean loss of each sub-network over the steps that trained it, in the order of their first steps."""
        return self._by_key("loss")

    @property
    def top1(self) -> dict[str, float]:
        """Mean top-1 of each sub-network over the same steps, percent."""
        return self._by_key("top1")

    @property
    def by_place(self) -> dict[str, dict[str, float]]:
        """Means by the place of the networks in a step: full, narrowest, random.

        They are cross_entropy of the networks that learn the labels, kl of those that learn another network's outputs,
        and accuracy of all, in percent. A loss with both is kl_and_label; with several labels a clip it is
        binary_cross_entropy.
        """
        self._settle()
        subnet_loss = self._subnet_loss[0]
        means: dict[str, dict[str, float]] = {"cross_entropy": {}, subnet_loss: {}, "accuracy": {}}
        for kind, place in dict.fromkeys((kind, place) for kind, place, _ in self._numbers):
            numbers = [n for key, part in self._numbers.items() if key[:2] == (kind, place) for n in part]
            name = "accuracy" if kind == "top1" else "cross_entropy" if place == _PLACES[0] else subnet_loss
            means[name][place] = sum(numbers) / len(numbers)
        return {name: places for name, places in means.items() if places}

    def text(self) -> str:
        """Return the means for people, with the narrowest network named by its width, since it has all sizes."""
        means = self.by_place
        keys: dict[str, str] = {}
        for kind, place, key in self._numbers:
            if kind == "loss":
                keys.setdefault(place, key)
        names = {"random": "random widths"}
        names |= {place: short_key(key) for place, key in keys.items() if place == "full"}
        names |= {place: short_key(key).partition("-")[0] for place, key in keys.items() if place == "narrowest"}
        parts = []
        for name, title, form in (_CROSS_ENTROPY, self._subnet_loss, _TOP1):
            if name in means:
                numbers = [f"{names[place]} {form % number}" for place, number in means[name].items()]
                parts.append(f"{title} {', '.join(numbers)}")
        return "; ".join(parts)

    def _by_key(self, kind: str) -> dict[str, float]:
        self._settle()
        numbers: dict[str, list[float]] = defaultdict(list)
        for (kind_of, _, key), part in self._numbers.items():
            if kind_of == kind:
                numbers[key] += part
        return {key: sum(part) / len(part) for key, part in numbers.items()}

    def _settle(self) -> None:
        if self._pending is None:
            return
        for kind, place, key, number in _numbers_of(self._pending):
            self._numbers[kind, place, key].append(number)
        self._pending = None


def _numbers_of(metrics: StepMetrics) -> Iterator[tuple[str, str, str, float]]:
    for kind, factor, numbers in (("loss", 1.0, metrics.losses), ("top1", 100.0, metrics.top1)):
        for place, (key, number) in enumerate(numbers.items()):
            yield kind, _PLACES[min(place, len(_PLACES) - 1)], key, factor * number


def short_key(key: str) -> str:
    """Return a sub-network's key with its width to two digits, for people; the records have all digits."""
    width, rest = key.split("-", 1)
    return f"w{float(width[1:]):.2f}-{rest}"
