"""Functions in several processes, for tests: gloo, one machine, a time limit, and what each returned."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

_CHILD = """
import os, pickle, sys, time
import torch
import torch.distributed as dist
torch.set_num_threads(1)
folder, module, name, rank, world = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=int(rank), world_size=int(world))
try:
    result = getattr(__import__(module, fromlist=[name]), name)()
except BaseException:
    open(f"{folder}/failed", "w").close()  # nobody needs to wait any longer
    raise
with open(f"{folder}/unfinished_{rank}", "wb") as file:
    pickle.dump(result, file)
os.rename(f"{folder}/unfinished_{rank}", f"{folder}/result_{rank}")
# All leave together, and without closing the group: where a peer had gone, gloo's threads were seen to spin at
# real-time priority, and to leave no core to the tests beside them.
awaited = [f"{folder}/result_{other}" for other in range(int(world))]
while not all(map(os.path.exists, awaited)) and not os.path.exists(f"{folder}/failed"):
    time.sleep(0.02)
os._exit(0)
"""


def in_processes(module: str, name: str, world: int = 2, timeout: float = 120.0) -> list[Any]:
    """What the function `name` of `module`, which takes nothing, returns in each of `world` processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", _CHILD, folder, module, name, str(rank), str(world)],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]
        try:
            errors = [process.communicate(timeout=timeout)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert all(process.returncode == 0 for process in processes), "\n".join(errors)[-4000:]
        results = []
        for rank in range(world):
            with open(f"{folder}/result_{rank}", "rb") as file:
                results.append(pickle.load(file))
        return results
