"""Report files of a test run: the query table in its forms, scores, confusion of classes, pictures."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from fvcore.common.config import CfgNode

from mutualnet3d.data.build_loaders import ensemble_of, label_sets_of
from mutualnet3d.data.build_split import Split
from mutualnet3d.engine.evaluate import Evaluation
from mutualnet3d.files.atomic import write_text
from mutualnet3d.log import logger
from mutualnet3d.mutual import SubnetConfig
from mutualnet3d.plots.confusion import save_confusion_plot
from mutualnet3d.plots.tradeoff_figure import save_table_plot
from mutualnet3d.results.average_precision import average_precisions
from mutualnet3d.results.query_table import QueryTable
from mutualnet3d.results.score_store import ComputedScores
from mutualnet3d.results.table_text import views_text
from mutualnet3d.results.view_scores import class_accuracy, confusion_matrix, save_scores


def write_reports(
    cfg: CfgNode, folder: str, table: QueryTable, result: Evaluation, split: Split, class_names: Sequence[str]
) -> None:
    """Write all files into `folder`, each whole or not at all.

    The most expensive and the cheapest sub-network have confusion matrices; those of all others follow from the scores.
    With several labels a video there are no matrices, and classes have their average precision.

    Args:
        cfg: config of the run.
        folder: folder of the files.
        table: query table of the test.
        result: accuracies and scores of the test.
        split: videos of the test.
        class_names: names of the classes.
    """

    def at(name: str) -> str:
        return os.path.join(folder, name)

    table.save(at("query_table.json"))
    table.save_csv(at("query_table.csv"))
    table.save_markdown(at("query_table.md"))
    if cfg.TEST.SAVE_RESULTS_PATH:
        paths = [split.videos[index].path for index in result.video_V.tolist()]
        configs = {str(config): config for config in result.scores}
        scores = ComputedScores(configs, lambda key: result.scores[configs[key]])
        label_sets_SK = label_sets_of(split)
        labels = result.label_V if label_sets_SK is None else label_sets_SK[result.label_V]
        save_scores(at(cfg.TEST.SAVE_RESULTS_PATH), scores, labels, paths, ensemble_of(cfg))
    rows = table.default_rows
    _picture(save_table_plot, table, at("tradeoff.png"), f"{cfg.MODEL.ARCH}, one checkpoint")
    if split.label_sets is not None:
        _save_class_precision(at("class_accuracy.csv"), class_names, result, split.label_sets.matrix())
        return
    confusions = {row.config: confusion_matrix(result.scores[row.config], result.label_V).long() for row in rows}
    _save_class_accuracy(at("class_accuracy.csv"), class_names, confusions)
    for row in dict.fromkeys((rows[0], rows[-1])):
        _save_confusion(at(f"confusion_{row.config}.csv"), class_names, confusions[row.config])
        title = f"{cfg.MODEL.ARCH} {row.config}: {row.top1:.2f} % top-1, {views_text(row.views)}"
        _picture(save_confusion_plot, confusions[row.config], class_names, at(f"confusion_{row.config}.png"), title)


def _save_class_precision(path: str, names: Sequence[str], result: Evaluation, label_sets_SK: np.ndarray) -> None:
    """Write a line for each class: number of its videos, and average precision of the sub-networks, percent."""
    label_VK = torch.from_numpy(label_sets_SK)[result.label_V]
    columns = {
        str(config): (100.0 * average_precisions(score_VK, label_VK)).tolist()
        for config, score_VK in result.scores.items()
    }
    _save_classes(path, names, label_VK.sum(dim=0).tolist(), columns)


def _save_class_accuracy(path: str, names: Sequence[str], confusions: dict[SubnetConfig, torch.Tensor]) -> None:
    """Write a line for each class: number of its videos, and top-1 of the sub-networks on them, percent."""
    columns = {str(config): class_accuracy(confusion_KK).tolist() for config, confusion_KK in confusions.items()}
    _save_classes(path, names, next(iter(confusions.values())).sum(dim=1).tolist(), columns)


def _save_classes(
    path: str, names: Sequence[str], videos_K: Sequence[int], columns: Mapping[str, Sequence[float]]
) -> None:
    rows = [["class", "name", "videos", *columns]]
    for number, (name, videos) in enumerate(zip(names, videos_K, strict=True)):
        cells = [f"{column[number]:.2f}" if videos else "" for column in columns.values()]
        rows.append([str(number), name, str(videos), *cells])
    _save_csv(path, rows)


def _save_confusion(path: str, names: Sequence[str], confusion_KK: torch.Tensor) -> None:
    """Write a confusion matrix, with true classes as rows and predicted classes as columns."""
    rows = [[name, *row] for name, row in zip(names, confusion_KK.tolist(), strict=True)]
    _save_csv(path, [["true class", *names], *rows])


def _save_csv(path: str, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def _picture(draw: Callable[..., None], *args: object) -> None:
    try:
        draw(*args)
    except ModuleNotFoundError as error:  # an extra: the numbers are worth having without their pictures
        logger.warning("no %s: %s", os.path.basename(str(args[-2])), error)
