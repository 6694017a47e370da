"""Is the melody right? Correlation of log-F0 between what was made and a recording of the same text.

The two are brought together by dynamic time warping of their cepstra (20 ms), F0 is taken by
Praat, and Pearson's r is computed where both are voiced. In: two waves [N] at 16 kHz. Out: r in -1 .. 1.
Meaningless (nan) where fewer than 10 frames are voiced in both, or a pitch does not move.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import audio
from .sets import RATE

Wave = NDArray[np.float32]
HOP_SECONDS = 0.02
LEAST_VOICED = 10
LONGEST_SECONDS = 30.0
CEPSTRA = 12
BAND = 0.15  # how far the path may stray from the diagonal, as a share of the length


def melody_correlation(made: Wave, truth: Wave) -> float:
    """Pearson's r of log-F0 along the warped path."""
    limit = round(LONGEST_SECONDS * RATE)
    made, truth = made[:limit], truth[:limit]
    if min(len(made), len(truth)) < RATE // 4:
        return float("nan")
    one, other = _frames(made), _frames(truth)
    rows, columns = warp(one, other)
    ours = _pitch(made, len(one))[rows]
    theirs = _pitch(truth, len(other))[columns]
    both = (ours > 0) & (theirs > 0)
    if both.sum() < LEAST_VOICED:
        return float("nan")
    first, second = np.log2(ours[both]), np.log2(theirs[both])
    if first.std() < 1e-6 or second.std() < 1e-6:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _frames(wave: Wave) -> NDArray[np.float64]:  # [T, 12] cepstra: what is said, hardly the pitch
    hop = round(HOP_SECONDS * RATE)
    cut = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (0, 2 * hop)), 2 * hop)[::hop]
    power = np.square(np.abs(np.fft.rfft(cut * np.hanning(2 * hop), axis=1)))
    bank = audio.mel_filterbank(RATE, 2 * hop, 24).numpy()
    level = np.log(power @ bank.T + 1e-6 * power.max() + 1e-12)
    turns = np.arange(CEPSTRA)[:, None] * (np.arange(24) + 0.5) * np.pi / 24
    cepstra = level @ np.cos(turns).T
    return (cepstra - cepstra.mean(0)) / (cepstra.std(0) + 1e-6)


def _pitch(wave: Wave, frames: int) -> NDArray[np.float64]:
    track = np.asarray(audio.f0(wave, RATE, HOP_SECONDS), np.float64)[:frames]
    return np.pad(track, (0, frames - len(track)))


def warp(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cheapest monotone path through frames [N, M] and [K, M]: indices into both, of one length."""
    cost = np.sqrt(
        np.maximum(
            0.0,
            np.square(one).sum(1)[:, None] + np.square(other).sum(1)[None] - 2 * one @ other.T,
        )
    )
    rows, columns = cost.shape
    away = np.arange(rows)[:, None] / max(1, rows - 1) - np.arange(columns) / max(1, columns - 1)
    cost = np.where(np.abs(away) <= BAND + 2 / min(rows, columns), cost, 1e6)
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(2, rows + columns + 1):  # all cells with i + j = diagonal at once
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        before = np.minimum(np.minimum(total[i - 1, j - 1], total[i - 1, j]), total[i, j - 1])
        total[i, j] = before + cost[i - 1, j - 1]
    path = [(rows, columns)]
    while path[-1] != (1, 1):
        i, j = path[-1]
        steps = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        path.append(min(steps, key=lambda step: total[step]))
    found = np.array(path[::-1]) - 1
    return found[:, 0], found[:, 1]
