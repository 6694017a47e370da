"""Sharing the models: requests are advanced in turns, key by key.

A `Task` is an iterator; a worker thread takes its next item (a chunk of speech, a whole upload's
analysis) and hands it to the event loop. A turn ends with an item; or, where the iterator gives
`TURN` itself (its tokens are being made beside those of others), there, after one item at most. Turns
go round the keys, then round a key's tasks, so that neither a long text nor a busy caller holds up the
others; who is new and has a place begins first. What is behind a slow reader rests; who has left is
closed at the next turn. More requests than `most_requests` are refused (429).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from threading import Condition, Thread
from typing import Any

from .errors import Problem

END = object()
TURN = object()  # from a task: the rest of its turn is for others
MOST_ITEMS = 2  # of a turn that does not end itself
LONGEST_WAIT = 60  # seconds that Retry-After ever names


class Task:
    """One request's work. Iterate it in the event loop; `weight(item)` seconds count as unread."""

    def __init__(
        self, key: str, scheduler: Scheduler, weight: Callable[[Any], float] = lambda _: 0.0
    ) -> None:
        self.key = key
        self.begun = self.running = self.cancelled = False
        self.reason: Problem | None = None  # why the service cancelled it
        self.steps: Iterator[Any] | None = None
        self.context: Context = copy_context()
        self.unread = 0.0
        self.resting_since: float | None = None
        self.started = time.monotonic()
        self._weight = weight
        self._scheduler = scheduler
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[tuple[Any, BaseException | None]] = asyncio.Queue()

    def submit(self, steps: Iterator[Any]) -> Task:
        """Let it be worked on."""
        self.steps = steps
        self._scheduler.wake()
        return self

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._scheduler.cancel(self)

    def deliver(self, item: Any, error: BaseException | None = None) -> None:
        """From a worker thread to the event loop."""
        if item is not END and item is not None:
            self._scheduler.given(self, self._weight(item))
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._items.put_nowait, (item, error))

    def __aiter__(self) -> Task:
        return self

    async def __anext__(self) -> Any:
        item, error = await self._items.get()
        if error is not None:
            raise error
        if item is END:
            raise StopAsyncIteration
        self._scheduler.taken(self, self._weight(item))
        return item

    async def only(self) -> Any:
        """The one item of a task that makes one; cancelled if the caller goes away."""
        try:
            return await self.__anext__()
        finally:
            self.cancel()


class Scheduler:
    """Worker threads and the turns that tasks take."""

    def __init__(
        self,
        *,
        workers: int = 1,
        most_active: int = 8,
        most_requests: int = 64,
        most_per_key: int = 16,
        ahead_seconds: float = 30.0,
        slow_reader: float = 60.0,
        before_turn: Callable[[int], None] = lambda active: None,
    ) -> None:
        self.most_active, self.most_requests = most_active, most_requests
        self.most_per_key, self.ahead_seconds = most_per_key, ahead_seconds
        self.slow_reader = slow_reader
        self._before_turn = before_turn  # is told how many tasks are begun
        self.busy_seconds = 0.0
        self._lasted = 1.0  # seconds of a task, a running mean
        self._tasks: dict[str, deque[Task]] = {}  # by key; both in order of their turns
        self._change = Condition()
        self._stopped = False
        self._threads = [
            Thread(target=self._work, name=f"voxray-{n}", daemon=True) for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def reserve(self, key: str, weight: Callable[[Any], float] = lambda _: 0.0) -> Task:
        """A place in the queue, or 429."""
        with self._change:
            if self._stopped:
                raise Problem("shutting-down", "the service is shutting down", 5)
            count = sum(len(tasks) for tasks in self._tasks.values())
            wait = max(1, min(LONGEST_WAIT, round(self._lasted * (count + 1))))
            if count >= self.most_requests:
                raise Problem("queue-full", f"{count} requests are waiting; come back later", wait)
            if len(self._tasks.get(key, ())) >= self.most_per_key:
                raise Problem(
                    "key-busy", f"{self.most_per_key} requests of this key are under way", wait
                )
            task = Task(key, self, weight)
            self._tasks.setdefault(key, deque()).append(task)
            return task

    def cancel(self, task: Task) -> None:
        """Close a task at its next turn; one that is over is left alone."""
        with self._change:
            task.cancelled = True
            if task.steps is None:
                self._drop(task)
            self._change.notify_all()

    def given(self, task: Task, seconds: float) -> None:
        """Something lies ready for the reader."""
        with self._change:
            task.unread += seconds

    def taken(self, task: Task, seconds: float) -> None:
        """The reader took something."""
        with self._change:
            task.unread = max(0.0, task.unread - seconds)
            task.resting_since = None
            self._change.notify_all()

    def wake(self) -> None:
        """Something can be worked on."""
        with self._change:
            self._change.notify_all()

    def counts(self) -> tuple[int, int]:
        """How many tasks are being worked on, how many wait."""
        with self._change:
            tasks = [task for queue in self._tasks.values() for task in queue]
        active = sum(task.begun for task in tasks)
        return active, len(tasks) - active

    def stop(self, patience: float = 10.0) -> None:
        """Take nothing new, let go on what goes on for `patience` seconds, then close it."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
            self._change.wait_for(lambda: not any(self._tasks.values()), patience)
            for queue in list(self._tasks.values()):
                for task in list(queue):
                    task.cancelled = True
                    task.reason = Problem("shutting-down", "the service is shutting down", 5)
                    if task.steps is None:
                        self._drop(task)
            self._change.notify_all()
        for thread in self._threads:
            thread.join(patience)

    def _work(self) -> None:
        while True:
            with self._change:
                task = self._next()
                while task is None:
                    if self._stopped and not any(self._tasks.values()):
                        return
                    self._change.wait(1.0)
                    task = self._next()
                task.begun = task.running = True
                active = self._active()
            self._before_turn(active)
            began = time.monotonic()
            over = self._advance(task)
            with self._change:
                self.busy_seconds += time.monotonic() - began
                task.running = False
                if over:
                    self._lasted += 0.1 * (time.monotonic() - task.started - self._lasted)
                    self._drop(task)
                self._change.notify_all()

    def _advance(self, task: Task) -> bool:
        """One turn; True when the task is over."""
        assert task.steps is not None
        for _ in range(MOST_ITEMS):
            if task.cancelled:
                self._close(task)
                return True
            if task.unread >= self.ahead_seconds:
                return False
            try:
                item = task.context.run(next, task.steps, END)
            except Exception as error:  # noqa: BLE001 - whatever it is, it goes to who asked
                task.deliver(None, error)
                return True
            if item is TURN:
                return False
            task.deliver(item)
            if item is END:
                return True
        return False

    @staticmethod
    def _close(task: Task) -> None:
        close = getattr(task.steps, "close", None)
        try:
            if close is not None:
                task.context.run(close)
        except Exception as error:  # noqa: BLE001 - nobody listens any more; the worker lives on
            task.deliver(None, error)
        else:
            task.deliver(END, task.reason)

    def _next(self) -> Task | None:
        """Whose turn it is, the new ones that have a place first; they go to the end of their rows."""
        active = self._active()
        for begun in (False, True):
            for key in list(self._tasks):
                queue = self._tasks[key]
                mine = sum(task.begun for task in queue)
                for task in list(queue):
                    if task.begun == begun and self._may_run(task, active, mine):
                        queue.remove(task)
                        queue.append(task)
                        self._tasks[key] = self._tasks.pop(key)
                        return task
        return None

    def _active(self) -> int:
        return sum(task.begun for queue in self._tasks.values() for task in queue)

    def _may_run(self, task: Task, active: int, mine: int) -> bool:
        if task.running or task.steps is None:
            return False
        if task.cancelled:
            return True
        if task.unread >= self.ahead_seconds:
            return self._too_slow(task)
        if task.begun:
            return True
        fair = max(1, self.most_active // max(1, len(self._tasks)))
        return mine == 0 or (active < self.most_active and mine < fair)

    def _too_slow(self, task: Task) -> bool:
        """Whether a resting task's reader is given up."""
        now = time.monotonic()
        task.resting_since = task.resting_since or now
        if now - task.resting_since <= self.slow_reader:
            return False
        task.cancelled = True
        task.reason = Problem("reader-slow", f"nothing was read for {self.slow_reader:.0f} s")
        return True

    def _drop(self, task: Task) -> None:
        queue = self._tasks.get(task.key)
        if queue is not None and task in queue:
            queue.remove(task)
            if not queue:
                del self._tasks[task.key]
        self._change.notify_all()
