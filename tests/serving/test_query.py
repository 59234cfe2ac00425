from __future__ import annotations

import pytest

pydantic = pytest.importorskip("pydantic", reason="the extra `serve` is not installed")

from mutualnet3d.results.row import Views  # noqa: E402
from mutualnet3d.serving.query import PredictionQuery  # noqa: E402


def test_the_budget_is_what_a_predictor_takes():
    budget = PredictionQuery(gflops="0.5", views="10x3").budget()
    assert {name: value for name, value in budget.items() if value is not None} == {
        "gflops": 0.5,
        "views": Views(10, 3),
    }
    assert PredictionQuery(views="2").budget()["views"] == Views(2)
    assert PredictionQuery(subnet="w1").budget()["config"] == "w1"


@pytest.mark.parametrize(
    "values",
    [
        *({"gflop": "1"}, {"gflops": "nan"}, {"gflops": "0"}, {"milliseconds": "inf"}, {"mean_gflops": "-1"}),
        *({"views": text} for text in ("3x", "1e3", "99999", "-1", "1\n", "\u0663")),
        *({"top": "0"}, {"top": "1.5"}, {"subnet": "w" * 65}, {"path": "a" * 4097}),
    ],
)
def test_other_values_are_refused(values):
    with pytest.raises(pydantic.ValidationError):
        PredictionQuery(**values)
