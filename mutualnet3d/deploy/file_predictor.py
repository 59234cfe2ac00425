"""Predictions of many files, which processes read on all cores, in the order of completion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mutualnet3d import fork_server
from mutualnet3d.data.file_reader import FileReader, UnreadFile
from mutualnet3d.deploy.file_stages import FileWork, run_files
from mutualnet3d.deploy.prediction import Prediction
from mutualnet3d.deploy.stages import Forward, Plan
from mutualnet3d.deploy.video_predictor import VideoPredictor, check_batch_size, check_top
from mutualnet3d.process_pool import num_cores
from mutualnet3d.results.prediction_rows import OK, unread_record


class FilePredictor(VideoPredictor):
    """Base of `FeaturePredictor`, with predictions of many files."""

    def predict_files(
        self,
        paths: Sequence[str],
        plan: Plan | None = None,
        top: int = 5,
        batch_size: int = 8,
        workers: int | None = None,
        timeout: float = 300.0,
    ) -> Iterator[tuple[int, Prediction | UnreadFile]]:
        """Return an iterator of the predictions of many files, and their places in `paths`, in the order of completion.

        For a file that cannot be read it gives the reason, and goes on. Processes read the files; a process that
        crashes or hangs loses only its file. This process runs the networks, on clips of several files at a time.
        Memory does not grow with the number of files. The processes end with the iterator. The caller's main module
        must be importable (`if __name__ == "__main__":`).

        Args:
            paths: video files, or folders of pictures, which are read when their turn comes.
            plan: result of `plan`, which takes a budget; None: the most expensive sub-network.
            top: number of labels, at least 1.
            batch_size: largest number of clips of a forward pass, at least 1, unless a video has more.
            workers: number of processes that read, at least 1; None: the number of cores.
            timeout: longest time of reading a file, seconds, above 0.

        Returns:
            Iterator of (place in `paths`, prediction or reason).

        Raises:
            ValueError: at once: a number is out of range.
            DataAway: the disk of the videos is missing.
        """
        check_top(top)
        chosen = self.plan() if plan is None else plan
        work = self._file_work(chosen, self._forward, batch_size, workers, timeout)
        return (
            (number, result if isinstance(result, UnreadFile) else self._prediction(result, chosen, top))
            for number, result in run_files(paths, work)
        )

    def _file_work(
        self, plan: Plan, forward: Forward, batch_size: int, workers: int | None, timeout: float
    ) -> FileWork:
        """Return the work on many files, and start the server of its processes.

        Args:
            plan: stages of the prediction.
            forward: forward pass of clips of one shape.
            batch_size: largest number of clips of a forward pass.
            workers: number of processes that read; None: the number of cores.
            timeout: longest time of reading a file, seconds.

        Raises:
            ValueError: a number is out of range.
        """
        check_batch_size(batch_size)
        workers = num_cores() if workers is None else workers
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ValueError(f"workers is {workers!r}; it must be an integer of at least 1")
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout!r} seconds; it must be more than 0")
        fork_server.start("pool", "files")  # if it does not run, it loads torch for all processes
        return FileWork(
            plan.stages,
            self._networks.shapes,
            FileReader(self._reader),
            forward,
            self.preprocessing.ensemble,
            batch_size,
            workers,
            timeout,
        )


def record_of(path: str, outcome: Prediction | UnreadFile) -> dict[str, Any]:
    """Return the record of a file, plain values, see `results/prediction_rows.py`."""
    if isinstance(outcome, UnreadFile):
        return unread_record(path, outcome.status, outcome.reason)
    return {**outcome.to_json(), "status": OK}
