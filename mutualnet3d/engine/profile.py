"""torch's profiler over a few steps."""

from __future__ import annotations

import os

import torch

from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.log import logger

# Steps before the profiled ones: the first ones compile kernels and fill caches.
_WARM_UP = 3


class Profile(Hook):
    """Profiles `num_steps` steps, from the fourth on: a trace (chrome://tracing, Perfetto) and a table of what took
    longest, both in `folder`.

    The loader's waiting is in it, hooks are not.
    """

    def __init__(self, num_steps: int, folder: str):
        self.num_steps, self.folder = num_steps, folder
        self.profiler: torch.profiler.profile | None = None

    def before_step(self, loop: TrainLoop) -> None:
        if loop.step == min(loop.start_step + _WARM_UP, loop.num_steps - 1):
            self.profiler = torch.profiler.profile(record_shapes=True)
            self.profiler.start()

    def after_step(self, loop: TrainLoop) -> None:
        first = min(loop.start_step + _WARM_UP, loop.num_steps - 1)
        if self.profiler is not None and (loop.step + 1 == first + self.num_steps or loop.step + 1 == loop.num_steps):
            self._write(first, loop.step)

    def _write(self, first: int, last: int) -> None:
        assert self.profiler is not None
        self.profiler.stop()
        os.makedirs(self.folder, exist_ok=True)
        name = os.path.join(self.folder, f"steps_{first + 1:08d}_{last + 1:08d}")
        self.profiler.export_chrome_trace(f"{name}.json.gz")
        order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = self.profiler.key_averages().table(sort_by=order, row_limit=30)
        with open(f"{name}.txt", "w", encoding="utf-8") as file:
            file.write(table)
        logger.info("profiled steps %d to %d: %s.txt, %s.json.gz", first + 1, last + 1, name, name)
        self.profiler = None
