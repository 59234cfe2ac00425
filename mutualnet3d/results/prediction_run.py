"""Run that predicts many files into one file of results, see `listed_run`."""

from __future__ import annotations

from mutualnet3d.files.output import check_output_file
from mutualnet3d.results.listed_run import ListedRun
from mutualnet3d.results.prediction_rows import check_format, write_predictions


class PredictionRun(ListedRun):
    """Run whose results are predictions, as a context; `output` has an extension of `prediction_rows.FORMATS`."""

    form = "mutualnet3d.predictions"

    def finish(self, top: int) -> None:
        """Write the results, and that the run is complete.

        Args:
            top: number of labels.

        Raises:
            ValueError: a file has no result yet.
            WriteError: the disk is full; the journal stays.
        """
        self._finish(lambda records: write_predictions(self.output, records, top))


def check_output(path: str, option: str) -> None:
    """Refuse an output that cannot be written, without making anything.

    Args:
        path: path of the results.
        option: name of the user's option, for the error.

    Raises:
        ValueError: the path is a folder, its folder cannot be written to, or its format is unknown.
        ModuleNotFoundError: the format's library is not installed.
    """
    check_output_file(path, option)
    check_format(path, option)
