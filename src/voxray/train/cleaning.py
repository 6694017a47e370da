"""Optional clean-up of noisy recordings before training: a spectral gate (Boll 1979, with the noise floor tracked blindly).

In: a wave [N] at any rate. Out: a wave [N], steady noise lowered by up to 15 dB; clean recordings hardly change.
It cannot take away voices, music or echoes, and it costs a little brightness: use it where the report names noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
FLOOR_DB = -15.0  # how far noise is lowered: lower floors begin to gurgle
QUIETEST, BIAS = (
    0.1,
    1.6,
)  # share of the frames that are noise alone, and how far their level lies below its mean
OVER = 1.5  # how much of the noise is subtracted


def cleaned(wave: Wave, rate: int) -> Wave:
    """The wave with its steady noise lowered."""
    size = 1 << round(np.log2(0.032 * rate))
    hop = size // 4
    window = np.hanning(size + 1)[:-1]
    padded = np.pad(wave.astype(np.float64), (size, size + hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * window
    spectrum = np.fft.rfft(frames, axis=1)  # [T, F]
    gain = _gain(np.square(np.abs(spectrum)))
    made = np.fft.irfft(spectrum * gain, size, axis=1) * window
    out, weight = np.zeros(len(padded)), np.zeros(len(padded))
    for number, frame in enumerate(made):
        at = slice(number * hop, number * hop + size)
        out[at] += frame
        weight[at] += np.square(window)
    whole = out / np.maximum(weight, 1e-8)
    return whole[size : size + len(wave)].astype(np.float32)


def _gain(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain [T, F] of each bin, smooth over time and frequency."""
    smooth = _blurred(_blurred(power, 5, 0), 3, 1)
    noise = BIAS * np.quantile(smooth, QUIETEST, axis=0)  # [F]
    floor = 10 ** (FLOOR_DB / 20)
    gain = np.sqrt(np.maximum(1.0 - OVER * noise / np.maximum(smooth, 1e-20), floor**2))
    return np.maximum(_blurred(gain, 3, 0), floor)


def _blurred(values: NDArray[np.float64], width: int, axis: int) -> NDArray[np.float64]:
    """Running mean along an axis, edges held."""
    reach = width // 2
    pad = [(0, 0), (0, 0)]
    pad[axis] = (reach, reach)
    held = np.pad(values, pad, mode="edge")
    count = values.shape[axis]
    parts = [held.take(range(n, n + count), axis=axis) for n in range(width)]
    return np.mean(parts, axis=0)
