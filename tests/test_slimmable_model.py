from __future__ import annotations

import pytest

from mutualnet3d.slimmable_model import SlimmableForward, SlimmableModel, StatisticsStore
from tests.models.families import FAMILIES, tiny


def names(protocol: type) -> set[str]:
    return {name for name in (*vars(protocol), *protocol.__annotations__) if not name.startswith("_")}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_networks_have_what_training_and_calibration_ask_for(family):
    model = tiny(family)
    assert names(SlimmableModel) == {"training", "statistics", "train", "norms", "collecting"}
    assert names(SlimmableForward) == {"active", "dropout", "shared_fast_features"}
    for name in names(SlimmableModel) | names(SlimmableForward):
        assert hasattr(model, name), name
    assert all(hasattr(model.statistics, name) for name in names(StatisticsStore))
