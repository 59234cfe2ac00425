from __future__ import annotations

import json
import re
from copy import deepcopy

import pytest

from mutualnet3d.results.cascade import CostSpread
from mutualnet3d.results.json_cascades import cascade_to_json, cascades_from_json
from mutualnet3d.results.query_table import QueryTable
from tests.results.cascades import ALONE, CONTEXT, PAIR, with_cascades
from tests.results.tables import TABLE

ENTRY = cascade_to_json(PAIR, CostSpread(0.5, 1.0, 1.5))


def test_json_and_back():
    assert ENTRY == {
        "stages": [
            {"config": "w0.5-s32-t4", "views": "1 x 1", "threshold": 0.75, "share": 1.0},
            {"config": "w1.0-s48-t8", "views": "1 x 1", "threshold": 0.0, "share": 0.25},
        ],
        "top1": 80.0,
        "top5": 95.0,
        "fit_top1": 81.0,
        "gflops": {"mean": 0.5, "p95": 1.0, "worst": 1.5},
    }
    assert cascades_from_json([ENTRY], "table.json") == (PAIR,)


def test_a_table_keeps_its_cascades(tmp_path):
    path = tmp_path / "table.json"
    table = with_cascades()
    table.save(str(path))
    assert QueryTable.load(str(path)) == table
    content = json.loads(path.read_text())
    assert content["context"]["cascades"] == CONTEXT["cascades"]
    assert content["cascades"][1]["gflops"] == pytest.approx({"mean": 0.35, "p95": 1.1, "worst": 1.1})
    TABLE.save(str(path))
    assert "cascades" not in json.loads(path.read_text())
    assert QueryTable.load(str(path)).cascades is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entry: entry.pop("top5"), "cascade 1: top5 is missing; a cascade has stages, top1, top5, fit_top1,"),
        (lambda entry: entry.update(top1="x"), "cascade 1: top1 is 'x'; it must be a number of at least 0"),
        (lambda entry: entry.update(stages=3), "cascade 1: stages is 3; it must be a list"),
        (lambda entry: entry.update(stages=[]), "cascade 1: a cascade needs at least one stage"),
        (lambda entry: entry.update(stages=[7]), "cascade 1: stage 1 is 7; it must be an object"),
        (lambda entry: entry["stages"][1].update(share=-1), "cascade 1: stage 2: share is -1; it must be a number of"),
        (lambda entry: entry["stages"][1].update(config="w2"), "cascade 1: stage 2: config: "),
        (lambda entry: entry["stages"][0].update(views="1"), "cascade 1: stage 1: views is '1'; it must be clips x"),
        (lambda entry: entry["gflops"].update(p95=None), "cascade 1: gflops: p95 is None; it must be a number of"),
        (lambda entry: entry.update(gflops={}), "cascade 1: gflops: mean is missing; a spread of costs has mean, p95"),
    ],
)
def test_the_field_that_is_wrong_is_named(change, message):
    entry = deepcopy(ENTRY)
    change(entry)
    with pytest.raises(ValueError, match=f"^{re.escape('table.json: ' + message)}"):
        cascades_from_json([entry], "table.json")


def test_cascades_are_a_list_of_rows_that_the_table_has(tmp_path):
    with pytest.raises(ValueError, match=r"^table\.json: cascades is 'no'; it must be a list$"):
        cascades_from_json("no", "table.json")
    path = tmp_path / "table.json"
    with_cascades().save(str(path))
    content = json.loads(path.read_text())
    content["rows"] = [row for row in content["rows"] if row["config"] != "w1.0-s48-t8"]
    path.write_text(json.dumps(content))
    message = f"{path}: cascade {PAIR}: the table has no row of w1.0-s48-t8 with 1 x 1 views on pytorch"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        QueryTable.load(str(path))
    assert str(ALONE) == "w0.5-s32-t4"
