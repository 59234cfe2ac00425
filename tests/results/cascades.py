"""Cascades of the rows of `tables.TABLE`."""

from __future__ import annotations

from dataclasses import replace

from mutualnet3d.results.cascade import Cascade, Stage
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.results.row import Views
from mutualnet3d.shapes import SubnetConfig
from tests.results.tables import TABLE


def stage(key: str, threshold: float = 0.0, share: float = 1.0, views: str = "1 x 1") -> Stage:
    return Stage(SubnetConfig.parse(key), Views.parse(views), threshold, share)


ALONE = Cascade((stage("w0.5-s32-t4"),), top1=60.0, top5=90.0, fit_top1=62.0)
PAIR = Cascade((stage("w0.5-s32-t4", 0.75), stage("w1.0-s48-t8", 0.0, 0.25)), top1=80.0, top5=95.0, fit_top1=81.0)
CONTEXT = {**TABLE.context, "cascades": {"fit_videos": 50, "report_videos": 51, "seed": 1}}


def with_cascades() -> QueryTable:
    return replace(TABLE, context=CONTEXT, cascades=(ALONE, PAIR))
