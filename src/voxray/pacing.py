"""When a sentence's tokens become sound: spans that double, each as soon as its tokens are there.

In: a decoder, and the pool where its tokens are made beside those of others (None: made here and
now). Out: spans [begin, end) of tokens to sound; an empty one is a turn that others may have.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import RLock

from .decoding import TokenDecoder
from .joining import LOOK_AHEAD
from .token_pool import TokenPool

FIRST_CHUNK = 20  # tokens of the first span; each next one is twice as long, up to LONGEST_CHUNK
LONGEST_CHUNK = 160


class Spans:
    """Iterate, sound each span, then `go_on`; `close` whatever happens.

    `ahead`: all tokens are made before the first span; `whole`: there is one span only, too.
    """

    def __init__(
        self,
        lock: RLock,
        decoder: TokenDecoder,
        pool: TokenPool | None,
        *,
        whole: bool,
        ahead: bool = False,
    ) -> None:
        self.seconds = 0.0  # spent on tokens
        self._lock, self._decoder = lock, decoder
        self._whole, self._ahead = whole, ahead or whole
        self._pool = pool if pool is not None and pool.takes(decoder) else None
        self._begin, self._length = 0, FIRST_CHUNK

    def __iter__(self) -> Iterator[tuple[int, int]]:
        decoder = self._decoder
        while True:
            yield from self._made()
            have, begin = len(decoder.tokens), self._begin
            end = begin + self._length
            if decoder.done and (self._whole or have - end <= LOOK_AHEAD):
                end = have
            self._begin, self._length = end, min(2 * self._length, LONGEST_CHUNK)
            over = decoder.done and end == have
            if end > begin:
                decoder.commit(end)
                yield begin, end
            if over:
                return

    def go_on(self) -> None:
        """The span has become sound: the tokens of the next may be made in others' turns, too."""
        if self._pool is not None:
            with self._lock:
                self._pool.want(self._decoder, self._goal)

    def close(self) -> None:
        """No more tokens are wanted."""
        if self._pool is not None:
            with self._lock:
                self._pool.leave(self._decoder)

    @property
    def _goal(self) -> int | None:
        return None if self._ahead else self._begin + self._length + LOOK_AHEAD

    def _made(self) -> Iterator[tuple[int, int]]:
        """Make the tokens of the next span; in a pool step by step."""
        pool, began = self._pool, time.perf_counter()
        if pool is None:
            with self._lock:
                self._decoder.advance(self._goal)
            self.seconds += time.perf_counter() - began
            return
        self.go_on()
        while not pool.settled(self._decoder):
            began = time.perf_counter()
            with self._lock:
                pool.step()
            self.seconds += time.perf_counter() - began
            yield self._begin, self._begin
