"""Parts of a file that may be a network's weights.

People save state dicts in containers, and wrappers put prefixes before names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

State = Mapping[str, torch.Tensor]

# Modules that torch.compile, FSDP and activation checkpointing put around others; no network calls its own ones so.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")

# Usual names of containers and prefixes: they go before all others if the weights of several fit.
USUAL = frozenset(
    (
        "model_state",
        "state_dict",
        "model_state_dict",
        "model",
        "module",
        "net",
        "network",
        "weights",
        "params",
        *WRAPPERS,
    )
)

# Names of averages: model_ema, state_dict_ema, ema_model, swa_state_dict, averaged, averaged_model.
_AVERAGE = re.compile(r"(?<![a-z])(ema|swa|averaged?|averaging)(?![a-z])", re.IGNORECASE)
# Counter of torch.optim.swa_utils.AveragedModel beside its weights.
_AVERAGE_COUNTER = "n_averaged"

# Names of PySlowFast's own networks begin so.
_PYSLOWFAST = re.compile(r"(?:^|\.)(s\d+\.pathway\d)")

# Containers in each other: Lightning's callbacks have three.
_MAX_DEPTH = 6

# Parts that are compared with the network; the rest of a file with more has fewer of its names.
_MAX_PARTS = 16


@dataclass(frozen=True)
class WeightPart:
    """Tensors of one container whose names have one prefix.

    Args:
        keys: keys that lead to the container; none for the file itself.
        prefix: text before the names, ends with a dot; "" for none.
        wrappers: words of `WRAPPERS` that were taken out of the names.
        tensors: tensors by their names without prefix and wrappers.
        others: names of the container's other tensors.
        votes: number of the tensors that have a name of the network.
    """

    keys: tuple[str, ...]
    prefix: str
    wrappers: tuple[str, ...]
    tensors: dict[str, torch.Tensor] = field(repr=False)
    others: tuple[str, ...] = field(repr=False)
    votes: int

    @property
    def is_average(self) -> bool:
        """True for a moving average of weights."""
        return _AVERAGE_COUNTER in self.others or any(map(_AVERAGE.search, self._words))

    @property
    def num_unusual(self) -> int:
        """Number of keys and words of the prefix outside of `USUAL`; those of averages count as usual."""
        return sum(word not in USUAL and not _AVERAGE.search(word) for word in self._words)

    @property
    def _words(self) -> tuple[str, ...]:
        return (*self.keys, *self.prefix.split(".")[:-1])

    def __str__(self) -> str:
        container = "/".join(self.keys) or "the file's own tensors"
        removed = [repr(text) for text in (self.prefix, *(f"{name}." for name in self.wrappers)) if text]
        return container + (f" without {' and '.join(removed)}" if removed else "")


def parts_of(content: Mapping[Any, Any], network_names: frozenset[str]) -> list[WeightPart]:
    """Return the parts of a file that may be the weights of a network, those with the most of its names first.

    Args:
        content: values of the file.
        network_names: names of the network's tensors. PySlowFast's names are understood beside them.
    """
    longest = max(name.count(".") for name in network_names) + 1
    parts = []
    for keys, tensors in _containers(content):
        names, wrappers = _without_wrappers(tensors)
        votes = _prefixes(names, network_names, longest)
        for prefix, number in votes.items() if votes else [(_common_prefix(names), 0)]:
            inside = {name.removeprefix(prefix): value for name, value in names.items() if name.startswith(prefix)}
            others = tuple(name for name in names if not name.startswith(prefix))
            parts.append(WeightPart(keys, prefix, wrappers, inside, others, number))
    parts.sort(key=lambda part: (-part.votes, -len(part.tensors)))
    # All names of a network are in its weights, but for counters: a part with half of the most is no network's.
    return [part for part in parts[:_MAX_PARTS] if 2 * part.votes >= parts[0].votes]


def _containers(
    content: Mapping[Any, Any], keys: tuple[str, ...] = (), seen: set[int] | None = None
) -> Iterator[tuple[tuple[str, ...], dict[str, torch.Tensor]]]:
    """Yield the tensors of every mapping in `content` that has some by names, with the keys that lead to it."""
    seen = set() if seen is None else seen
    if id(content) in seen or len(keys) > _MAX_DEPTH:
        return
    seen.add(id(content))
    tensors = {
        name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    if tensors:
        yield keys, tensors
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _containers(value, (*keys, str(key)), seen)


def _without_wrappers(tensors: State) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Return tensors by their names without `WRAPPERS`, and the wrappers that were there.

    If two names would become equal, all names are kept.
    """
    present = tuple(word for word in WRAPPERS if any(word in name.split(".") for name in tensors))
    if not present:
        return dict(tensors), ()
    shorter = {
        ".".join(word for word in name.split(".") if word not in WRAPPERS): value for name, value in tensors.items()
    }
    return (shorter, present) if len(shorter) == len(tensors) else (dict(tensors), ())


def _prefixes(names: Mapping[str, Any], network_names: frozenset[str], longest: int) -> Counter[str]:
    """Return the prefixes before names of the network or of PySlowFast, with their counts.

    Args:
        names: names of tensors, as keys.
        network_names: names of the network's tensors.
        longest: number of words of the network's longest name.
    """
    votes: Counter[str] = Counter()
    for name in names:
        words = name.split(".")
        for start in range(max(len(words) - longest, 0), len(words)):
            if ".".join(words[start:]) in network_names:
                votes["".join(f"{word}." for word in words[:start])] += 1
        if match := _PYSLOWFAST.search(name):
            votes[name[: match.start(1)]] += 1
    return votes


def _common_prefix(names: Mapping[str, Any]) -> str:
    """Return the prefix of usual words that all names have."""
    prefix = ""
    while True:
        first = next(iter(names)).removeprefix(prefix).partition(".")
        longer = f"{prefix}{first[0]}."
        if not first[1] or first[0] not in USUAL or not all(name.startswith(longer) for name in names):
            return prefix
        prefix = longer
