from __future__ import annotations

import asyncio
import threading

import pytest

from mutualnet3d.serving.turns import FullError, Turns


def test_so_many_run_some_wait_and_the_rest_is_refused():
    go = threading.Event()

    async def all_of_them():
        turns = Turns(workers=2, queue=1, seconds=30.0)
        tasks = [asyncio.create_task(turns.run(lambda number=number: go.wait(30.0) and number)) for number in range(4)]
        await asyncio.sleep(0.01)
        assert (turns.running, turns.waiting) == (2, 1)
        with pytest.raises(FullError, match="2 videos are being predicted and 1 wait"):
            turns.check()
        go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        turns.close()
        return results, (turns.running, turns.waiting)

    results, rest = asyncio.run(all_of_them())
    assert results[:3] == [0, 1, 2]
    assert isinstance(results[3], FullError)
    assert rest == (0, 0)


def test_what_waits_too_long_or_is_cancelled_is_not_called_and_what_runs_is_waited_for():
    go, calls = threading.Event(), []

    async def cancelled():
        turns = Turns(workers=1, queue=2, seconds=0.05)
        running = asyncio.create_task(turns.run(lambda: go.wait(30.0)))
        await asyncio.sleep(0)
        dropped = asyncio.create_task(turns.run(lambda: calls.append("dropped")))
        await asyncio.sleep(0)
        dropped.cancel()
        with pytest.raises(FullError, match=r"no worker was free within 0\.05 s"):
            await turns.run(lambda: calls.append("late"))
        running.cancel()
        await asyncio.wait([running], timeout=0.05)
        assert not running.done()
        go.set()
        await asyncio.wait([running, dropped])
        assert running.cancelled()
        assert await turns.run(lambda: "next") == "next"
        turns.close()

    asyncio.run(cancelled())
    assert calls == []


def test_an_error_of_the_function_frees_the_worker():
    async def twice():
        turns = Turns(workers=1, queue=0, seconds=1.0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await turns.run(lambda: 1 / 0)
        turns.close()
        return turns.running

    assert asyncio.run(twice()) == 0
