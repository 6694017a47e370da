"""What spoils recordings, made from dice: for training what must hear through it.

Waves [N] at 24 kHz. Steady noise of any colour, other people, breath between the words, hum, knocks, and a room's tail.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RATE = 24_000
Wave = NDArray[np.float32]
SNR_DB = (-5.0, 40.0)
CLEAN, ROOMS, TWO = 0.12, 0.3, 0.3  # shares: nothing added; a room; a second noise
TAIL_DB, TAIL_SECONDS = (
    (0.0, 25.0),
    (0.2, 1.0),
)  # of a room: below the direct sound, to fall by 60 dB


def spoiled(wave: Wave, others: Sequence[Wave], dice: np.random.Generator) -> Wave:
    """The wave as a worse recording of the same speech; `others` [N] are other people's."""
    if dice.random() < CLEAN:
        return wave
    power = float(np.mean(np.square(wave))) + 1e-12
    made = wave
    if dice.random() < ROOMS:
        tail = echoed(wave, dice)
        made = wave + tail * np.sqrt(power / _power(tail)) * _gain(-dice.uniform(*TAIL_DB))
        if dice.random() < 0.5:
            return made.astype(np.float32)
    for _ in range(2 if dice.random() < TWO else 1):
        noise = _KINDS[int(dice.integers(len(_KINDS)))](wave, others, dice)
        made = made + noise * np.sqrt(power / _power(noise)) * _gain(-dice.uniform(*SNR_DB))
    return made.astype(np.float32)


def echoed(wave: Wave, dice: np.random.Generator) -> Wave:
    """The tail of a random room, without the direct sound."""
    seconds = dice.uniform(*TAIL_SECONDS)
    time = np.arange(round(seconds * RATE)) / RATE
    room = dice.standard_normal(len(time)) * np.exp(-6.9 * time / seconds)
    room *= time > dice.uniform(0.002, 0.02)
    size = 1 << int(np.ceil(np.log2(len(wave) + len(room))))
    bins = np.fft.rfft(wave, size) * np.fft.rfft(room, size)
    return np.fft.irfft(bins, size)[: len(wave)].astype(np.float32)


def coloured(size: int, dice: np.random.Generator, spread: float = 15.0) -> Wave:
    """Steady noise [N] whose level over log frequency wanders by some dB; white for no spread."""
    known = np.log(np.array([40.0, 150.0, 500.0, 1500.0, 4000.0, 8000.0, 12_000.0]))
    level = dice.normal(0.0, spread, len(known)) - dice.uniform(0.0, 6.0) * np.arange(len(known))
    bins = np.fft.rfft(dice.standard_normal(size))
    hertz = np.log(np.maximum(40.0, np.fft.rfftfreq(size, 1 / RATE)))
    shape = 10 ** (np.interp(hertz, known, level if spread else np.zeros(len(known))) / 20)
    return np.fft.irfft(bins * shape, size).astype(np.float32)


def _white(wave: Wave, others: Sequence[Wave], dice: np.random.Generator) -> Wave:
    return coloured(len(wave), dice, 0.0)


def _coloured(wave: Wave, others: Sequence[Wave], dice: np.random.Generator) -> Wave:
    return coloured(len(wave), dice)


def _people(wave: Wave, others: Sequence[Wave], dice: np.random.Generator) -> Wave:
    """Three to eight other people at once."""
    count = min(len(others), int(dice.integers(3, 9)))
    if not count:
        return coloured(len(wave), dice)
    total = np.zeros(len(wave), np.float32)
    for k in dice.choice(len(others), count, replace=False):
        part = np.resize(others[k], len(wave))
        total += np.roll(part, int(dice.integers(len(wave)))) / np.sqrt(_power(part))
    return total


def _breath(wave: Wave, others: Sequence[Wave], dice: np.random.Generator) -> Wave:
    """Noise that swells where the speech is quiet."""
    width = round(dice.uniform(0.05, 0.2) * RATE)
    total = np.cumsum(np.pad(np.abs(wave), (width // 2 + 1, width - width // 2 - 1), mode="edge"))
    level = np.concatenate([total[width - 1 : width], total[width:] - total[:-width]])[: len(wave)]
    quiet = level < np.quantile(level, dice.uniform(0.2, 0.6))
    return coloured(len(wave), dice, 8.0) * quiet


def _hum(wave: Wave, others: Sequence[Wave], dice: np.random.Generator) -> Wave:
    """Mains and its harmonics, or a whistle."""
    base = float(dice.choice([50.0, 60.0, dice.uniform(100.0, 3000.0)]))
    time = np.arange(len(wave)) / RATE
    total = np.zeros(len(wave))
    for k in range(1, int(dice.integers(2, 12))):
        if k * base < RATE / 2:
            total += dice.uniform(0.1, 1.0) / k * np.sin(2 * np.pi * k * base * time + k)
    return total.astype(np.float32)


def _knocks(wave: Wave, others: Sequence[Wave], dice: np.random.Generator) -> Wave:
    """Short knocks and keys, now and then."""
    total = np.zeros(len(wave) + RATE, np.float32)
    for _ in range(1 + int(dice.integers(6) * len(wave) / RATE)):
        size = round(dice.uniform(0.005, 0.15) * RATE)
        burst = coloured(size, dice, 10.0) * np.exp(-5.0 * np.arange(size) / size)
        at = int(dice.integers(len(wave)))
        total[at : at + size] += (dice.uniform(0.2, 1.0) * burst).astype(np.float32)
    return total[: len(wave)]


_KINDS = (_white, _coloured, _coloured, _people, _breath, _hum, _knocks)


def _power(wave: Wave) -> float:
    return float(np.mean(np.square(wave))) + 1e-12


def _gain(level: float) -> float:
    return float(10 ** (level / 20))
