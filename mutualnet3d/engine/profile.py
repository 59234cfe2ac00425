"""torch's profiler over a few training steps."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from functools import partial
from typing import IO

import torch

from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.files.atomic import write_atomically, write_text
from mutualnet3d.log import logger

# Steps before the profiled ones: the first steps compile kernels and fill caches.
_WARM_UP = 3


class Profile(Hook):
    """Hook that profiles `num_steps` steps, from the fourth on, into files in `folder`.

    The files are a trace (for chrome://tracing or Perfetto) and a table of the operations that took longest.

    The wait for the loader is part of it, hooks are not.
    """

    name = "profiling"

    def __init__(self, num_steps: int, folder: str):
        self.num_steps, self.folder = num_steps, folder
        self.profiler: torch.profiler.profile | None = None

    def before_step(self, loop: TrainLoop) -> None:
        """Start the profiler before the first profiled step."""
        if loop.step == min(loop.start_step + _WARM_UP, loop.num_steps - 1):
            self.profiler = torch.profiler.profile(record_shapes=True)
            self.profiler.start()

    def after_step(self, loop: TrainLoop) -> None:
        """Write the files after the last profiled step."""
        first = min(loop.start_step + _WARM_UP, loop.num_steps - 1)
        if self.profiler is not None and (loop.step + 1 == first + self.num_steps or loop.step + 1 == loop.num_steps):
            self._write(self.profiler, first, loop.step)
            self.profiler = None

    def _write(self, profiler: torch.profiler.profile, first: int, last: int) -> None:
        profiler.stop()
        name = os.path.join(self.folder, f"steps_{first + 1:08d}_{last + 1:08d}")
        with tempfile.NamedTemporaryFile(suffix=".json") as plain:
            profiler.export_chrome_trace(plain.name)
            write_atomically(f"{name}.json.gz", partial(_compress, plain.name))
        order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=order, row_limit=30)
        write_text(f"{name}.txt", table)
        logger.info("profiled steps %d to %d: %s.txt, %s.json.gz", first + 1, last + 1, name, name)


def _compress(path: str, target: IO[bytes]) -> None:
    with open(path, "rb") as source, gzip.open(target, "wb") as compressed:
        shutil.copyfileobj(source, compressed)
