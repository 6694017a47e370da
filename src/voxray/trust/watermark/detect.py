"""Finding the mark: a wave of any rate -> is it there, whose number, and how sure.

The reader's beliefs are folded over the period and correlated with a key's signs, for every shift
(8 ms) and for playback speeds of -6 % to +6 %. A key's signs are independent fair coins, the
beliefs know nothing of the key: so for an unmarked sound, or another key's, each correlation,
divided by its root of summed squares, is a normalised Rademacher sum, and

    P(score >= x) <= c (1 - Phi(x)),  c = 1 / (4 (1 - Phi(sqrt 2))) = 3.18

(Bentkus and Dzindzalieta, Bernoulli 21, 2015), whatever the sound. `chance` is that bound times the
number of hypotheses; half of what is allowed goes to the speed at which it was made, which is tried
first, and half to all other looks together. Present means chance <= `FALSE_ALARM`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ... import audio
from . import code
from .grid import BANDS, PERIOD, SLOT_FRAMES, SLOTS
from .pattern import Pattern, pattern
from .reader import RATE, beliefs

Wave = NDArray[np.float32]
FALSE_ALARM = (
    5e-7  # of one call; `verify` makes up to two such looks, and 1e-6 is what it may spend
)
RADEMACHER = 3.18
SPEEDS = tuple(round(1.0 + step / 100, 2) for step in range(-6, 7))
SHIFTS, SLOT = 2 * PERIOD, 2 * SLOT_FRAMES  # in steps of 8 ms
AS_MADE = (
    2 * SHIFTS
)  # hypotheses at the speed as made, and at all speeds; twice, as each look has half
AT_ANY_SPEED = 2 * len(SPEEDS) * SHIFTS
FINE = 0.0025  # speeds within a step, tried once the mark is found
SHORTEST = 0.5  # seconds
LONG, PART = 5.0, 4.0  # seconds: of longer sounds a part is searched for the speed
WORD_MARGIN = 1.0  # a word must stand out from the next best by this much
WORD_CHANCE = 1e-3


@dataclass(frozen=True)
class Mark:
    """What was found. `number` needs about 10 s, `low` (its last 16 bits) about 3 s."""

    present: bool
    chance: float  # bound on finding this much by accident
    score: float
    speed: float
    shift: int  # steps of 8 ms
    low: int | None = None
    high: int | None = None

    @property
    def number(self) -> int | None:
        """The record's number, where all of it could be read."""
        return None if self.low is None or self.high is None else (self.high << 16) | self.low


@dataclass(frozen=True)
class Heard:
    """Beliefs of one wave at every speed: read once, then tried with any number of keys."""

    speeds: tuple[float, ...]
    folded: tuple[NDArray[np.float32], ...]  # per speed [SHIFTS, SLOTS * BANDS]
    wave: Wave  # at 16 kHz


def listen(wave: Wave, rate: int, speeds: tuple[float, ...] = SPEEDS) -> Heard:
    """A wave [N] of any rate, read at every speed."""
    if len(wave) < SHORTEST * rate:
        raise ValueError(f"{len(wave) / rate:.2f} s is too short for a mark; {SHORTEST} s is least")
    wave = audio.resample(np.asarray(wave, np.float32), rate, RATE)
    return Heard(speeds, tuple(_folded(wave, speed) for speed in speeds), wave)


def _folded(wave: Wave, speed: float) -> NDArray[np.float32]:
    """Sums of beliefs over every cell for every shift: [SHIFTS, SLOTS * BANDS]."""
    if speed != 1.0:
        wave = audio.resample(wave, RATE, round(RATE * speed))
    seen = beliefs(wave)  # [T, BANDS]
    seen = np.pad(seen, ((0, -len(seen) % SHIFTS), (0, 0)))
    period = seen.reshape(-1, SHIFTS, BANDS).sum(0)  # [SHIFTS, BANDS]
    ring = np.concatenate([period, period[: SLOT - 1]])
    slots = sum(ring[k : k + SHIFTS] for k in range(SLOT))  # a slot that begins at a step
    begins = (np.arange(SHIFTS)[:, None] + SLOT * np.arange(SLOTS)) % SHIFTS
    return slots[begins].reshape(SHIFTS, SLOTS * BANDS).astype(np.float32)


def scores(heard: Heard, key: Pattern) -> NDArray[np.float32]:
    """Normalised correlations [speeds, SHIFTS] with a key's presence cells."""
    signs = key.signs[key.presence].astype(np.float32)
    rows = []
    for folded in heard.folded:
        chosen = folded[:, key.presence]
        rows.append(chosen @ signs / np.sqrt((chosen**2).sum(1) + 1e-12))
    return np.stack(rows)


def chance_of(score: float, hypotheses: int) -> float:
    """Bound on the chance that an unmarked sound scores this much under one of the hypotheses."""
    tail = 0.5 * math.erfc(score / math.sqrt(2))
    return min(1.0, RADEMACHER * tail * hypotheses)


def find(heard: Heard, key: bytes, hypotheses: int = AT_ANY_SPEED) -> Mark:
    """Look for a key's mark, and read the number where it is there.

    The chance counts `hypotheses`, tried or not, of which the best of these may be one.
    """
    shape = pattern(key)
    table = scores(heard, shape)
    row, shift = np.unravel_index(int(table.argmax()), table.shape)
    score, speed = float(table[row, shift]), heard.speeds[row]
    chance = chance_of(score, hypotheses)
    if chance > FALSE_ALARM:
        return Mark(False, chance, score, speed, int(shift))
    low, high = _words(heard.folded[row][shift], shape)
    if low is None or high is None:  # the speed may lie between two that were tried
        folded, speed, shift = _refined(heard, shape, int(row), int(shift))
        low, high = _words(folded, shape)
    return Mark(True, chance, score, speed, int(shift), low, high)


def detect(wave: Wave, rate: int, key: bytes) -> Mark:
    """Is this key's mark in a wave [N] of any rate?

    Most sounds are played as they were made: that speed is tried first. Else the speed is sought in
    the loudest seconds of a long sound, and if it is not found there, in the whole.
    """
    found = find(listen(wave, rate, (1.0,)), key, AS_MADE)
    if found.present:
        return found
    if len(wave) <= LONG * rate:
        return find(listen(wave, rate), key)
    part = find(listen(_loudest(wave, rate), rate), key, 2 * AT_ANY_SPEED)
    if part.present:
        whole = find(listen(wave, rate, (part.speed,)), key, 2 * AT_ANY_SPEED)
        return whole if whole.present else part
    return find(listen(wave, rate), key, 2 * AT_ANY_SPEED)


def _loudest(wave: Wave, rate: int) -> Wave:
    """The loudest `PART` seconds."""
    size = round(PART * rate)
    energy = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    begin = int(np.argmax(energy[size:] - energy[:-size]))
    return wave[begin : begin + size]


def _refined(
    heard: Heard, shape: Pattern, row: int, shift: int
) -> tuple[NDArray[np.float32], float, int]:
    """The best speed near the one found, and its sums [SLOTS * BANDS] at the best shift."""
    speed, folded = heard.speeds[row], heard.folded[row]
    best = (float(scores(heard, shape)[row, shift]), speed, shift, folded[shift])
    for step in (-2, -1, 1, 2):
        tried = round(speed + step * FINE, 4)
        folded = _folded(heard.wave, tried)
        found = scores(Heard((tried,), (folded,), heard.wave), shape)[0]
        if found.max() > best[0]:
            at = int(found.argmax())
            best = (float(found[at]), tried, at, folded[at])
    return best[3], best[1], best[2]


def _words(folded: NDArray[np.float32], shape: Pattern) -> tuple[int | None, int | None]:
    """The low and the high word, where they can be read."""
    return _word(folded, shape, shape.low), _word(folded, shape, shape.high)


def _word(folded: NDArray[np.float32], shape: Pattern, cells: NDArray[np.int64]) -> int | None:
    """The word that the cells [copies, 128] carry, if one stands out."""
    soft = (folded[cells] * shape.signs[cells]).sum(0)
    decoded = code.decode(soft)
    likely = chance_of(decoded.score, 1 << code.BITS) <= WORD_CHANCE
    return decoded.word if likely and decoded.margin >= WORD_MARGIN else None
