"""Loops: training with its hooks, evaluation, checkpoints. Nothing here depends on videos."""

from mutualnet3d.results.query_table import QueryTable, Row

__all__ = ["QueryTable", "Row"]
