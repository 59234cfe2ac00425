"""Store of the batch-norm statistics that sub-networks are evaluated with."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from mutualnet3d.ops import SlimBatchNorm3d
from mutualnet3d.shapes import ClipShape, SubnetConfig

# Batch norm's name -> its mean and variance, each (C,) with the channels of the sub-network.
NormStatistics = dict[str, tuple[torch.Tensor, torch.Tensor]]


class SubnetStatistics(Mapping[SubnetConfig, NormStatistics]):
    """Statistics of a network's sub-networks, by their configs: calibrated ones, and interpolated ones.

    All of it belongs to one set of weights: `clear` forgets everything, the measured costs of interpolation included.
    Stored values move to the network's device; `apply` moves them with its parameters.

    Args:
        norms: batch norms of the network, by their names.

    Attributes:
        interpolation_losses: largest measured cost of interpolated statistics, points of top-1, by clip shape.
        version: number of changes, which tells a network to read its statistics again.
    """

    def __init__(self, norms: Mapping[str, SlimBatchNorm3d]):
        self._norms = dict(norms)
        self._stored: dict[SubnetConfig, NormStatistics] = {}
        self._interpolated: set[SubnetConfig] = set()
        self.interpolation_losses: dict[ClipShape, float] = {}
        self.version = 0

    def __getitem__(self, config: SubnetConfig) -> NormStatistics:
        return self._stored[config]

    def __iter__(self) -> Iterator[SubnetConfig]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def calibrated(self) -> list[SubnetConfig]:
        """Sub-networks whose statistics are from data."""
        return [config for config in self._stored if config not in self._interpolated]

    @property
    def interpolated(self) -> list[SubnetConfig]:
        """Sub-networks whose statistics lie between those of others."""
        return [config for config in self._stored if config in self._interpolated]

    def set(self, config: SubnetConfig, statistics: NormStatistics, interpolated: bool = False) -> None:
        """Store the statistics that `config` is evaluated with.

        Args:
            config: sub-network.
            statistics: mean and variance for every batch norm of the network, by its name.
            interpolated: True for statistics that are not from data.

        Raises:
            ValueError: the statistics are not of this network's batch norms, or have other channels than under
                `config`.
        """
        if not isinstance(statistics, Mapping) or set(statistics) != set(self._norms):
            odd = set(statistics) ^ set(self._norms) if isinstance(statistics, Mapping) else {repr(statistics)[:60]}
            raise ValueError(
                f"statistics of {config} are not of this network's batch norms: {', '.join(sorted(map(str, odd))[:5])}"
            )
        for name, pair in statistics.items():
            if not _is_mean_and_variance(pair):
                text = " ".join(repr(pair).split())[:60]  # tensors have many lines
                raise ValueError(
                    f"statistics of {config} at {name} are {text}; they must be mean and variance, float tensors (C,)"
                )
            mean, variance = pair
            full = self._norms[name].num_features
            narrowed = sum(rule.at(config.width) for rule in self._norms[name].rules)
            if len(mean) != len(variance) or len(mean) not in (full, narrowed):
                raise ValueError(
                    f"statistics of {config} at {name} have {len(mean)} and {len(variance)} channels; "
                    f"the layer has {full}, and {narrowed} where it is narrowed"
                )
        device = self._device()
        self._stored[config] = {
            name: (mean.to(device), variance.to(device)) for name, (mean, variance) in statistics.items()
        }
        self._interpolated.discard(config)
        if interpolated:
            self._interpolated.add(config)
        self.version += 1

    def remove(self, config: SubnetConfig) -> None:
        """Forget the statistics of `config`.

        Args:
            config: sub-network.

        Raises:
            KeyError: it has none.
        """
        del self._stored[config]
        self._interpolated.discard(config)
        self.version += 1

    def clear(self) -> None:
        """Forget everything: the weights that it belongs to are no longer the network's."""
        self._stored.clear()
        self._interpolated.clear()
        self.interpolation_losses.clear()
        self.version += 1

    @contextmanager
    def replaced(self, statistics: Mapping[SubnetConfig, NormStatistics]) -> Iterator[None]:
        """Store `statistics`, and nothing else, inside the block; restore the previous ones at its end."""
        before = self._stored, self._interpolated, dict(self.interpolation_losses)
        self._stored, self._interpolated = {}, set()
        try:
            for config, values in statistics.items():
                self.set(config, values)
            yield
        finally:
            self._stored, self._interpolated, self.interpolation_losses = before
            self.version += 1

    def check_interpolation(self, configs: Iterable[SubnetConfig], max_loss: float) -> None:
        """Refuse to interpolate where the cost was not measured or is too high.

        Args:
            configs: sub-networks to be interpolated.
            max_loss: largest allowed cost, points of top-1.

        Raises:
            ValueError: at the size and frames of one of `configs` the cost is higher or was not measured.
        """
        for config in configs:
            loss = self.interpolation_losses.get(config.clip_shape)
            if loss is None:
                raise ValueError(
                    f"what interpolated statistics of {config} cost has not been measured at size {config.size} with "
                    f"{config.frames} frames: test with TEST.MEASURE_INTERPOLATION True and three widths or more, or "
                    "calibrate"
                )
            if loss > max_loss:
                raise ValueError(
                    f"interpolated statistics cost {loss:.2f} points of top-1 at size {config.size} with "
                    f"{config.frames} frames, more than the {max_loss:g} that are allowed: calibrate {config} instead"
                )

    def apply(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Replace every tensor by `function` of it (`.to`, `.cuda`, `.half` of the network)."""
        self._stored = {
            config: {name: (function(mean), function(variance)) for name, (mean, variance) in values.items()}
            for config, values in self._stored.items()
        }
        self.version += 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything as tensors, numbers and strings, for a file."""
        return {
            "statistics": {str(config): values for config, values in self._stored.items()},
            "interpolated": [str(config) for config in self.interpolated],
            "interpolation_losses": [
                [shape.frames, shape.size, loss] for shape, loss in self.interpolation_losses.items()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace everything by the content of `state_dict`; an absent part is empty.

        Args:
            state: result of `state_dict`.

        Raises:
            ValueError: the statistics are not of this network's batch norms, not in the form of `state_dict`, or not
                possible; the store is empty then.
        """
        self.clear()
        stored, interpolated = state.get("statistics", {}), state.get("interpolated", ())
        if not isinstance(stored, Mapping):
            raise ValueError(f"statistics is {stored!r:.60}; it must be a mapping of sub-networks' keys")
        if not isinstance(interpolated, list | tuple):
            raise ValueError(f"interpolated is {interpolated!r:.60}; it must be a list of sub-networks' keys")
        losses = _interpolation_losses(state.get("interpolation_losses", ()))
        try:
            for key, values in stored.items():
                config = SubnetConfig.parse(key)
                self.set(config, values, interpolated=key in interpolated)
                _check_numbers(config, values)
        except ValueError:
            self.clear()
            raise
        self.interpolation_losses.update(losses)

    def _device(self) -> torch.device | None:
        for norm in self._norms.values():
            for tensor in itertools.chain(norm.parameters(), norm.buffers()):
                return tensor.device
        return None


def _is_mean_and_variance(pair: Any) -> bool:
    return (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(part, torch.Tensor) and part.ndim == 1 and part.is_floating_point() for part in pair)
    )


def _check_numbers(config: SubnetConfig, statistics: NormStatistics) -> None:
    """Refuse means and variances that are not finite, and variances below 0.

    Args:
        config: sub-network, for the message.
        statistics: mean and variance of each batch norm, by its name.

    Raises:
        ValueError: there is such a value; the message names the batch norm.
    """
    for name, (mean, variance) in statistics.items():
        if len(mean) and not (mean.isfinite().all() and variance.min() >= 0 and variance.max() < math.inf):
            raise ValueError(
                f"statistics of {config} at {name} have a mean that is not finite, or a variance that is not or below 0"
            )


def _interpolation_losses(entries: Any) -> dict[ClipShape, float]:
    """Return the losses of interpolation by clip shape.

    Args:
        entries: list of frames, size and loss, as `state_dict` returns it.

    Raises:
        ValueError: the entries have another form.
    """
    if not isinstance(entries, list | tuple):
        raise ValueError(f"interpolation_losses is {entries!r:.60}; it must be a list")
    losses: dict[ClipShape, float] = {}
    for entry in entries:
        if not isinstance(entry, list | tuple) or len(entry) != 3 or not isinstance(entry[2], int | float):
            raise ValueError(f"interpolation_losses has {entry!r:.60}; each must be frames, size and points of top-1")
        frames, size, loss = entry
        if (
            not abs(loss) < math.inf or abs(loss) > sys.float_info.max
        ):  # nothing is above NaN: it would allow every interpolation
            raise ValueError(f"interpolation_losses has {entry!r:.60}; points of top-1 must be finite")
        losses[ClipShape(frames, size)] = float(loss)
    return losses
