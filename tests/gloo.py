"""Functions in several processes, for tests: gloo, one machine, a time limit, and what each returned."""

from __future__ import annotations

import importlib
import os
import pickle
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.copies import SERVER


def in_processes(module: str, name: str, world_size: int = 2, timeout: float = 120.0) -> list[Any]:
    """Return the results of the function `name` of `module`, which takes nothing, in each of `world_size` processes."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            SERVER.Process(target=_run, args=(folder, module, name, rank, world_size)) for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + timeout
        for process in processes:
            process.join(max(deadline - time.monotonic(), 0.0))
        for process in processes:
            process.kill()
        failed = sorted(Path(folder).glob("failed_*"), key=os.path.getmtime)
        assert not failed, "\n".join(path.read_text() for path in failed)
        results = [Path(folder, f"result_{rank}") for rank in range(world_size)]
        assert all(result.exists() for result in results), f"{module}.{name}: not done within {timeout:g} s"
        return [pickle.loads(result.read_bytes()) for result in results]


def _run(folder: str, module: str, name: str, rank: int, world_size: int) -> None:
    """One of the processes: it writes what the function returned, or what it raised, and leaves with the others."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size)
        result = getattr(importlib.import_module(module), name)()
    except BaseException:  # noqa: BLE001 - the test that started this process raises it
        Path(folder, f"failed_{rank}").write_text(traceback.format_exc())  # nobody needs to wait any longer
        os._exit(1)
    Path(folder, f"unfinished_{rank}").write_bytes(pickle.dumps(result))
    os.rename(f"{folder}/unfinished_{rank}", f"{folder}/result_{rank}")
    # All leave together, and without closing the group: where a peer had gone, gloo's threads were seen to spin at
    # real-time priority, and to leave no core to the tests beside them.
    awaited = [f"{folder}/result_{other}" for other in range(world_size)]
    while not all(map(os.path.exists, awaited)) and not list(Path(folder).glob("failed_*")):
        time.sleep(0.02)
    os._exit(0)
