"""The lock: many together, one alone, and who waits to be alone is not passed over."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread

from voxray.sharing import SharedLock


def started(what: Callable[[], None]) -> Thread:
    thread = Thread(target=what, daemon=True)
    thread.start()
    return thread


def test_together_and_alone() -> None:
    lock, order, release = SharedLock(), [], Event()
    inside = [Event(), Event()]

    def together(number: int) -> None:
        with lock.together():
            inside[number].set()
            release.wait(30)
            order.append("together")

    def alone() -> None:
        with lock.alone(), lock.alone(), lock.together():  # entered again at will
            order.append("alone")
            time.sleep(0.02)
            order.append("alone still")

    def late() -> None:
        with lock.together():
            order.append("late")

    threads = [started(lambda: together(0)), started(lambda: together(1))]
    assert all(event.wait(30) for event in inside), "two at once"
    threads.append(started(alone))
    while not lock._waiting:
        time.sleep(0.001)
    threads.append(started(late))
    time.sleep(0.05)
    assert order == []
    release.set()
    for thread in threads:
        thread.join(30)
    assert order == ["together", "together", "alone", "alone still", "late"]


def test_a_failure_lets_go() -> None:
    lock = SharedLock()
    for enter in (lock.together, lock.alone, lock.together, lock.alone):
        try:
            with enter():
                raise ValueError
        except ValueError:
            pass
    assert (lock._together, lock._owner, lock._depth, lock._waiting) == (0, None, 0, 0)
