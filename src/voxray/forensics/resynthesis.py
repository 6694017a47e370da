"""Simple machines that say a recording again: fakes for training, of people's own words and rooms.

`phases` keeps the magnitudes on a mel scale and finds phases for them (Griffin and Lim's
iteration); `vocoded` drives smoothed envelopes with pulses and noise. They teach the detector what
resynthesis has in common, apart from any one network; neither is good enough to be heard as a
person.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .. import audio
from .matching import RATE

Wave = NDArray[np.float32]
FFT, HOP = 512, 128
FLOOR = 1e-5


def phases(wave: Wave, dice: np.random.Generator) -> Wave:
    """16 kHz [N] -> the same from a mel spectrogram of 60 to 100 bands, phases guessed."""
    bands, rounds = int(dice.integers(60, 101)), int(dice.integers(8, 33))
    bank = audio.mel_filterbank(RATE, FFT, bands, 0.0, RATE / 2)  # [M, F]
    window = torch.hann_window(FFT)
    signal = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
    size = _transform(signal, window).abs()
    spread = torch.linalg.pinv(bank.float()) @ (bank.float() @ size)
    spread = spread.clamp_min(0.0)
    angle = torch.from_numpy(dice.uniform(-np.pi, np.pi, tuple(size.shape)).astype("f4"))
    phase = torch.polar(torch.ones_like(spread), angle)
    made = signal
    for _ in range(rounds):
        made = torch.istft(spread * phase, FFT, HOP, window=window, length=len(signal))
        heard = _transform(made, window)
        phase = heard / heard.abs().clamp_min(1e-8)
    return made.numpy()


def vocoded(wave: Wave, dice: np.random.Generator) -> Wave:
    """16 kHz [N] -> its envelope, driven by pulses where it is voiced and by noise elsewhere."""
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    track = np.repeat(audio.f0(wave, RATE, HOP / RATE), HOP)
    track = np.pad(track, (0, max(0, len(wave) - len(track))), "edge")[: len(wave)]
    turns = np.floor(np.cumsum(track / RATE))
    pulses = np.diff(turns, prepend=0.0) > 0
    noise = dice.standard_normal(len(wave)).astype(np.float32)
    period = np.sqrt(RATE / np.maximum(track, 60.0))
    breath = dice.uniform(0.05, 0.4)
    driven = np.where(track > 0, pulses * period + breath * noise, noise).astype(np.float32)
    window = torch.hann_window(FFT)
    envelope = _envelope(
        _transform(torch.from_numpy(wave), window).abs(), int(dice.integers(20, 41))
    )
    source = _transform(torch.from_numpy(driven), window)
    made = torch.istft(source * envelope, FFT, HOP, window=window, length=len(wave))
    return made.numpy()


def _transform(wave: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """[N] -> [F, T]."""
    return torch.stft(wave, FFT, HOP, window=window, return_complex=True)


def _envelope(size: torch.Tensor, kept: int) -> torch.Tensor:
    """Magnitudes [F, T], smoothed by keeping so many cepstral coefficients."""
    cepstrum = torch.fft.irfft(torch.log(size + FLOOR), dim=0)  # [FFT, T]
    cepstrum[kept : len(cepstrum) - kept + 1] = 0.0
    return torch.fft.rfft(cepstrum, dim=0).real.exp()
