"""Files of a test that was stopped, in a folder of OUTPUT_DIR/unfinished_test, from which the same test goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mutualnet3d import distributed
from mutualnet3d.data.loader import TestLoader
from mutualnet3d.data.outage import DataAway
from mutualnet3d.engine.evaluation_state import EvaluationState
from mutualnet3d.engine.preemption import Interrupted, Signals
from mutualnet3d.files.atomic import WriteError
from mutualnet3d.files.torch_file import UNFINISHED_TEST, format_of, read_torch_file, write_torch_file
from mutualnet3d.log import logger
from mutualnet3d.models.slimmable_net import SlimmableNet
from mutualnet3d.shapes import Shard

FOLDER = "unfinished_test"
_PERIOD_SECONDS = 60.0
_MOST_OF_TIME = 0.05  # part of the time that writing may take


class UnfinishedTest:
    """Results of a test so far: statistics of the sub-networks, and for each process the scores of its videos.

    Scores are in a file that is mapped into memory (`NAME.scores`). Every minute, and when a signal asks the process to
    leave, which it does after a batch, the file is synced, and `NAME.pyth` beside it says how far it goes.

    Args:
        output_dir: folder of the run.
        identity: digits that stand for the test, and name the folder of its files; other tests' files stay.
        shard: this process's part of the work.
        signals: signals of this process.
        period_seconds: time between two files of scores.
    """

    def __init__(
        self, output_dir: str, identity: str, shard: Shard, signals: Signals, period_seconds: float = _PERIOD_SECONDS
    ):
        self.folder, self.identity, self.shard = os.path.join(output_dir, FOLDER, identity), identity, shard
        self.signals, self.period_seconds = signals, period_seconds

    def load_statistics(self, model: SlimmableNet) -> bool:
        """Load the statistics that the stopped test had computed; return False if there are none."""
        stored = distributed.broadcast(self._read("statistics.pyth") if distributed.is_main() else None)
        if stored is None:
            return False
        model.statistics.load_state_dict(stored["statistics"])
        return True

    def save_statistics(self, model: SlimmableNet) -> None:
        """Write the statistics of the test's sub-networks, on the first process."""
        if distributed.is_main():
            self.write("statistics.pyth", {"statistics": model.statistics.state_dict()})

    def scores_path(self, name: str) -> str:
        """Return the file of the scores of an evaluation in this process."""
        return os.path.join(self.folder, f"{self._stem(name)}.scores")

    def load(self, name: str, state: EvaluationState) -> None:
        """Load the results of an evaluation so far into `state`, if there are any."""
        stored = self._read(self._name(name))
        if stored is None:
            return
        try:
            state.load_state_dict(stored)
        except ValueError as error:
            logger.warning("%s: not used: %s", os.path.join(self.folder, self._name(name)), error)

    @contextmanager
    def kept(
        self, name: str, state: EvaluationState, loader: TestLoader
    ) -> Iterator[Callable[[EvaluationState], None]]:
        """Keep the results of the evaluation in the context when a signal, an outage or a full disk ends it.

        Args:
            name: name of the evaluation, for its file.
            state: results of the evaluation so far.
            loader: loader of the batches that are left.

        Yields:
            Function that takes the results after each batch.

        Raises:
            Interrupted: a signal asked the process to leave; the results are written.
        """
        evaluation = _Evaluation(self, self._name(name), state, loader)
        self.signals.patient = True
        try:
            yield evaluation.after_batch
            evaluation.leave_if_asked(state)
        except (Interrupted, DataAway, WriteError):
            evaluation.save(state)
            raise
        finally:
            self.signals.patient = False
            if not os.path.exists(os.path.join(self.folder, self._name(name))):  # nothing goes on from the scores
                with contextlib.suppress(FileNotFoundError):
                    os.remove(self.scores_path(name))

    def remove(self) -> None:
        """Remove the files, after the test's end."""
        if distributed.is_main():
            shutil.rmtree(self.folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another test is unfinished, or there was no file at all
                os.rmdir(os.path.dirname(self.folder))

    def _name(self, name: str) -> str:
        return f"{self._stem(name)}.pyth"

    def _stem(self, name: str) -> str:
        return f"{name}_{self.shard.rank}_of_{self.shard.world_size}"

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file of this test, atomically."""
        write_torch_file(os.path.join(self.folder, name), UNFINISHED_TEST, {"identity": self.identity, **content})

    def _read(self, name: str) -> dict[str, Any] | None:
        """Return the content of a file of this test; None if there is none that can be used."""
        path = os.path.join(self.folder, name)
        try:
            content = read_torch_file(path, "results of an unfinished test")
            is_format = format_of(content, path) == UNFINISHED_TEST
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("not used: %s", error)
            return None
        if not is_format or content.get("identity") != self.identity:
            logger.warning("%s: not used: it holds no results of this test", path)
            return None
        return dict(content)


class _Evaluation:
    """Evaluation of a test, in this process.

    Args:
        test: files of the test.
        name: name of the evaluation, for its file.
        state: results so far.
        loader: loader of the batches that are left.
    """

    def __init__(self, test: UnfinishedTest, name: str, state: EvaluationState, loader: TestLoader):
        self.test, self.name, self.loader = test, name, loader
        self.num_batches, self.num_saved = state.num_batches + len(loader), state.num_batches
        self.saved_at, self.seconds = time.monotonic(), 0.0

    def after_batch(self, state: EvaluationState) -> None:
        """Write the results so far, if it is time or a signal came.

        Args:
            state: results so far.

        Raises:
            Interrupted: a signal asked the process to leave; the results are written.
        """
        state.num_batches = self.loader.num_done
        state.failed_videos.update(self.loader.failed)
        self.leave_if_asked(state)
        if time.monotonic() - self.saved_at >= max(self.test.period_seconds, self.seconds / _MOST_OF_TIME):
            self.save(state)

    def leave_if_asked(self, state: EvaluationState) -> None:
        """Write the results so far and leave, if a signal came.

        Args:
            state: results so far.

        Raises:
            Interrupted: a signal came.
        """
        signal_name = self.test.signals.name
        if not signal_name:
            return
        self.save(state)
        done = f"{state.num_batches} of {self.num_batches} batches of the test"
        logger.info("%s: %s are done and saved; the same command goes on from there", signal_name, done)
        raise Interrupted(f"{signal_name} after {done}", signal_name)

    def save(self, state: EvaluationState) -> None:
        """Write the results so far, unless they are on disk already."""
        if state.num_batches == self.num_saved:
            return
        started = time.monotonic()
        self.test.write(self.name, state.state_dict())
        self.saved_at, self.num_saved = time.monotonic(), state.num_batches
        self.seconds = self.saved_at - started
