"""Numbers of records as points of curves, for the programs that draw trainings."""

from __future__ import annotations

from typing import Any

# Numbers of training by sub-network: random widths would make a curve of each point. Those by place have them too.
_BY_SUBNET = ("losses", "top1")


def points_of(record: dict[str, Any]) -> dict[str, float]:
    """Return the points of a record of training or validation, by the names of their curves; {} for others.

    Losses and accuracies of training are named by the network's place in its step: full, narrowest, random.
    """
    points: dict[str, float] = {}
    kind = record["kind"]
    if record.get("step") is None or kind not in ("train", "validation"):
        return points
    for name, value in record.items():
        if isinstance(value, dict) and not (kind == "train" and name in _BY_SUBNET):
            points |= {f"{kind}/{name}/{curve}": float(number) for curve, number in value.items()}
        elif name not in ("kind", "step") and isinstance(value, int | float):
            points[f"{kind}/{name}"] = float(value)
    return points
