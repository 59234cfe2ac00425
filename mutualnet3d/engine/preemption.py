"""Signals that ask a run to leave: a cluster's time limit or preemption."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

# What tools/slurm/train.sbatch starts again: sysexits.h's EX_TEMPFAIL, "try again later".
EXIT_AGAIN = 75
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Interrupted(SystemExit):
    """The run was asked to leave, and its state is on disk; the process ends with `EXIT_AGAIN`."""

    def __init__(self, why: str):
        super().__init__(EXIT_AGAIN)
        self.why = why

    def __str__(self) -> str:
        return self.why


class Signals:
    """While the block runs, SIGTERM and SIGUSR1 do not kill: in a training loop (`patient`), which asks for `name`,
    they wait for the step's end and its checkpoint; elsewhere they raise `Interrupted` at once. Behind an `Interrupted`
    they are ignored, so that the process ends with its own code. Only the main thread can catch signals; in another the
    block does nothing.

    Attributes:
        name: of the signal that came, or "".
    """

    def __init__(self) -> None:
        self.name = ""
        self.patient = False

    def __enter__(self) -> Signals:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if isinstance(error, Interrupted) else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        if not self.patient:
            raise Interrupted(f"{self.name}: stopped outside of training, where there is nothing to save")
