"""Putting the mark in: a wave [N] of any rate -> the marked wave [N], whole or in chunks.

Each frame's cells are turned up or down by a keyed pattern (patchwork in the short-time spectrum;
the change is a fixed share of what is there, so it lies under the speech's own masking). Chunks
and whole give the same samples: frames are counted from the first sample, and what a later frame
may still change is held back (one window, 32 ms) until `finish`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .grid import BINS, BINS_PER_BAND, FIRST_BIN, SLOT_FRAMES, STRENGTH_DB, hop_of

Wave = NDArray[np.float32]
BLOCK = 64  # frames transformed at once


class Embedder:
    """Marks one stream with `signs` [slots, bands] of +1 and -1, repeated as often as needed."""

    def __init__(self, signs: NDArray[np.int8], rate: int, strength_db: float = STRENGTH_DB):
        self.hop = hop_of(rate)
        self.window = np.sqrt(_hann(2 * self.hop))  # [2 hop], its square sums to one
        self.change = _change(signs, strength_db)  # [frames of a period, BINS]
        self.frame = 0  # number of the next frame
        self.held = np.zeros(self.hop, np.float32)  # not yet passed on: one hop before the start
        self.overlap = np.zeros(self.hop, np.float32)  # what the last frame adds to its 2nd half
        self.owed = 0  # samples taken in and not yet passed on
        self.lead = self.hop  # samples to come that lie before the start

    def __call__(self, chunk: Wave) -> Wave:
        """Take a chunk in; get what is finished of all so far."""
        self.held = np.concatenate([self.held, np.asarray(chunk, np.float32)])
        self.owed += len(chunk)
        return self._pass_on()

    def finish(self) -> Wave:
        """The rest, once all is in."""
        self.held = np.concatenate([self.held, np.zeros(2 * self.hop, np.float32)])
        return self._pass_on()

    def _pass_on(self) -> Wave:
        done = self._frames()
        skip = min(self.lead, len(done))
        self.lead -= skip
        done = done[skip : skip + self.owed]
        self.owed -= len(done)
        return done

    def _frames(self) -> Wave:
        out = []
        while (count := min(BLOCK, len(self.held) // self.hop - 1)) > 0:
            out.append(self._block(count))
        return np.concatenate(out) if out else np.zeros(0, np.float32)

    def _block(self, count: int) -> Wave:
        """`count` frames: their first hops are finished, [count * hop]."""
        hops = self.held[: (count + 1) * self.hop].reshape(count + 1, self.hop)
        frames = np.concatenate([hops[:-1], hops[1:]], axis=1) * self.window
        spectrum = np.fft.rfft(frames)[:, FIRST_BIN : FIRST_BIN + BINS]  # [count, BINS]
        rows = (self.frame + np.arange(count)) % len(self.change)
        added = np.zeros((count, self.hop + 1), np.complex64)
        added[:, FIRST_BIN : FIRST_BIN + BINS] = spectrum * self.change[rows]
        wave = np.fft.irfft(added, 2 * self.hop).astype(np.float32) * self.window
        first, second = wave[:, : self.hop], wave[:, self.hop :]
        before = np.concatenate([self.overlap[None], second[:-1]])
        self.overlap, self.frame = second[-1], self.frame + count
        self.held = self.held[count * self.hop :]
        return (hops[:-1] + first + before).reshape(-1)


def embed(wave: Wave, rate: int, signs: NDArray[np.int8], strength_db: float = STRENGTH_DB) -> Wave:
    """The whole form: a wave [N] -> the marked wave [N]."""
    embedder = Embedder(signs, rate, strength_db)
    return np.concatenate([embedder(wave), embedder.finish()])


def _change(signs: NDArray[np.int8], strength_db: float) -> NDArray[np.float32]:
    """By how much each bin changes, as a share of itself: [frames, BINS]."""
    gains = np.repeat(np.repeat(signs.astype(np.float64), SLOT_FRAMES, 0), BINS_PER_BAND, 1)
    return np.expm1(gains * strength_db * math.log(10) / 20).astype(np.float32)


def _hann(size: int) -> NDArray[np.float32]:
    return (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)).astype(np.float32)
