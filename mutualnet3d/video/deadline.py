"""Time that reading one video may take, looked at between packets, so that no signal is needed."""

from __future__ import annotations

import time

from mutualnet3d.video.errors import too_late


class Deadline:
    """End of the time that opening a video and all reading of it may take together; it begins now.

    Args:
        name: name of the file, for the message.
        timeout: seconds; None: any time.
        problem: words for what did not happen in that time, for the message.
    """

    def __init__(self, name: str, timeout: float | None = None, problem: str = "not decoded"):
        self._name, self.timeout, self._problem = name, timeout, problem
        self.restart()

    def restart(self) -> None:
        """Let the time begin anew."""
        self._end = None if self.timeout is None else time.monotonic() + self.timeout

    def check(self, needed: float = 0.0) -> None:
        """Raise an error if the time is over.

        Args:
            needed: time that the next part takes, in seconds.

        Raises:
            VideoDecodeError: the time is over, or will be.
        """
        if self._end is not None and time.monotonic() + needed > self._end:
            assert self.timeout is not None
            raise too_late(self._name, self.timeout, self._problem)

    def remaining(self) -> float | None:
        """Return the seconds that are left, 0 or more; None: any time."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())
