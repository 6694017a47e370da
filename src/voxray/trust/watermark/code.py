"""16 bits -> 128 chips of +1 and -1, and back by maximum likelihood.

The code is a subcode of the dual of the extended 3-error-correcting BCH code of length 128: word x
has chip f(x) = e + Tr(a x + b x^3 + c x^5) over GF(2^7), with a (7 bits), b (7 bits), e (1 bit) and
c in {0, 1} (1 bit); any two words differ in at least 48 of the 128 chips (MacWilliams and Sloane,
ch. 15). The decoder tries all 256 (b, c) and finds a and e by one Walsh-Hadamard transform each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BITS, CHIPS, DEGREE = 16, 128, 7
POLYNOMIAL = 0b10000011  # x^7 + x + 1, primitive
MASK = CHIPS - 1


@dataclass(frozen=True)
class Decoded:
    """The likeliest word; `score` of it and of the next best, in standard deviations of chance."""

    word: int
    score: float
    next_score: float

    @property
    def margin(self) -> float:
        """By how much it stands out."""
        return self.score - self.next_score


def encode(word: int) -> NDArray[np.int8]:
    """A word of 16 bits -> chips [128]."""
    if not 0 <= word < 1 << BITS:
        raise ValueError(f"a word has {BITS} bits; {word} does not fit")
    a, rest = word & MASK, word >> DEGREE
    b, top = rest & MASK, rest >> DEGREE
    sign = -1 if top & 1 else 1
    return (sign * _linear()[a] * _cosets()[(top >> 1 << DEGREE) | b]).astype(np.int8)


def decode(soft: NDArray[np.floating]) -> Decoded:
    """Soft chips [128], positive for +1 -> the likeliest word."""
    soft = np.asarray(soft, np.float32)
    scores = (_cosets() * soft) @ _linear().T  # [256, 128]
    order = np.argpartition(np.abs(scores).ravel(), -2)[-2:]
    second, best = sorted(order, key=lambda i: abs(scores.flat[i]))
    coset, a = divmod(int(best), CHIPS)
    top = (coset >> DEGREE << 1) | int(scores.flat[best] < 0)
    spread = float(np.sqrt((soft**2).sum())) or 1.0
    word = (top << 2 * DEGREE) | ((coset & MASK) << DEGREE) | a
    return Decoded(word, abs(float(scores.flat[best])) / spread,
                   abs(float(scores.flat[second])) / spread)  # fmt: skip


def _times(x: int, y: int) -> int:
    product = 0
    while y:
        product ^= x if y & 1 else 0
        x <<= 1
        x ^= POLYNOMIAL if x >> DEGREE else 0
        y >>= 1
    return product


def _trace(x: int) -> int:
    total, power = 0, x
    for _ in range(DEGREE):
        total ^= power
        power = _times(power, power)
    return total & 1


@lru_cache(1)
def _powers() -> tuple[list[int], list[int]]:
    """x^3 and x^5 of all field elements."""
    cubes = [_times(x, _times(x, x)) for x in range(CHIPS)]
    return cubes, [_times(cube, _times(x, x)) for x, cube in enumerate(cubes)]


def _signs(values: list[int]) -> NDArray[np.float32]:
    """[128 factors, 128 values]: (-1)^Tr(factor * value)."""
    table = [[1 - 2 * _trace(_times(factor, value)) for value in values] for factor in range(CHIPS)]
    return np.array(table, np.float32)


@lru_cache(1)
def _linear() -> NDArray[np.float32]:
    return _signs(list(range(CHIPS)))


@lru_cache(1)
def _cosets() -> NDArray[np.float32]:
    """[256, 128]: Tr(b x^3 + c x^5) for c = 0, then c = 1."""
    cubes, fifths = _powers()
    without = _signs(cubes)
    return np.concatenate([without, without * _signs(fifths)[1]])
