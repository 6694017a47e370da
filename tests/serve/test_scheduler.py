"""Turns: no key and no long text holds up the others; a full queue says so; who leaves is closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from voxray.serve.errors import Problem
from voxray.serve.scheduler import TURN, Scheduler, Task


def run(what: Callable[[Scheduler], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """With a scheduler that ends afterwards."""

    async def inside() -> None:
        scheduler = Scheduler(**settings)
        try:
            await what(scheduler)
        finally:
            await asyncio.to_thread(scheduler.stop, 0.2)

    asyncio.run(inside())


async def until(true: Callable[[], bool]) -> None:
    """Wait for something, on a machine however busy."""
    for _ in range(6000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


async def all_of(task: Task) -> list[Any]:
    return [item async for item in task]


def test_turns_go_round_the_keys() -> None:
    order: list[str] = []

    def steps(name: str, count: int) -> Iterator[str]:
        for _ in range(count):
            order.append(name)
            yield name

    async def both(scheduler: Scheduler) -> None:
        busy = [scheduler.reserve("busy") for _ in range(3)]
        late = scheduler.reserve("late")
        with scheduler._change:  # all at once
            for number, task in enumerate(busy):
                task.submit(steps(f"busy{number}", 20))
            late.submit(steps("late", 5))
        results = await asyncio.gather(*map(all_of, [*busy, late]))
        assert [len(result) for result in results] == [20, 20, 20, 5]

    run(both, most_active=4)
    last = len(order) - order[::-1].index("late")
    assert last <= 12, "the late key had every second turn"


def test_a_turn_ends_where_a_task_says_so_and_new_ones_begin_first() -> None:
    order: list[str] = []

    def steps(name: str, count: int) -> Iterator[Any]:
        for _ in range(count):
            order.append(name)
            yield TURN
        yield name

    async def all_at_once(scheduler: Scheduler) -> None:
        tasks = {name: scheduler.reserve(name) for name in "abc"}
        with scheduler._change:
            for name, task in tasks.items():
                task.submit(steps(name, 4))
        results = await asyncio.gather(*map(all_of, tasks.values()))
        assert results == [["a"], ["b"], ["c"]], "TURN is handed to nobody"

    run(all_at_once)
    assert order == list("abc") * 4


def test_a_full_queue_refuses_and_recovers() -> None:
    async def fill(scheduler: Scheduler) -> None:
        first = scheduler.reserve("a")
        scheduler.reserve("a")
        with pytest.raises(Problem) as busy:
            scheduler.reserve("a")
        assert busy.value.code == "key-busy" and (busy.value.retry_after or 0) >= 1
        scheduler.reserve("b")
        with pytest.raises(Problem) as full:
            scheduler.reserve("c")
        assert (full.value.code, full.value.status) == ("queue-full", 429)
        first.cancel()
        assert await scheduler.reserve("c").submit(iter([1])).only() == 1

    run(fill, most_requests=3, most_per_key=2)


def test_a_failure_reaches_who_asked_and_nobody_else() -> None:
    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("no")

    async def both(scheduler: Scheduler) -> None:
        bad, good = scheduler.reserve("a"), scheduler.reserve("b")
        bad.submit(fails())
        good.submit(iter(range(3)))
        with pytest.raises(ValueError, match="no"):
            await all_of(bad)
        assert await all_of(good) == [0, 1, 2]
        await until(lambda: scheduler.counts() == (0, 0))

    run(both)


def test_who_leaves_is_closed() -> None:
    closed: list[bool] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                time.sleep(0.001)
                yield 1
        finally:
            closed.append(True)

    async def leave(scheduler: Scheduler) -> None:
        task = scheduler.reserve("a").submit(endless())
        await task.__anext__()
        task.cancel()
        await asyncio.wait_for(all_of(task), 60)
        await until(lambda: closed == [True] and scheduler.counts() == (0, 0))

    run(leave)


def test_a_slow_reader_rests_and_is_given_up() -> None:
    made: list[int] = []

    def steps() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    async def wait(scheduler: Scheduler) -> None:
        slow = scheduler.reserve("a", lambda _: 1.0).submit(steps())
        assert await scheduler.reserve("b").submit(iter([7])).only() == 7
        await until(lambda: len(made) == 5)  # no more than it may be ahead
        await until(lambda: slow.cancelled)
        with pytest.raises(Problem) as gone:
            await all_of(slow)
        assert gone.value.code == "reader-slow" and len(made) == 5

    run(wait, ahead_seconds=5.0, slow_reader=0.5)
