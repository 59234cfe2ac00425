"""Bounded queue before some worker threads: calls that do not fit are refused at once, and none waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class FullError(RuntimeError):
    """Refusal of a call because the workers and the queue are full."""


class Turns:
    """Calls of functions in worker threads: `workers` run at a time, up to `queue` more wait in their order.

    Args:
        workers: largest number of calls at the same time.
        queue: largest number of calls that wait.
        seconds: longest wait of a call, seconds.

    Attributes:
        running: number of calls that run.
        waiting: number of calls that wait.
    """

    def __init__(self, workers: int, queue: int, seconds: float):
        self._queue, self._seconds = queue, seconds
        self._free = asyncio.Semaphore(workers)
        self._threads = ThreadPoolExecutor(workers, "serving")
        self.running = self.waiting = 0

    def check(self) -> None:
        """Refuse a call that would not get a place now.

        Raises:
            FullError: all workers are busy, and the queue is full.
        """
        if self._free.locked() and self.waiting >= self._queue:
            raise FullError(f"{self.running} videos are being predicted and {self.waiting} wait; try again")

    async def run(self, function: Callable[[], Result]) -> Result:
        """Return the result of a function, called when its turn comes.

        Cancelled before its turn, the function is not called; cancelled later, this ends when the function has
        returned.

        Args:
            function: function without arguments.

        Returns:
            Its result.

        Raises:
            FullError: all workers are busy and the queue is full, or the longest wait is over.
        """
        self.check()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise FullError(f"no worker was free within {self._seconds:g} s; try again") from error
        finally:
            self.waiting -= 1
        self.running += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, function)
        future.add_done_callback(self._end)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    def close(self) -> None:
        """Drop the calls that wait; the process ends after the calls that run."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _end(self, future: asyncio.Future[Result]) -> None:
        self.running -= 1
        self._free.release()
        if not future.cancelled():
            future.exception()  # nobody may be left who asks for it
