"""Loops: training with its hooks, evaluation, checkpoints, the query table. Knows no videos."""

from mutualnet3d.results.query_table import QueryTable, Row

__all__ = ["QueryTable", "Row"]
