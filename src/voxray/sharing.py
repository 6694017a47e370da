"""A lock that many hold together, or one alone.

Models are only read by who speaks, so that several may run one side by side; who attaches edits or records
at sites changes what all of them see, and runs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, get_ident


class SharedLock:
    """`together` with others, or `alone`; who is alone may enter again in either way."""

    def __init__(self) -> None:
        self._change = Condition()
        self._together = 0
        self._waiting = 0  # to be alone: nobody new enters together before them
        self._owner: int | None = None
        self._depth = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Beside others who do the same."""
        if self._owner == get_ident():
            yield
            return
        with self._change:
            self._change.wait_for(lambda: self._owner is None and not self._waiting)
            self._together += 1
        try:
            yield
        finally:
            with self._change:
                self._together -= 1
                self._change.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Beside nobody. Not to be asked for by who is inside `together`."""
        self._enter_alone()
        try:
            yield
        finally:
            with self._change:
                self._depth -= 1
                if not self._depth:
                    self._owner = None
                    self._change.notify_all()

    def _enter_alone(self) -> None:
        me = get_ident()
        with self._change:
            if self._owner != me:
                self._waiting += 1
                try:
                    self._change.wait_for(lambda: self._owner is None and not self._together)
                finally:
                    self._waiting -= 1
                self._owner = me
            self._depth += 1
