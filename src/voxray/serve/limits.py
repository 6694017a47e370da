"""How often: a sliding minute for each name, kept in memory, bounded."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from threading import Lock

MINUTE = 60.0
MOST_NAMES = 10_000  # the ones longest unseen are forgotten


class PerMinute:
    """So many events a minute for each name."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()

    def wait(self, name: str) -> int:
        """Seconds until one more is allowed; 0: now."""
        with self._lock:
            times = self._recent(name)
            if len(times) < self.most:
                return 0
            return max(1, round(MINUTE - (self._clock() - times[-self.most])))

    def count(self, name: str) -> None:
        """One happened."""
        with self._lock:
            self._recent(name).append(self._clock())
            while len(self._seen) > MOST_NAMES:
                self._seen.popitem(last=False)

    def _recent(self, name: str) -> deque[float]:
        times = self._seen.setdefault(name, deque(maxlen=self.most))
        self._seen.move_to_end(name)
        while times and self._clock() - times[0] > MINUTE:
            times.popleft()
        return times
