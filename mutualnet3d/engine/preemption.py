"""Orderly end of a run that a cluster stops, for its time limit or for another job: the state is saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from mutualnet3d.engine.shared_flags import STOP, SharedFlags
from mutualnet3d.engine.train_loop import Hook, TrainLoop
from mutualnet3d.log import logger

# The status that tools/slurm/train.sbatch starts again after: sysexits.h's EX_TEMPFAIL, "try again later".
EXIT_AGAIN = 75
# A shell's status for a program that Ctrl-C ended: nothing starts it again.
EXIT_CTRL_C = 130
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# Seconds of waiting for clips after which a signal does not wait for the step any more.
_PATIENCE_SECONDS = 8.0
_LOOK_SECONDS = 0.5


class Interrupted(SystemExit):
    """End of a run by a signal, after its state was saved; the process ends with `EXIT_AGAIN` or `EXIT_CTRL_C`.

    Args:
        reason: text for people: the signal and the step.
        signal_name: name of the signal; "" in a process that got none.
    """

    def __init__(self, reason: str, signal_name: str = ""):
        super().__init__(EXIT_CTRL_C if signal_name == signal.SIGINT.name else EXIT_AGAIN)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Signals:
    """Context in which SIGTERM, SIGUSR1 and SIGINT (Ctrl-C) do not kill the process.

    While `patient` is True (in a training loop) a signal is only noted, for `PreemptionHook`; otherwise it raises
    `Interrupted` at once. A second Ctrl-C does not wait for the step, nor does any signal where clips do not come.
    After an `Interrupted` signals are ignored, so that the process ends with its own status.
    Only the main thread can catch signals; in another thread the context does nothing.

    Args:
        seconds_waiting: function that returns the time that this process has been waiting for clips.

    Attributes:
        name: name of the signal that came; "" before.
        patient: True while a signal waits for the end of the step.
    """

    def __init__(self, seconds_waiting: Callable[[], float] = lambda: 0.0) -> None:
        self.seconds_waiting = seconds_waiting
        self.name = ""
        self.patient = False

    def __enter__(self) -> Signals:
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._handle) for number in SIGNALS}
            self._handlers[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handlers:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._handlers.items():
            is_last = isinstance(error, Interrupted) and number in SIGNALS
            signal.signal(number, signal.SIG_IGN if is_last else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_second = number == signal.SIGINT and self.name == signal.SIGINT.name
        self.name = signal.Signals(number).name
        if is_second:
            raise KeyboardInterrupt
        if not self.patient:
            raise Interrupted(f"{self.name}: stopped outside of training, where there is nothing to save", self.name)
        signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)

    def _look(self, number: int, frame: FrameType | None) -> None:
        seconds = self.seconds_waiting()
        if self.patient and seconds >= _PATIENCE_SECONDS:
            raise Interrupted(f"{self.name}, while no clip came for {seconds:.0f} s", self.name)


class PreemptionHook(Hook):
    """Hook that raises the flag STOP when a signal came, and ends the run after the step in which all see it.

    It stands after `Checkpointing`, which writes a checkpoint when it sees the flag.

    Args:
        signals: signals of this process.
        flags: flags of the job.
        finish_checkpoint: function that waits until the checkpoint is on disk; all processes call it.

    Raises:
        Interrupted: after the step before which a process raised the flag, when the checkpoint is on disk.
    """

    name = "leaving after a signal"

    def __init__(self, signals: Signals, flags: SharedFlags, finish_checkpoint: Callable[[], object]):
        self.signals, self.flags, self.finish_checkpoint = signals, flags, finish_checkpoint
        flags.add(STOP, lambda: bool(signals.name))

    def before_train(self, loop: TrainLoop) -> None:
        """Let signals wait for the end of a step."""
        self.signals.patient = True

    def after_step(self, loop: TrainLoop) -> None:
        """End the run if any process raised the flag."""
        if not self.flags.is_raised(STOP):
            return
        self.finish_checkpoint()
        name, done = self.signals.name or "a signal to another process", loop.step + 1
        logger.info("%s: %d steps are done and saved; the same command goes on from there", name, done)
        raise Interrupted(f"{name} after step {done}", self.signals.name)

    def after_train(self, loop: TrainLoop) -> None:
        """End the run if a signal came after the last exchange of flags."""
        self.signals.patient = False
        if self.signals.name:  # it came in the last step, or while the last checkpoint was written
            reason = f"{self.signals.name} after step {loop.step + 1}, the last one"
            raise Interrupted(reason, self.signals.name)
