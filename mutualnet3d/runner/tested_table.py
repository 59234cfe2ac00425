"""Query table of a test run: accuracies, and costs that are counted and measured here."""

from __future__ import annotations

import os

import torch

from mutualnet3d.data.build_loaders import ensemble_of
from mutualnet3d.data.build_split import Split
from mutualnet3d.deploy.backends import PyTorch
from mutualnet3d.engine.evaluate import Evaluation, evaluation_forward
from mutualnet3d.models import costs
from mutualnet3d.models.weights import LoadedWeights
from mutualnet3d.results.latency import device_name, measure_latencies, measure_passes
from mutualnet3d.results.query_table import QueryTable, Row
from mutualnet3d.results.row_times import passes_of
from mutualnet3d.runner.session import Session
from mutualnet3d.runner.tested_cascades import cascades_of_test
from mutualnet3d.runner.tested_views import nearby_views


def table_of_test(
    session: Session, result: Evaluation, split: Split, loaded: LoadedWeights, checkpoint: str
) -> QueryTable:
    """Return the query table of a test: rows of each sub-network with all views and with fewer, measured here.

    Args:
        session: session of the test, whose network has the statistics of the sub-networks.
        result: accuracies of the test.
        split: videos of the test.
        loaded: weights that were tested.
        checkpoint: hash of the model file that the test writes.
    """
    cfg, model = session.cfg, session.model
    configs = list(result.accuracies)
    with evaluation_forward(model) as forward:
        latencies = measure_latencies(
            forward, configs, session.blank_clips, session.device, num_rounds=cfg.TEST.LATENCY_RUNS
        )
        passes = measure_passes(
            forward,
            passes_of(result.row_accuracies),
            session.blank_clips,
            session.device,
            num_rounds=cfg.TEST.LATENCY_RUNS,
        )
    costs_of = {config: costs(model, config) for config in configs}
    rows = [
        Row(
            config,
            costs_of[config][0] / 1e9,
            costs_of[config][1],
            latencies.milliseconds[config],
            accuracy.top1,
            accuracy.top5,
            PyTorch.name,
            views,
            settled=config not in latencies.unsettled and (config, views.count) not in passes.unsettled,
            pass_milliseconds=passes.milliseconds.get((config, views.count)),
            mean_ap=accuracy.mean_ap,
        )
        for (config, views), accuracy in result.row_accuracies.items()
    ]
    cascades, cascade_facts = cascades_of_test(cfg, result, rows)
    nearby = nearby_views(cfg)
    context = {
        "model": cfg.MODEL.ARCH,
        "num_videos": len(result.video_V),
        "num_found": len(split.videos),
        "num_listed": split.bad.num_listed,
        "num_in_list": split.num_in_list,
        "ensemble": ensemble_of(cfg),
        "statistics": "calibrated" if set(configs).isdisjoint(model.statistics.interpolated) else "interpolated",
        "checkpoint": checkpoint,
        "weights": os.path.basename(loaded.path),
        "step": loaded.step,
        "backend": PyTorch.name,
        "views": str(result.views),
        **({"nearby_views": nearby} if nearby else {}),
        **({"cascades": cascade_facts} if cascade_facts else {}),
        "backends": {
            PyTorch.name: {
                "device": device_name(session.device),
                "threads": torch.get_num_threads(),
                "batch_size": 1,
                "milliseconds_of": "one forward pass of the whole batch",
                "latency_runs": cfg.TEST.LATENCY_RUNS,
            }
        },
    }
    return QueryTable(tuple(rows), context, cascades)
