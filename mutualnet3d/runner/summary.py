"""Last lines of a run: the files that it wrote, and the command that comes next."""

from __future__ import annotations

import os
import shlex

from fvcore.common.config import CfgNode

from mutualnet3d.engine.checkpoint_folder import CheckpointFolder
from mutualnet3d.log import logger
from mutualnet3d.results.query_table import QueryTable

# Name in the folder of a run or of its test -> content.
_RUN_FILES = {"log.txt": "the log", "log.jsonl": "the log, as records", "bad_videos.csv": "videos that cannot be read"}
_TEST_FILES = {
    "calibrated.pyth": "the network, with statistics of its sub-networks",
    "query_table.json": "the query table; .csv and .md are the same for people",
    "tradeoff.png": "accuracy over cost",
    "class_accuracy.csv": "accuracy of each class",
}


def log_summary(cfg: CfgNode, folder: str | None = None, table: QueryTable | None = None) -> None:
    """Log the files of a run that has ended, and the command to go on with.

    Args:
        cfg: config of the run.
        folder: folder of the test's files; None after a training without a test.
        table: query table of the test; None after a training without a test.
    """
    output = cfg.OUTPUT_DIR
    files = [(os.path.join(output, name), content) for name, content in _RUN_FILES.items()]
    newest = CheckpointFolder(output).newest() if cfg.TRAIN.ENABLE else None
    if newest is not None:
        files.append((newest, "the newest checkpoint"))
    if folder is not None:
        files += [(os.path.join(folder, name), content) for name, content in _TEST_FILES.items()]
    files = [(path, content) for path, content in files if os.path.exists(path)]
    width = max((len(path) for path, _ in files), default=0)
    lines = [f"  {path:<{width}}  {content}" for path, content in files]
    logger.info("%s", "\n".join(["written:", *lines, f"next: {_next_command(cfg, folder, table)}"]))


def _next_command(cfg: CfgNode, folder: str | None, table: QueryTable | None) -> str:
    if folder is None or table is None:
        config = shlex.quote(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
        return f"mutualnet3d test --cfg {config}"
    front = table.pareto()
    gflops = 1.005 * front[len(front) // 2].gflops_of_video  # three digits of it are not below the row's cost
    checkpoint = shlex.quote(os.path.join(folder, "calibrated.pyth"))
    return f"mutualnet3d predict VIDEO --checkpoint {checkpoint} --gflops {gflops:.3g}"
