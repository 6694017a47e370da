"""Work on many files in several processes, and lose nothing when one of them dies.

`ahead(function, items, workers)` yields the results in the items' order. A worker that is killed (out of memory,
by hand) breaks its pool: the pool is made anew and what had not come back is done again; an item that
breaks three pools is named. In: an importable function and picklable items.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
TRIES = 3
WINDOW = 4  # items under way for each worker


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int = 1
) -> Iterator[Result]:
    """Results in order; errors of the function itself come out where their item stands."""
    if workers < 1:
        raise ValueError(f"{workers} workers: give 1 or more")
    if workers == 1:
        yield from map(function, items)
        return
    source, broken = iter(items), 0
    waiting: deque[tuple[Item, Future[Result] | None]] = deque()
    pool = _pool(workers)
    try:
        while True:
            while len(waiting) < WINDOW * workers:
                item = next(source, _END)
                if item is _END:
                    break
                waiting.append((item, None))  # type: ignore[arg-type]
            if not waiting:
                return
            try:
                for place, (item, future) in enumerate(waiting):
                    if future is None:
                        waiting[place] = (item, pool.submit(function, item))
                first = waiting[0][1]
                assert first is not None
                result = first.result()
            except BrokenProcessPool as error:
                broken += 1
                if broken == TRIES:
                    raise OSError(
                        f"{TRIES} times a worker died on {waiting[0][0]!r:.200} or beside it; "
                        "is there enough memory? Try fewer workers"
                    ) from error
                pool.shutdown(wait=False, cancel_futures=True)
                pool = _pool(workers)
                waiting = deque((item, _kept(future)) for item, future in waiting)
                continue
            broken = 0
            waiting.popleft()
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_END = object()


def _kept(future: Future[Result] | None) -> Future[Result] | None:
    """A future that came back before the pool broke; None: do it again."""
    if future is None or not future.done() or future.cancelled():
        return None
    return None if isinstance(future.exception(), BrokenProcessPool) else future


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
