from __future__ import annotations

import os
import signal
import threading

import pytest

from mutualnet3d.engine.hooks import Checkpointing
from mutualnet3d.engine.preemption import EXIT_AGAIN, SIGNALS, Interrupted, PreemptionHook, Signals
from mutualnet3d.engine.shared_flags import SharedFlags
from mutualnet3d.engine.train_loop import Hook
from tests.engine.loops import SavedCalls, run_loop


class Send(Hook):
    """Hook that sends this process a signal after a step."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def after_step(self, loop):
        if loop.step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.fixture(autouse=True)
def _restored_handlers():
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def hooks_of(signals, saved):
    flags = SharedFlags()
    checkpointing = Checkpointing(lambda step, position: {"position": position}, saved, flags, 100, 1)
    return [flags, checkpointing, PreemptionHook(signals, flags, checkpointing.finish)]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_step_writes_and_leaves(number):
    saved, signals = SavedCalls(), Signals()
    with pytest.raises(Interrupted, match=f"{number.name} after step 4") as left, signals:
        run_loop([Send(number, 2), *hooks_of(signals, saved)], steps=20)
    assert left.value.code == (130 if number == signal.SIGINT else EXIT_AGAIN)
    assert EXIT_AGAIN == 75
    assert saved.steps == [(4, None)]
    assert saved.num_waits == 1  # it is on disk when the process leaves
    assert signal.getsignal(number) is signal.SIG_IGN  # a second signal does not change the status


def test_a_second_ctrl_c_does_not_wait_for_the_step():
    with Signals() as signals:
        signals.patient = True
        signal.raise_signal(signal.SIGINT)
        assert signals.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_signal_in_the_last_step_leaves_after_the_last_checkpoint():
    saved, signals = SavedCalls(), Signals()
    with pytest.raises(Interrupted, match="SIGTERM after step 5, the last one"), signals:
        run_loop([Send(signal.SIGTERM, 4), *hooks_of(signals, saved)], steps=5)
    assert saved.num_waits == 1


def test_a_signal_outside_of_training_raises_at_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="SIGTERM: stopped outside of training"), Signals():
        signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    with Signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_in_another_thread_are_left_alone():
    names = []

    def enter():
        with Signals() as signals:
            names.append(signals.name)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert names == [""]
