"""F0 of whole corpora, batched: normalised autocorrelation (Boersma 1993) with a second pass that
keeps within an octave of the speaker's median. In: wave [N] at 24 kHz; out: Hz [N // 240], 0 where
unvoiced. For a single reference `voxray.audio.f0` (Praat) is the finer tool.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voxray.audio import resample

RATE, HOP, WINDOW, N_FFT = 8_000, 80, 512, 1_024
FLOOR_HZ, CEILING_HZ = 60.0, 500.0
VOICING = 0.45  # Praat's default threshold
OCTAVE_COST = 0.01  # per octave, favours high candidates (Praat's default)


def f0_track(wave: np.ndarray, rate: int = 24_000) -> np.ndarray:
    """Hz per 10 ms, [len(wave) // (rate / 100)]; 0 = unvoiced."""
    frames = len(wave) * 100 // rate
    if frames == 0:
        return np.zeros(0, dtype=np.float32)
    low = torch.from_numpy(resample(wave, rate, RATE))
    strength, level = _autocorrelation(low, frames)
    first = _choose(strength, level, FLOOR_HZ, CEILING_HZ)
    voiced = first[first > 0]
    if len(voiced) < 5:
        return first.numpy()
    middle = float(voiced.median())
    second = _choose(strength, level, max(FLOOR_HZ, middle / 1.9), min(CEILING_HZ, middle * 2.1))
    return _smooth(second).numpy()


def _autocorrelation(wave: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    padded = F.pad(wave, (WINDOW // 2, WINDOW // 2 + HOP))
    cut = padded.unfold(0, WINDOW, HOP)[:frames]  # [T, WINDOW]
    if len(cut) < frames:
        cut = F.pad(cut, (0, 0, 0, frames - len(cut)))
    window = torch.hann_window(WINDOW)
    cut = (cut - cut.mean(1, keepdim=True)) * window

    def correlate(x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x, N_FFT).abs().square())[..., : WINDOW // 2]

    own = correlate(window)
    signal = correlate(cut)
    strength = signal / (signal[:, :1] + 1e-8) / (own / own[0]).clamp_min(0.05)
    power = cut.square().mean(1)
    return strength, 10 * torch.log10(power + 1e-10)


def _choose(strength: Tensor, level: Tensor, low: float, high: float) -> Tensor:
    lags = torch.arange(int(RATE / high), int(RATE / low) + 1)
    part = strength[:, lags] - OCTAVE_COST * torch.log2(lags.float() * low / RATE)
    best = part.argmax(1)
    lag = lags[best]
    value = strength.gather(1, lag[:, None])[:, 0]
    left = strength.gather(1, lag[:, None] - 1)[:, 0]
    right = strength.gather(1, (lag[:, None] + 1).clamp_max(strength.shape[1] - 1))[:, 0]
    bend = left - 2 * value + right
    shift = torch.where(bend.abs() > 1e-6, 0.5 * (left - right) / bend, torch.zeros(()))
    f0 = RATE / (lag + shift.clamp(-0.5, 0.5))
    loud = level > level.quantile(0.95) - 35.0
    return torch.where((value > VOICING) & loud, f0, torch.zeros(())).float()


def _smooth(f0: Tensor) -> Tensor:
    """Median of five on voiced frames; drops voiced runs of a single frame."""
    window = F.pad(f0, (2, 2)).unfold(0, 5, 1)  # [T, 5]
    voiced = window > 0
    middle = torch.where(voiced, window, torch.full((), float("nan"))).nanmedian(1).values
    keep = (f0 > 0) & (voiced.sum(1) >= 2)
    return torch.where(keep, middle.nan_to_num(0.0), torch.zeros(()))
