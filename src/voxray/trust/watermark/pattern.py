"""A key's pattern: which cells say "marked", which carry the number, and every cell's sign.

Of the 966 cells of a period, 128 x 2 carry the low 16 bits of the record's number, 128 the high 16
bits, the other 582 only that there is a mark. Places and signs come from SHAKE-256 of the key:
without it they look like independent fair coins.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from . import code
from .grid import BANDS, CELLS, SLOTS

LOW_COPIES, HIGH_COPIES = 2, 1  # cells for each chip of the low and the high word
NUMBERS = 1 << 2 * code.BITS


@dataclass(frozen=True)
class Pattern:
    """Signs [CELLS] and the cells of each part (indices into slots x bands)."""

    signs: NDArray[np.int8]
    presence: NDArray[np.int64]
    low: NDArray[np.int64]  # [LOW_COPIES, 128]
    high: NDArray[np.int64]  # [HIGH_COPIES, 128]

    def carrying(self, number: int) -> NDArray[np.int8]:
        """The signs [SLOTS, BANDS] that say a number of 32 bits."""
        if not 0 <= number < NUMBERS:
            raise ValueError(f"a record's number has 32 bits; {number} does not fit")
        signs = self.signs.copy()
        signs[self.low] *= code.encode(number & 0xFFFF)
        signs[self.high] *= code.encode(number >> code.BITS)
        return signs.reshape(SLOTS, BANDS)


@lru_cache(64)
def pattern(key: bytes) -> Pattern:
    """The pattern of a key (any bytes; ours have 32)."""
    if not key:
        raise ValueError("the watermark's key is empty")
    stream = hashlib.shake_256(b"voxray watermark 1" + key).digest(CELLS + 8 * CELLS)
    signs = (1 - 2 * (np.frombuffer(stream[:CELLS], np.uint8) & 1).astype(np.int8)).astype(np.int8)
    order = np.argsort(np.frombuffer(stream[CELLS:], ">u8"), kind="stable")
    low, high, presence = np.split(
        order, [LOW_COPIES * code.CHIPS, (LOW_COPIES + HIGH_COPIES) * code.CHIPS]
    )
    return Pattern(
        signs, presence, low.reshape(LOW_COPIES, code.CHIPS), high.reshape(HIGH_COPIES, code.CHIPS)
    )
